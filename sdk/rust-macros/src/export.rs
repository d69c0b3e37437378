//! Expands an attribute: the function stays as it is, and in Wasm an export is put beside it.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, Ident, ItemFn, Result};

/// What a function is to be.
#[derive(Clone, Copy)]
pub enum Kind {
    Action,
    Guard,
    Condition,
    Transform,
}

impl Kind {
    /// The world, its module in the SDK, and the attribute.
    fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Guard => "guard",
            Self::Condition => "condition",
            Self::Transform => "transform",
        }
    }

    /// The function of the interface that the world exports.
    fn export(self) -> &'static str {
        match self {
            Self::Action => "run",
            Self::Guard => "check",
            Self::Condition => "matches",
            Self::Transform => "rewrite",
        }
    }

    /// The type of what the export answers when all went well.
    fn answer(self) -> TokenStream {
        match self {
            Self::Action => quote!(::std::string::String),
            Self::Guard => quote!(::triggerd_sdk::__private::guard::export::Verdict),
            Self::Condition => quote!(bool),
            Self::Transform => quote!(::core::option::Option<::std::string::String>),
        }
    }
}

/// The function, and in Wasm its export.
pub fn expand(kind: Kind, arguments: TokenStream, function: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, format!("#[{}] takes no arguments", kind.name())));
    }
    let function: ItemFn = syn::parse2(function)?;
    check(kind, &function)?;
    let name = &function.sig.ident;
    let world = ident(kind.name());
    let export = ident(kind.export());
    let call = ident(&format!("run_{}", kind.name()));
    let answer = kind.answer();
    Ok(quote! {
        // Natively it is called by tests alone.
        #[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
        #function

        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Component;

            impl ::triggerd_sdk::__private::#world::export::Guest for Component {
                fn #export(
                    invocation: ::triggerd_sdk::__private::#world::export::Invocation,
                ) -> ::core::result::Result<#answer, ::triggerd_sdk::__private::#world::export::Failure> {
                    ::triggerd_sdk::__private::#call(#name, invocation)
                }
            }

            ::triggerd_sdk::__private::#world::export_function!(
                Component with_types_in ::triggerd_sdk::__private::#world
            );
        };
    })
}

/// Refuses here what would be refused in generated code, where nobody can see it.
fn check(kind: Kind, function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    let article = if matches!(kind, Kind::Action) { "an" } else { "a" };
    let what = format!("{article} {}", kind.name());
    if let Some(token) = &signature.asyncness {
        return Err(Error::new_spanned(token, format!("{what} is no async function: the host waits for it")));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(&signature.generics, format!("{what} has no generic parameters")));
    }
    let takes_one = signature.inputs.len() == 1 && signature.receiver().is_none();
    if !takes_one {
        return Err(Error::new_spanned(signature, format!("{what} takes one argument, its `Context`")));
    }
    Ok(())
}

fn ident(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(function: TokenStream) -> String {
        expand(Kind::Action, TokenStream::new(), function).expect("a good function").to_string()
    }

    fn refusal(arguments: TokenStream, function: TokenStream) -> String {
        expand(Kind::Action, arguments, function).expect_err("a bad function").to_string()
    }

    #[test]
    fn the_function_stays_and_the_export_is_for_wasm_alone() {
        let code = expanded(quote!(
            pub fn score(cx: Context<Input>) -> Result<Score, ActionError> {
                body()
            }
        ));
        assert!(code.contains("pub fn score (cx : Context < Input >)"), "{code}");
        assert!(code.contains("# [cfg (target_family = \"wasm\")] const _"), "{code}");
        assert!(code.contains("run_action (score , invocation)"), "{code}");
    }

    #[test]
    fn what_cannot_be_exported_is_refused_in_words() {
        let none = TokenStream::new();
        assert!(
            refusal(
                none.clone(),
                quote!(
                    async fn run(cx: Context) {}
                )
            )
            .contains("async")
        );
        assert!(
            refusal(
                none.clone(),
                quote!(
                    fn run<T>(cx: Context<T>) {}
                )
            )
            .contains("generic")
        );
        assert!(
            refusal(
                none.clone(),
                quote!(
                    fn run() {}
                )
            )
            .contains("one argument")
        );
        assert!(
            refusal(
                none,
                quote!(
                    fn run(self) {}
                )
            )
            .contains("one argument")
        );
        assert!(
            refusal(
                quote!(name = "x"),
                quote!(
                    fn run(cx: Context) {}
                )
            )
            .contains("no arguments")
        );
    }
}
