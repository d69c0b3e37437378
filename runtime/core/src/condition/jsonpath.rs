//! `{"jsonpath"}`: an RFC 9535 query on the record, or `QUERY OP LITERAL`.
//!
//! A query alone is true where it selects a node. A comparison is true where it holds for one of the nodes
//! selected, by the rules of `EQUALS` and `GREATER_THAN`; `!=` is the exact negation of `==`; `<=` and `>=` hold
//! for equal values of any kind. As in the RFC, nothing selected equals nothing, not even `null`. Comparisons
//! inside a query's filter are the query library's: it compares numbers as doubles.

use serde_json::Value;
use serde_json_path::JsonPath;

use super::equality::equal;
use super::order::{self, Side};
use super::query_text;
use crate::json;

/// A compiled expression.
#[derive(Debug)]
pub struct Test {
    /// As it was written.
    written: String,
    query: JsonPath,
    comparison: Option<Comparison>,
}

#[derive(Debug)]
struct Comparison {
    operator: &'static str,
    wanted: Value,
}

impl Test {
    /// Compiles an expression; the error is a sentence for the person who wrote it.
    pub fn compile(expression: &str) -> Result<Self, String> {
        let parts = query_text::split(expression)?;
        let query = JsonPath::parse(parts.query).map_err(|error| {
            format!("`{}` is no RFC 9535 query: column {}: {}", parts.query, error.position(), error.message())
        })?;
        let comparison = match parts.comparison {
            Some((operator, wanted)) => Some(Comparison { operator, wanted: literal(wanted)? }),
            None => None,
        };
        Ok(Self { written: parts.query.to_owned(), query, comparison })
    }

    /// Whether it holds for the record.
    pub fn verdict(&self, record: &Value) -> bool {
        let nodes = self.query.query(record);
        match &self.comparison {
            None => !nodes.is_empty(),
            Some(comparison) if comparison.operator == "!=" => {
                !nodes.iter().any(|node| equal(node, &comparison.wanted))
            }
            Some(comparison) => nodes.iter().any(|node| comparison.holds(node)),
        }
    }

    /// The query as it was written.
    pub fn query(&self) -> &str {
        &self.written
    }

    /// The comparison and the literal.
    pub fn comparison(&self) -> Option<(&'static str, &Value)> {
        self.comparison.as_ref().map(|comparison| (comparison.operator, &comparison.wanted))
    }

    /// The values selected, for explanations: an array, or for a comparison with one node that node.
    pub fn found(&self, record: &Value) -> Option<Value> {
        const MANY: usize = 32;
        let nodes = self.query.query(record);
        match nodes.len() {
            0 => None,
            1 if self.comparison.is_some() => nodes.first().map(super::explain::excerpt),
            _ => Some(nodes.iter().take(MANY).map(|node| super::explain::excerpt(node)).collect()),
        }
    }
}

impl Comparison {
    fn holds(&self, node: &Value) -> bool {
        let is = |side| order::compare(side, Some(node), &self.wanted);
        match self.operator {
            "<" => is(Side::Less),
            "<=" => is(Side::LessOrEqual) || equal(node, &self.wanted),
            ">" => is(Side::Greater),
            ">=" => is(Side::GreaterOrEqual) || equal(node, &self.wanted),
            _ => equal(node, &self.wanted),
        }
    }
}

/// The right side: a quoted text, a number, `true`, `false` or `null`.
fn literal(text: &str) -> Result<Value, String> {
    if text.starts_with(['\'', '"']) {
        let (meaning, length) = query_text::quoted(text)?;
        return match &text[length..] {
            "" => Ok(Value::String(meaning)),
            rest => Err(format!("unexpected `{}` after the compared text", rest.trim())),
        };
    }
    match json::parse(text.as_bytes()) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => Ok(value),
        _ => Err(format!(
            "`{text}` is no literal: on the right stands a quoted text, a number, `true`, `false` or `null`"
        )),
    }
}
