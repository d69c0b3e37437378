//! A condition as far as a database can decide it: tests of single columns, and what is left open.

use serde_json::Value;

/// A condition on a changed row.
#[derive(Clone, PartialEq, Debug)]
pub enum Clause {
    /// All of them.
    All(Vec<Clause>),
    /// One of them.
    Any(Vec<Clause>),
    /// The opposite.
    Not(Box<Clause>),
    /// A test of one column.
    Test(Test),
    /// Cannot be decided from the row's columns alone.
    Unknown,
}

/// A test of one column.
#[derive(Clone, PartialEq, Debug)]
pub struct Test {
    /// Of which row.
    pub row: Row,
    /// The column.
    pub column: String,
    /// What is asked.
    pub kind: TestKind,
    /// What it is compared with: an array for `In`, `Null` where nothing is.
    pub value: Value,
}

/// Which row of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Row {
    /// As it is now.
    New,
    /// As it was.
    Old,
}

/// What is asked of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TestKind {
    /// It equals the value.
    Equals,
    /// It equals one of the values.
    In,
    /// It is less.
    Less,
    /// It is less or equal.
    LessOrEqual,
    /// It is greater.
    Greater,
    /// It is greater or equal.
    GreaterOrEqual,
    /// It is null.
    Null,
    /// It differs between the rows.
    Changed,
    /// It differs, and equals the value now.
    ChangedTo,
    /// It differs, and equalled the value before.
    ChangedFrom,
}

impl Clause {
    /// One of them, without needless levels.
    #[must_use]
    pub fn any(members: Vec<Self>) -> Self {
        if members.contains(&Self::Unknown) {
            return Self::Unknown;
        }
        let mut flat = Vec::new();
        for member in members {
            match member {
                Self::Any(inner) => flat.extend(inner),
                other if flat.contains(&other) => {}
                other => flat.push(other),
            }
        }
        if flat.len() == 1 { flat.remove(0) } else { Self::Any(flat) }
    }
}
