//! From a condition's JSON to its tree, or to every mistake in it.

use serde_json::{Map, Value};

use super::{ComponentCall, MAX_NESTING, Node, compile_field, jsonpath};
use crate::mistake::{Mistake, join, kind};

/// What compiling collects on its way through the tree.
pub struct Draft<'d> {
    pub mistakes: &'d mut Vec<Mistake>,
    pub components: &'d mut Vec<ComponentCall>,
    /// How many `and`, `or` and `not` are around the place.
    pub depth: usize,
}

impl Draft<'_> {
    /// Notes one.
    pub fn mistake(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.mistakes.push(Mistake::new(pointer, detail));
    }
}

/// The forms that a condition can have: the field that tells each, and all its fields.
const FORMS: [(&str, &[&str]); 6] = [
    ("and", &["and"]),
    ("or", &["or"]),
    ("not", &["not"]),
    ("jsonpath", &["jsonpath"]),
    ("component", &["component", "config"]),
    ("field", &["field", "operator", "value"]),
];

/// Compiles the condition at `pointer`. `None` where there was a mistake, which is in the draft then.
pub fn node(source: &Value, pointer: &str, draft: &mut Draft<'_>) -> Option<Node> {
    let Value::Object(members) = source else {
        draft.mistake(pointer, format!("a condition is an object, not {}", kind(source)));
        return None;
    };
    let form = form(members, pointer, draft)?;
    let known = refuse_unknown(members, form, pointer, draft);
    let compiled = match form.0 {
        "and" => members_of(&members["and"], &join(pointer, "and"), draft).map(Node::And),
        "or" => members_of(&members["or"], &join(pointer, "or"), draft).map(Node::Or),
        "not" => nested(&join(pointer, "not"), draft, |pointer, draft| node(&members["not"], pointer, draft))
            .map(|member| Node::Not(Box::new(member))),
        "jsonpath" => json_path(&members["jsonpath"], &join(pointer, "jsonpath"), draft),
        "component" => component(members, pointer, draft),
        _ => compile_field::field(members, pointer, draft).map(Node::Field),
    };
    compiled.filter(|_| known)
}

/// Which form it is: the one whose field is there. A field condition may lack its `field`.
fn form(
    members: &Map<String, Value>,
    pointer: &str,
    draft: &mut Draft<'_>,
) -> Option<(&'static str, &'static [&'static str])> {
    let mut given = FORMS.into_iter().filter(|(name, _)| members.contains_key(*name));
    match (given.next(), given.next()) {
        (Some(form), None) => return Some(form),
        (Some((one, _)), Some((other, _))) => {
            draft.mistake(
                pointer,
                format!("`{one}` and `{other}` cannot stand in one condition; put each into a member of an `and`"),
            );
            return None;
        }
        _ if members.contains_key("operator") => return Some(FORMS[5]),
        _ => {}
    }
    let fields = || FORMS.iter().flat_map(|(_, fields)| fields.iter().copied());
    match members.keys().find(|name| !fields().any(|field| field == name.as_str())) {
        Some(name) => draft.mistakes.push(Mistake::unknown(join(pointer, name), "field", name, fields())),
        None => draft
            .mistake(pointer, "a condition has `field` with `operator`, `and`, `or`, `not`, `jsonpath` or `component`"),
    }
    None
}

fn refuse_unknown(members: &Map<String, Value>, form: (&str, &[&str]), pointer: &str, draft: &mut Draft<'_>) -> bool {
    let mut unknown = members.keys().filter(|name| !form.1.contains(&name.as_str())).peekable();
    let none = unknown.peek().is_none();
    for name in unknown {
        draft.mistakes.push(Mistake::unknown(join(pointer, name), "field", name, form.1.iter().copied()));
    }
    none
}

/// Compiles what stands inside an `and`, `or` or `not`.
fn nested<T>(
    pointer: &str,
    draft: &mut Draft<'_>,
    inside: impl FnOnce(&str, &mut Draft<'_>) -> Option<T>,
) -> Option<T> {
    if draft.depth == MAX_NESTING {
        draft.mistake(pointer, format!("conditions nest up to {MAX_NESTING} deep"));
        return None;
    }
    draft.depth += 1;
    let out = inside(pointer, draft);
    draft.depth -= 1;
    out
}

/// The members of an `and` or `or`: all are compiled, so that all their mistakes are found.
fn members_of(source: &Value, pointer: &str, draft: &mut Draft<'_>) -> Option<Vec<Node>> {
    let Value::Array(sources) = source else {
        draft.mistake(pointer, format!("this is an array of conditions, not {}", kind(source)));
        return None;
    };
    nested(pointer, draft, |pointer, draft| {
        let compiled: Vec<_> =
            sources.iter().enumerate().map(|(i, source)| node(source, &join(pointer, &i.to_string()), draft)).collect();
        compiled.into_iter().collect()
    })
}

fn json_path(source: &Value, pointer: &str, draft: &mut Draft<'_>) -> Option<Node> {
    let Value::String(expression) = source else {
        draft.mistake(pointer, format!("this is a text such as `$.total > 100`, not {}", kind(source)));
        return None;
    };
    match jsonpath::Test::compile(expression) {
        Ok(test) => Some(Node::JsonPath(test)),
        Err(detail) => {
            draft.mistake(pointer, detail);
            None
        }
    }
}

fn component(members: &Map<String, Value>, pointer: &str, draft: &mut Draft<'_>) -> Option<Node> {
    let before = draft.mistakes.len();
    let name = match &members["component"] {
        Value::String(name) if is_component(name) => name.clone(),
        Value::String(name) => {
            draft.mistake(
                join(pointer, "component"),
                format!("`{name}` is no component: write `NAME`, `NAME@VERSION` or `NAME@sha256:DIGEST`"),
            );
            String::new()
        }
        other => {
            draft.mistake(join(pointer, "component"), format!("this is a component's name, not {}", kind(other)));
            String::new()
        }
    };
    let config = members.get("config").cloned().unwrap_or_default();
    if !matches!(config, Value::Null | Value::Object(_)) {
        draft.mistake(join(pointer, "config"), format!("a component's config is an object, not {}", kind(&config)));
    }
    if draft.mistakes.len() > before {
        return None;
    }
    draft.components.push(ComponentCall { component: name, config });
    Some(Node::Component(draft.components.len() - 1))
}

/// The shape only: whether there is such a component is not the core's to know.
fn is_component(text: &str) -> bool {
    let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    part(name) && version.is_none_or(|version| part(version.strip_prefix("sha256:").unwrap_or(version)))
}
