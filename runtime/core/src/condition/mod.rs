//! Conditions: compiled once, evaluated without allocation, explained on request.

use serde::Serialize;
use serde_json::Value;

use crate::event::Event;
use crate::mistake::Mistake;
use crate::path::Path;

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {}

/// A Wasm component that a condition asks.
#[derive(Clone, PartialEq, Debug)]
pub struct ComponentCall {
    /// `NAME`, `NAME@VERSION` or `NAME@sha256:...`
    pub component: String,
    /// Its `config`; `Null` where none was given.
    pub config: Value,
}

/// One node of an explanation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {}

impl Condition {
    /// Compiles the JSON of a condition that stands at `pointer`; every mistake is added to `mistakes`.
    pub fn compile(source: &Value, pointer: &str, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let _ = (source, pointer, mistakes);
        unimplemented!()
    }

    /// The verdict. `components` answers what the component with that index (see [`Condition::components`])
    /// said; where it answers `None` and the verdict hangs on it, the verdict is `None`.
    pub fn evaluate(&self, event: &Event, components: &dyn Fn(usize) -> Option<bool>) -> Option<bool> {
        let _ = (event, components);
        unimplemented!()
    }

    /// The components that this condition asks, in document order.
    #[must_use]
    pub fn components(&self) -> &[ComponentCall] {
        unimplemented!()
    }

    /// The same verdict as a tree with the values found.
    pub fn explain(&self, event: &Event, components: &dyn Fn(usize) -> Option<bool>) -> Explanation {
        let _ = (event, components);
        unimplemented!()
    }

    /// An equality or `IN` that must hold for the whole condition to hold (itself, or a member of its
    /// outermost `and`): what the index goes by. Values are scalars.
    #[must_use]
    pub fn key(&self) -> Option<(&Path, &[Value])> {
        unimplemented!()
    }
}
