//! A condition as a database can decide it before the change is told, and the columns that it looks at.

use super::{Condition, Field, Node, Test, order};
use crate::capture::{Clause, Columns, Row, Test as ColumnTest, TestKind};
use crate::event::Operation;
use crate::path::{Path, Root, Step};

impl Condition {
    /// What a change of that operation must satisfy, as far as single columns say.
    #[must_use]
    pub fn clause(&self, operation: Operation) -> Clause {
        self.root.clause(operation)
    }

    /// Adds the columns of a changed row that it looks at.
    pub fn columns(&self, columns: &mut Columns) {
        self.root.columns(columns);
    }
}

impl Node {
    fn clause(&self, operation: Operation) -> Clause {
        let of = |members: &[Self]| members.iter().map(|member| member.clause(operation)).collect();
        match self {
            Self::And(members) => Clause::All(of(members)),
            Self::Or(members) => Clause::Any(of(members)),
            Self::Not(member) => Clause::Not(Box::new(member.clause(operation))),
            Self::Field(field) => field.clause(operation),
            Self::JsonPath(_) | Self::Component(_) => Clause::Unknown,
        }
    }

    fn columns(&self, columns: &mut Columns) {
        match self {
            Self::And(members) | Self::Or(members) => members.iter().for_each(|member| member.columns(columns)),
            Self::Not(member) => member.columns(columns),
            Self::Field(field) => match field.path.root {
                Root::Record | Root::PreviousRecord => columns.add(column(&field.path)),
                Root::Payload => columns.add(None),
                _ => {}
            },
            // A query may look anywhere, and a component is given the whole event.
            Self::JsonPath(_) | Self::Component(_) => columns.add(None),
        }
    }
}

impl Field {
    fn clause(&self, operation: Operation) -> Clause {
        let row = match (self.path.root, operation) {
            (Root::Record, Operation::Insert | Operation::Update) => Row::New,
            (Root::PreviousRecord, Operation::Update | Operation::Delete) => Row::Old,
            _ => return Clause::Unknown,
        };
        // A value within a column's JSON is for the condition itself.
        let [Step::Key(column)] = self.path.steps.as_slice() else { return Clause::Unknown };
        let kind = match self.operator.test {
            Test::Equals => TestKind::Equals,
            Test::In => TestKind::In,
            Test::Order(order::Side::Less) => TestKind::Less,
            Test::Order(order::Side::LessOrEqual) => TestKind::LessOrEqual,
            Test::Order(order::Side::Greater) => TestKind::Greater,
            Test::Order(order::Side::GreaterOrEqual) => TestKind::GreaterOrEqual,
            Test::Null => TestKind::Null,
            // On insert and delete every field that is there has changed.
            Test::Changed if operation == Operation::Update => TestKind::Changed,
            Test::ChangedTo if operation == Operation::Update => TestKind::ChangedTo,
            Test::ChangedFrom if operation == Operation::Update => TestKind::ChangedFrom,
            _ => return Clause::Unknown,
        };
        let test = Clause::Test(ColumnTest { row, column: column.clone(), kind, value: self.value.clone() });
        if self.operator.negated { Clause::Not(Box::new(test)) } else { test }
    }
}

/// The column that a path goes through; `None` for the whole row.
fn column(path: &Path) -> Option<&str> {
    match path.steps.first() {
        Some(Step::Key(name)) => Some(name),
        _ => None,
    }
}
