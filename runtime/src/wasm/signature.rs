//! Whether a component's exports have the types that its interfaces promise: a name alone would fail at the first call.

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentItem, Type};

use super::component::{Refusal, RefusalCode, WORLDS};

const INVOCATION: &str = "{event-id:string,delivery-id:string,attempt:u32,tenant:string,trigger:string,action:string,\
    event-name:string,event-type:string,operation:string?,database:string?,table:string?,env:string,timestamp:string,\
    source:string?,record:string,previous-record:string?,changed-fields:[string],user:string?,metadata:string,\
    input:string,results:string,traceparent:string?}";
const FAILURE: &str = "{code:string,message:string,kind:(retryable(u64?)|permanent)}";

/// What the function of an interface answers with where it does not fail.
fn answer(interface: &str) -> &'static str {
    match interface {
        "check" => "(proceed|change(string)|refuse({code:string?,message:string}))",
        "matches" => "bool",
        "rewrite" => "string?",
        _ => "string",
    }
}

/// Refuses a component one of whose known exports has other types than its interface promises.
pub(super) fn check(engine: &Engine, component: &Component) -> Result<(), Refusal> {
    let ty = component.component_type();
    for (name, item) in ty.exports(engine) {
        let Some(path) = name.strip_prefix("triggerd:runtime/") else {
            continue;
        };
        let Some((interface, _)) = path.split_once('@') else {
            continue;
        };
        if !WORLDS.iter().any(|(_, exported)| *exported == interface) {
            continue;
        }
        let wanted = format!("({INVOCATION})->result<{},{FAILURE}>", answer(interface));
        let found = match &item.ty {
            ComponentItem::ComponentInstance(instance) => {
                instance.get_export(engine, interface).and_then(|function| signature(&function.ty))
            }
            _ => None,
        };
        if found.as_deref() != Some(&wanted) {
            let message = format!(
                "its export `{name}` has no function `{interface}` of the types that the interface promises; build it against the current WIT package"
            );
            return Err(Refusal::new(RefusalCode::NoWorld, message));
        }
    }
    Ok(())
}

fn signature(item: &ComponentItem) -> Option<String> {
    let ComponentItem::ComponentFunc(function) = item else {
        return None;
    };
    let params: Vec<String> = function.params().map(|(_, ty)| shape(&ty)).collect();
    let results: Vec<String> = function.results().map(|ty| shape(&ty)).collect();
    Some(format!("({})->{}", params.join(","), results.join(",")))
}

/// The type in short: what matters is that equal types give equal text and others do not.
fn shape(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::String => "string".to_owned(),
        Type::List(list) => format!("[{}]", shape(&list.ty())),
        Type::Option(option) => format!("{}?", shape(&option.ty())),
        Type::Record(record) => {
            let fields: Vec<String> = record.fields().map(|f| format!("{}:{}", f.name, shape(&f.ty))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Type::Variant(variant) => {
            let case = |name: &str, ty: Option<Type>| {
                ty.map_or_else(|| name.to_owned(), |ty| format!("{name}({})", shape(&ty)))
            };
            let cases: Vec<String> = variant.cases().map(|c| case(c.name, c.ty)).collect();
            format!("({})", cases.join("|"))
        }
        Type::Result(result) => {
            let side = |ty: Option<Type>| ty.map_or_else(|| "_".to_owned(), |ty| shape(&ty));
            format!("result<{},{}>", side(result.ok()), side(result.err()))
        }
        _ => "another type".to_owned(),
    }
}
