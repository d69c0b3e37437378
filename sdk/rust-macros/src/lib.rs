//! The attribute macros of triggerd-sdk; use them as `#[triggerd_sdk::action]`.

mod export;

use proc_macro::TokenStream;

use export::Kind;

/// Makes an action of a function: it does something for an event, and answers with what later
/// actions read as `actions.NAME.output`.
///
/// `fn run(cx: Context<Input>) -> Result<T, ActionError>`, `T: Serialize`
#[proc_macro_attribute]
pub fn action(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(Kind::Action, arguments, function)
}

/// Makes a guard of a function: it looks at a write that is still to come, and lets it go on,
/// changes its record, or refuses it.
///
/// `fn check(cx: Context<Input>) -> Result<Verdict, ActionError>`
#[proc_macro_attribute]
pub fn guard(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(Kind::Guard, arguments, function)
}

/// Makes a condition of a function: it says whether an event is wanted. Its input is the
/// condition's `config`.
///
/// `fn matches(cx: Context<Config>) -> Result<bool, ActionError>`
#[proc_macro_attribute]
pub fn condition(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(Kind::Condition, arguments, function)
}

/// Makes a transform of a function: it makes another event of an event, or drops it.
///
/// `fn transform(cx: Context<Input>) -> Result<Option<Event>, ActionError>`
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(Kind::Transform, arguments, function)
}

fn expand(kind: Kind, arguments: TokenStream, function: TokenStream) -> TokenStream {
    export::expand(kind, arguments.into(), function.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
