//! Walks a template's nodes over the event.

use std::cell::Cell;

use serde_json::Value;

use super::budget::{Budget, VISIT};
use super::data::Data;
use super::failure::Failure;
use super::found::{Found, NULL};
use super::frame::Frame;
use super::helper::{self, Absent};
use super::node::{Call, Expr, Insert, Node};
use super::output::{Output, alone};
use super::reference::{Reference, Start};
use super::root::Root;
use crate::catalog::Place;

/// How many different placeholders without a value one string can warn of.
const MAX_WARNINGS: usize = 100;

/// Renders one string.
pub(super) struct Renderer<'d> {
    data: &'d Data<'d>,
    budget: &'d Budget,
    place: Place,
    pointer: &'d str,
    /// Whether a missing value is an error.
    strict: bool,
    /// Within how many arguments we are that may be missing.
    quiet: u32,
    uuids: Cell<u32>,
    warnings: Vec<String>,
}

impl<'d> Renderer<'d> {
    /// For the string at `pointer` of the settings.
    pub fn new(data: &'d Data<'d>, budget: &'d Budget, place: Place, pointer: &'d str, strict: bool) -> Self {
        Self { data, budget, place, pointer, strict, quiet: 0, uuids: Cell::new(0), warnings: Vec::new() }
    }

    /// The placeholders that had no value.
    pub fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    /// Renders to a value: one placeholder alone keeps its type.
    pub fn value(&mut self, nodes: &[Node]) -> Result<Value, Failure> {
        match nodes {
            [Node::Insert(insert)] => {
                let found = self.eval(&insert.expr, None).map_err(|e| e.at(&insert.label))?;
                alone(found, insert.raw, self.place, self.budget).map_err(|e| Failure::from(e).at(&insert.label))
            }
            _ => self.text(nodes).map(Value::String),
        }
    }

    fn text(&mut self, nodes: &[Node]) -> Result<String, Failure> {
        let mut out = Output::new(self.place, self.budget);
        self.nodes(nodes, None, &mut out)?;
        Ok(out.finish()?)
    }

    fn nodes<'f>(
        &mut self,
        nodes: &'f [Node],
        frame: Option<&'f Frame<'f>>,
        out: &mut Output<'_>,
    ) -> Result<(), Failure>
    where
        'd: 'f,
    {
        for node in nodes {
            self.budget.work(VISIT)?;
            match node {
                Node::Text(text) => out.literal(text)?,
                Node::Insert(insert) => self.insert(insert, frame, out).map_err(|e| e.at(&insert.label))?,
                Node::If { condition, include_zero, then, otherwise } => {
                    let found = self.quietly(condition, frame)?;
                    self.budget.work(found.digits())?;
                    let verdict = found.is_truthy(*include_zero);
                    self.nodes(if verdict { then } else { otherwise }, frame, out)?;
                }
                Node::Each { over, body, otherwise } => {
                    let found = self.block_value(over, otherwise.is_some(), frame)?;
                    self.each(found, (body, otherwise.as_deref()), frame, out)?;
                }
                Node::With { value, body, otherwise } => {
                    let found = self.block_value(value, otherwise.is_some(), frame)?;
                    self.budget.work(found.digits())?;
                    if found.is_truthy(false) {
                        let mut hold = Value::Null;
                        let item = found.hold(&mut hold);
                        self.nodes(body, Some(&Frame { item, key: None, index: 0, last: true, outer: frame }), out)?;
                    } else if let Some(otherwise) = otherwise {
                        self.nodes(otherwise, frame, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn insert<'f>(
        &mut self,
        insert: &'f Insert,
        frame: Option<&'f Frame<'f>>,
        out: &mut Output<'_>,
    ) -> Result<(), Failure>
    where
        'd: 'f,
    {
        // A URL's values are encoded anyway; twice would be wrong.
        let expr = match &insert.expr {
            Expr::Call(call) if self.place == Place::Url && call.helper.name == "urlencode" => &call.args[0],
            other => other,
        };
        let found = self.eval(expr, frame)?;
        let secret = matches!(expr, Expr::Reference(Reference { start: Start::Root(Root::Secret(_)), .. }));
        Ok(out.value(&found, insert.raw, secret)?)
    }

    fn each<'f>(
        &mut self,
        found: Found<'f>,
        (body, otherwise): (&'f [Node], Option<&'f [Node]>),
        outer: Option<&'f Frame<'f>>,
        out: &mut Output<'_>,
    ) -> Result<(), Failure>
    where
        'd: 'f,
    {
        let mut hold = Value::Null;
        match found.hold(&mut hold) {
            Value::Array(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    self.budget.step()?;
                    let frame = Frame { item, key: None, index, last: index + 1 == items.len(), outer };
                    self.nodes(body, Some(&frame), out)?;
                }
            }
            Value::Object(members) if !members.is_empty() => {
                for (index, (key, item)) in members.iter().enumerate() {
                    self.budget.step()?;
                    let frame = Frame { item, key: Some(key), index, last: index + 1 == members.len(), outer };
                    self.nodes(body, Some(&frame), out)?;
                }
            }
            _ => self.nodes(otherwise.unwrap_or_default(), outer, out)?,
        }
        Ok(())
    }

    /// The value of `each` and `with`: without an `else`, a missing one is warned of.
    fn block_value<'f>(
        &mut self,
        expr: &'f Expr,
        quiet: bool,
        frame: Option<&'f Frame<'f>>,
    ) -> Result<Found<'f>, Failure>
    where
        'd: 'f,
    {
        if quiet { self.quietly(expr, frame) } else { self.eval(expr, frame).map_err(|e| e.at(&expr.to_string())) }
    }

    fn quietly<'f>(&mut self, expr: &'f Expr, frame: Option<&'f Frame<'f>>) -> Result<Found<'f>, Failure>
    where
        'd: 'f,
    {
        self.quiet += 1;
        let found = self.eval(expr, frame);
        self.quiet -= 1;
        found.map_err(|e| e.at(&expr.to_string()))
    }

    fn eval<'f>(&mut self, expr: &'f Expr, frame: Option<&'f Frame<'f>>) -> Result<Found<'f>, Failure>
    where
        'd: 'f,
    {
        self.budget.work(VISIT)?;
        match expr {
            Expr::Literal(value) => Ok(Found::Json(value)),
            Expr::Reference(reference) => {
                // Long names are long to look up.
                self.budget.work(VISIT * reference.steps.len() + reference.text.len())?;
                let found = self.find(reference, frame)?;
                if matches!(found, Found::Missing) {
                    self.missing(&reference.text)?;
                }
                Ok(found)
            }
            Expr::Call(call) => self.call(call, frame),
        }
    }

    fn find<'f>(&self, reference: &'f Reference, frame: Option<&'f Frame<'f>>) -> Result<Found<'f>, Failure>
    where
        'd: 'f,
    {
        let (up, what, otherwise) = match &reference.start {
            Start::Root(root) => return Ok(self.data.find(root, &reference.steps)?),
            Start::Block { up, what, otherwise } => (*up, *what, otherwise),
        };
        let found =
            frame.and_then(|frame| frame.out(up)).map_or(Found::Missing, |frame| frame.find(what, &reference.steps));
        match (found, otherwise.as_deref()) {
            (Found::Missing, Some(Reference { start: Start::Root(root), steps, .. })) => {
                Ok(self.data.find(root, steps)?)
            }
            (found, _) => Ok(found),
        }
    }

    fn call<'f>(&mut self, call: &'f Call, frame: Option<&'f Frame<'f>>) -> Result<Found<'f>, Failure>
    where
        'd: 'f,
    {
        self.budget.step()?;
        self.budget.work(VISIT)?;
        let passes = call.helper.absent == Absent::Passes;
        self.quiet += u32::from(!passes);
        let values = self.arguments(call, frame);
        self.quiet -= u32::from(!passes);
        let (args, options) = values?;
        if passes {
            if args.iter().chain(options.iter().map(|(_, value)| value)).any(|arg| matches!(arg, Found::Missing)) {
                return Ok(Found::Missing);
            }
            if args.first().is_some_and(Found::is_absent) {
                return Ok(Found::Json(&NULL));
            }
        }
        let (budget, scope, pointer, uuids) = (self.budget, &self.data.scope, self.pointer, &self.uuids);
        let given = helper::Call { args: &args, options: &options, budget, scope, pointer, uuids };
        let found = (call.helper.run)(&given).map_err(|detail| {
            let detail = format!("{} {detail}", call.helper.name);
            Failure::from(detail).at(&call.to_string())
        })?;
        match &found {
            Found::Made(Value::String(text)) => self.budget.work(text.len())?,
            Found::Missing if passes && self.quiet == 0 => {
                let label = call.to_string();
                self.budget.work(label.len())?;
                self.missing(&label)?;
            }
            _ => {}
        }
        Ok(found)
    }

    #[allow(clippy::type_complexity)] // positional and named, as the helper gets them
    fn arguments<'f>(
        &mut self,
        call: &'f Call,
        frame: Option<&'f Frame<'f>>,
    ) -> Result<(Vec<Found<'f>>, Vec<(&'f str, Found<'f>)>), Failure>
    where
        'd: 'f,
    {
        let args = call.args.iter().map(|arg| self.eval(arg, frame)).collect::<Result<_, _>>()?;
        let options = call
            .options
            .iter()
            .map(|(name, value)| Ok((name.as_str(), self.eval(value, frame)?)))
            .collect::<Result<_, Failure>>()?;
        Ok((args, options))
    }

    fn missing(&mut self, placeholder: &str) -> Result<(), Failure> {
        if self.quiet > 0 {
            return Ok(());
        }
        if self.strict {
            return Err(Failure::missing(placeholder));
        }
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.iter().any(|w| w == placeholder) {
            self.warnings.push(placeholder.to_owned());
        }
        Ok(())
    }
}
