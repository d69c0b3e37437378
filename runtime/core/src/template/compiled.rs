//! One template string, compiled.

use std::collections::BTreeSet;

use serde_json::Value;

use super::MAX_OUTPUT;
use super::budget::Budget;
use super::columns::of_nodes;
use super::data::Data;
use super::found::value_text;
use super::lower::lower;
use super::node::Node;
use super::render::Renderer;
use super::scope::Scope;
use crate::capture::Columns;
use crate::catalog::Place;

/// One compiled template string.
#[derive(Debug)]
pub struct Template {
    nodes: Vec<Node>,
    place: Place,
    secrets: BTreeSet<String>,
}

impl Template {
    /// Compiles; a syntax error comes back as a sentence with line and column.
    pub fn compile(source: &str, place: Place) -> Result<Self, String> {
        if !source.contains("{{") {
            let nodes = if source.is_empty() { Vec::new() } else { vec![Node::Text(source.to_owned())] };
            return Ok(Self { nodes, place, secrets: BTreeSet::new() });
        }
        let lowered = lower(source)?;
        Ok(Self { nodes: lowered.nodes, place, secrets: lowered.secrets })
    }

    /// Renders to a value: one placeholder alone keeps its JSON type. Missing values are added to `warnings`
    /// by placeholder.
    pub fn render(&self, scope: &Scope<'_>, warnings: &mut Vec<String>) -> Result<Value, String> {
        self.render_within(&Data::new(*scope), &Budget::new(), "", false, warnings)
    }

    /// Renders to text.
    pub fn render_text(&self, scope: &Scope<'_>) -> Result<String, String> {
        let value = self.render(scope, &mut Vec::new())?;
        match value {
            Value::String(text) => Ok(text),
            other => match value_text(&other, MAX_OUTPUT) {
                Some(text) => Ok(text.into_owned()),
                None => Err(format!("the rendered text exceeds {MAX_OUTPUT} bytes")),
            },
        }
    }

    /// Renders as one of several strings, which share `data` and `budget`; this one stands at `pointer`.
    pub(super) fn render_within(
        &self,
        data: &Data<'_>,
        budget: &Budget,
        pointer: &str,
        strict: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Value, String> {
        let mut renderer = Renderer::new(data, budget, self.place, pointer, strict);
        let value = renderer.value(&self.nodes).map_err(|failure| failure.into_sentence())?;
        warnings.append(&mut renderer.into_warnings());
        Ok(value)
    }

    /// Adds the columns of a changed row that it looks at.
    pub fn columns(&self, columns: &mut Columns) {
        of_nodes(&self.nodes, columns);
    }

    /// The names of the secrets it uses.
    pub(super) fn secrets(&self) -> &BTreeSet<String> {
        &self.secrets
    }
}
