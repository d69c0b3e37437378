//! Why a condition holds or does not: the tree with each node's verdict, the value found and the value wanted.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use super::change::Change;
use super::{ComponentCall, Field, Node, Test, conjunction, disjunction};
use crate::event::Event;

/// One node of an explanation. Every member is judged, also those that the verdict does not hang on.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// `and`, `or`, `not`, `field`, `jsonpath` or `component`.
    pub node: &'static str,
    /// `null` where a component's verdict is still missing.
    pub verdict: Option<bool>,
    /// The path or query as it was written; the component's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The operator's name, or the comparison of a `jsonpath`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<&'static str>,
    /// What was found: absent where there was nothing. `CHANGED` shows both values as
    /// `{"previousRecord", "record"}`; a `jsonpath` shows the values of the nodes selected. Long ones are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Value>,
    /// What was wanted: the operator's value, or a component's config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Value>,
    /// The members of an `and`, `or` or `not`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<Explanation>>,
}

/// Explains `node` and all below it.
pub fn node(
    node: &Node,
    event: &Event,
    calls: &[ComponentCall],
    verdicts: &dyn Fn(usize) -> Option<bool>,
) -> Explanation {
    let explain = |member: &Node| self::node(member, event, calls, verdicts);
    match node {
        Node::And(members) => {
            let children: Vec<_> = members.iter().map(explain).collect();
            Explanation::of_members("and", conjunction(children.iter().map(|child| child.verdict)), children)
        }
        Node::Or(members) => {
            let children: Vec<_> = members.iter().map(explain).collect();
            Explanation::of_members("or", disjunction(children.iter().map(|child| child.verdict)), children)
        }
        Node::Not(member) => {
            let child = explain(member);
            Explanation::of_members("not", child.verdict.map(|verdict| !verdict), vec![child])
        }
        Node::Field(field) => of_field(field, event),
        Node::JsonPath(test) => {
            let (operator, wanted) = test.comparison().unzip();
            Explanation {
                path: Some(test.query().to_owned()),
                operator,
                found: test.found(&event.record).map(|found| excerpt(&found)),
                wanted: wanted.cloned(),
                ..Explanation::new("jsonpath", Some(test.verdict(&event.record)))
            }
        }
        Node::Component(index) => {
            let call = &calls[*index];
            let wanted = Some(&call.config).filter(|config| !config.is_null()).cloned();
            Explanation {
                path: Some(call.component.clone()),
                wanted,
                ..Explanation::new("component", verdicts(*index))
            }
        }
    }
}

impl Explanation {
    fn new(node: &'static str, verdict: Option<bool>) -> Self {
        Self { node, verdict, path: None, operator: None, found: None, wanted: None, children: None }
    }

    fn of_members(node: &'static str, verdict: Option<bool>, children: Vec<Self>) -> Self {
        Self { children: Some(children), ..Self::new(node, verdict) }
    }
}

fn of_field(field: &Field, event: &Event) -> Explanation {
    let found = if field.operator.test.is_change() { found_change(field, event) } else { field.path.find(event) };
    let takes_value = !matches!(field.operator.test, Test::Null | Test::Empty | Test::Changed);
    Explanation {
        path: Some(field.written.clone()),
        operator: Some(field.operator.name),
        found: found.map(|found| excerpt(&found)),
        wanted: takes_value.then(|| field.value.clone()),
        ..Explanation::new("field", Some(field.verdict(event)))
    }
}

fn found_change<'e>(field: &Field, event: &'e Event) -> Option<Cow<'e, Value>> {
    let change = Change::of(&field.path, event);
    match field.operator.test {
        Test::ChangedTo => change.new.map(Cow::Borrowed),
        Test::ChangedFrom => change.old.map(Cow::Borrowed),
        _ => {
            let sides = [("previousRecord", change.old), ("record", change.new)];
            let both = sides.into_iter().filter_map(|(name, value)| Some((name.to_owned(), excerpt(value?))));
            Some(Cow::Owned(Value::Object(both.collect())))
        }
    }
}

/// The longest text of an excerpt, in characters.
const MAX_TEXT: usize = 1024;

/// How many values an excerpt holds, at all depths together.
const MAX_VALUES: usize = 256;

/// The value, or as much of it as a person wants to read: explanations are stored and sent with every event.
pub fn excerpt(value: &Value) -> Value {
    let mut left = MAX_VALUES;
    cut(value, &mut left)
}

fn cut(value: &Value, left: &mut usize) -> Value {
    *left = left.saturating_sub(1);
    match value {
        Value::String(text) => match text.char_indices().nth(MAX_TEXT) {
            Some((end, _)) => Value::String(format!("{}…", &text[..end])),
            None => value.clone(),
        },
        Value::Array(items) => {
            let mut out = Vec::new();
            for item in items {
                if *left == 0 {
                    out.push("…".into());
                    break;
                }
                out.push(cut(item, left));
            }
            Value::Array(out)
        }
        Value::Object(members) => {
            let mut out = Map::new();
            for (key, member) in members {
                if *left == 0 {
                    out.insert("…".into(), "…".into());
                    break;
                }
                out.insert(key.clone(), cut(member, left));
            }
            Value::Object(out)
        }
        scalar => scalar.clone(),
    }
}
