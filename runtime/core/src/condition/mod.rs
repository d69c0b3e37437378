//! Conditions: compiled once, evaluated without allocation, explained on request.
//!
//! Verdicts are three-valued: a component that has not been asked yet makes a node unknown, and `and`, `or` and
//! `not` carry that on only where the other members do not settle it (Kleene's logic).

use serde_json::Value;

use crate::event::Event;
use crate::mistake::Mistake;
use crate::path::Path;

mod change;
mod clause;
mod compile;
mod compile_field;
pub mod equality;
mod explain;
mod index_value;
mod instant;
mod jsonpath;
mod key;
mod matches;
mod number;
mod order;
mod presence;
mod query_text;
mod text;

pub use explain::Explanation;
pub use index_value::IndexValue;
pub use key::{Alternative, Key};

/// The deepest nesting of `and`, `or` and `not`.
pub const MAX_NESTING: usize = 64;

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    root: Node,
    components: Vec<ComponentCall>,
}

/// A Wasm component that a condition asks.
#[derive(Clone, PartialEq, Debug)]
pub struct ComponentCall {
    /// `NAME`, `NAME@VERSION` or `NAME@sha256:...`
    pub component: String,
    /// Its `config`; `Null` where none was given.
    pub config: Value,
}

#[derive(Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Field(Field),
    JsonPath(jsonpath::Test),
    /// An index into the condition's components.
    Component(usize),
}

/// `{"field", "operator", "value"}`
#[derive(Debug)]
struct Field {
    /// As it was written, for explanations.
    written: String,
    path: Path,
    operator: &'static Operator,
    /// `Null` for operators that take none.
    value: Value,
    /// The compiled `value` of `MATCHES`.
    pattern: Option<matches::Pattern>,
}

/// A row of the list of operators.
#[derive(Debug)]
struct Operator {
    name: &'static str,
    test: Test,
    /// The exact negation of the test.
    negated: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Test {
    Equals,
    In,
    Order(order::Side),
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Null,
    Empty,
    Changed,
    ChangedTo,
    ChangedFrom,
}

/// Every operator. Any case and spelling of a name is accepted: `changedTo`, `changed_to`.
const OPERATORS: [Operator; 20] = [
    is("EQUALS", Test::Equals),
    not("NOT_EQUALS", Test::Equals),
    is("GREATER_THAN", Test::Order(order::Side::Greater)),
    is("GREATER_THAN_OR_EQUALS", Test::Order(order::Side::GreaterOrEqual)),
    is("LESS_THAN", Test::Order(order::Side::Less)),
    is("LESS_THAN_OR_EQUALS", Test::Order(order::Side::LessOrEqual)),
    is("IN", Test::In),
    not("NOT_IN", Test::In),
    is("CONTAINS", Test::Contains),
    is("STARTS_WITH", Test::StartsWith),
    is("ENDS_WITH", Test::EndsWith),
    is("MATCHES", Test::Matches),
    is("IS_NULL", Test::Null),
    not("IS_NOT_NULL", Test::Null),
    is("IS_EMPTY", Test::Empty),
    not("IS_NOT_EMPTY", Test::Empty),
    is("CHANGED", Test::Changed),
    not("NOT_CHANGED", Test::Changed),
    is("CHANGED_TO", Test::ChangedTo),
    is("CHANGED_FROM", Test::ChangedFrom),
];

const fn is(name: &'static str, test: Test) -> Operator {
    Operator { name, test, negated: false }
}

const fn not(name: &'static str, test: Test) -> Operator {
    Operator { name, test, negated: true }
}

impl Test {
    /// Whether it looks at the record beside the previous one.
    fn is_change(self) -> bool {
        matches!(self, Self::Changed | Self::ChangedTo | Self::ChangedFrom)
    }
}

impl Condition {
    /// Compiles the JSON of a condition that stands at `pointer`; every mistake is added to `mistakes`.
    pub fn compile(source: &Value, pointer: &str, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let mut components = Vec::new();
        let root =
            compile::node(source, pointer, &mut compile::Draft { mistakes, components: &mut components, depth: 0 })?;
        Some(Self { root, components })
    }

    /// The verdict. `components` answers what the component with that index (see [`Condition::components`])
    /// said; where it answers `None` and the verdict hangs on it, the verdict is `None`.
    pub fn evaluate(&self, event: &Event, components: &dyn Fn(usize) -> Option<bool>) -> Option<bool> {
        self.root.verdict(event, components)
    }

    /// The components that this condition asks, in document order.
    #[must_use]
    pub fn components(&self) -> &[ComponentCall] {
        &self.components
    }

    /// The same verdict as a tree with the values found.
    pub fn explain(&self, event: &Event, components: &dyn Fn(usize) -> Option<bool>) -> Explanation {
        explain::node(&self.root, event, &self.components, components)
    }

    /// What every event has that satisfies it: one alternative of each key. What the index goes by, the most telling first.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        key::keys(&self.root)
    }
}

impl Node {
    fn verdict(&self, event: &Event, components: &dyn Fn(usize) -> Option<bool>) -> Option<bool> {
        match self {
            Self::And(members) => conjunction(members.iter().map(|member| member.verdict(event, components))),
            Self::Or(members) => disjunction(members.iter().map(|member| member.verdict(event, components))),
            Self::Not(member) => member.verdict(event, components).map(|verdict| !verdict),
            Self::Field(field) => Some(field.verdict(event)),
            Self::JsonPath(test) => Some(test.verdict(&event.record)),
            Self::Component(index) => components(*index),
        }
    }
}

/// False where one is false, else unknown where one is unknown. Stops at the first false.
fn conjunction(verdicts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    disjunction(verdicts.map(|verdict| verdict.map(|verdict| !verdict))).map(|verdict| !verdict)
}

/// True where one is true, else unknown where one is unknown. Stops at the first true.
fn disjunction(verdicts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut out = Some(false);
    for verdict in verdicts {
        match verdict {
            Some(true) => return Some(true),
            Some(false) => {}
            None => out = None,
        }
    }
    out
}

impl Field {
    fn verdict(&self, event: &Event) -> bool {
        let holds = if self.operator.test.is_change() {
            self.changed(&change::Change::of(&self.path, event))
        } else {
            self.holds(self.path.find(event).as_deref())
        };
        holds != self.operator.negated
    }

    fn changed(&self, change: &change::Change<'_>) -> bool {
        match self.operator.test {
            Test::ChangedTo => change.is_to(&self.value),
            Test::ChangedFrom => change.is_from(&self.value),
            _ => change.changed,
        }
    }

    fn holds(&self, found: Option<&Value>) -> bool {
        match self.operator.test {
            Test::Equals => equality::equals(found, &self.value),
            Test::In => equality::is_in(found, &self.value),
            Test::Order(side) => order::compare(side, found, &self.value),
            Test::Contains => text::contains(found, &self.value),
            Test::StartsWith => text::starts_with(found, &self.value),
            Test::EndsWith => text::ends_with(found, &self.value),
            Test::Matches => self.pattern.as_ref().is_some_and(|pattern| pattern.is_found(found)),
            Test::Null => presence::is_null(found),
            Test::Empty => presence::is_empty(found),
            // These look at two records; `verdict` sends them to `changed`.
            Test::Changed | Test::ChangedTo | Test::ChangedFrom => false,
        }
    }
}

#[cfg(test)]
mod tests;
