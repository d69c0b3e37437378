//! What a caller wants done to the rows of a table.

use serde_json::{Map, Value};
use triggerd_core::event::Operation;
use triggerd_core::mistake::Mistake;

use super::candidate::Candidate;
use crate::connections::sql::Fault;
use crate::databases::{Assignment, Filter, Found, Lookup, Operator, Step, Table};

/// A row as it was sent.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Its place in the request.
    pub pointer: String,
    /// Columns and values.
    pub fields: Map<String, Value>,
}

/// What is wanted.
#[derive(Clone, PartialEq, Debug)]
pub enum Intent {
    /// New rows.
    Insert(Vec<Row>),
    /// New rows, or those that are there with the same values in these columns; none stands for the primary key.
    Upsert(Vec<Row>, Vec<String>),
    /// The rows that are meant take values.
    Update(Filter, Vec<Assignment>),
    /// The rows that are meant go.
    Delete(Filter),
}

impl Intent {
    /// The same, with the columns that an upsert goes by, checked.
    pub(super) fn of_table(&self, table: &Table) -> Result<Self, super::Error> {
        let Self::Upsert(rows, named) = self else { return Ok(self.clone()) };
        let keys = match named.as_slice() {
            [] => table.primary_key().iter().map(|column| column.name.clone()).collect(),
            named => named.to_vec(),
        };
        let mut mistakes = Vec::new();
        if keys.is_empty() {
            let detail = format!("table `{}` has no primary key; name the columns in `on_conflict`", table.qualified());
            mistakes.push(Mistake::new("/on_conflict", detail));
        }
        let mut seen = std::collections::HashSet::new();
        for row in rows {
            for key in keys.iter().filter(|key| row.fields.get(*key).is_none_or(Value::is_null)) {
                mistakes.push(Mistake::new(&row.pointer, format!("the key `{key}` must have a value")));
            }
            let key: Vec<String> = keys.iter().filter_map(|key| row.fields.get(key).map(Value::to_string)).collect();
            if !seen.insert(key) && mistakes.is_empty() {
                mistakes.push(Mistake::new(&row.pointer, "another row has the same keys"));
            }
        }
        if mistakes.is_empty() { Ok(Self::Upsert(rows.clone(), keys)) } else { Err(super::Error::Invalid(mistakes)) }
    }

    /// The operations that it may come to.
    pub(super) fn operations(&self) -> &'static [Operation] {
        match self {
            Self::Insert(_) => &[Operation::Insert],
            Self::Upsert(..) => &[Operation::Insert, Operation::Update],
            Self::Update(..) => &[Operation::Update],
            Self::Delete(_) => &[Operation::Delete],
        }
    }

    /// The rows that it is about.
    pub(super) fn lookup(&self) -> Option<Lookup> {
        match self {
            Self::Insert(_) => None,
            Self::Upsert(rows, keys) => {
                Some(Lookup::Keys(keys.clone(), rows.iter().map(|row| row.fields.clone()).collect()))
            }
            Self::Update(filter, patch) => Some(Lookup::Where(filter.clone(), patch.clone())),
            Self::Delete(filter) => Some(Lookup::Where(filter.clone(), Vec::new())),
        }
    }

    /// The one statement that does it.
    pub(super) fn whole(&self) -> Option<Step> {
        match self {
            Self::Insert(_) | Self::Upsert(..) => None,
            Self::Update(filter, patch) => Some(Step::UpdateWhere(filter.clone(), patch.clone())),
            Self::Delete(filter) => Some(Step::DeleteWhere(filter.clone())),
        }
    }

    /// Whether the fault may be of a row that came to be there since it was looked for.
    pub(super) fn may_meet(&self, fault: &Fault) -> bool {
        matches!(self, Self::Upsert(..)) && fault.code == "DB_CONSTRAINT"
    }

    /// The writes that it comes to, with these rows found.
    pub(super) fn candidates(&self, found: &[Option<Found>]) -> Vec<Candidate> {
        match self {
            Self::Insert(rows) => rows.iter().map(|row| Candidate::insert(&row.pointer, row.fields.clone())).collect(),
            Self::Upsert(rows, keys) => {
                let pairs = rows.iter().zip(found);
                let upsert = |(row, found): (&Row, &Option<Found>)| match found {
                    None => Candidate::insert(&row.pointer, row.fields.clone()),
                    Some(found) => {
                        let mut given = row.fields.clone();
                        given.retain(|name, _| !keys.contains(name));
                        Candidate::update(&row.pointer, found.row.clone(), given)
                    }
                };
                pairs.map(upsert).collect()
            }
            Self::Update(_, patch) => found.iter().flatten().map(|found| patched(found, patch)).collect(),
            Self::Delete(_) => found.iter().flatten().map(|found| Candidate::delete(found.row.clone())).collect(),
        }
    }
}

/// The row with the assignments made; what operators make of it the database has computed.
fn patched(found: &Found, patch: &[Assignment]) -> Candidate {
    let value = |assignment: &Assignment| match &assignment.operator {
        Operator::Set(value) => value.clone(),
        Operator::Unset => Value::Null,
        _ => found.computed.get(&assignment.column).cloned().unwrap_or(Value::Null),
    };
    let given = patch.iter().map(|assignment| (assignment.column.clone(), value(assignment)));
    let pointer = patch.first().and_then(|assignment| assignment.pointer.rsplit_once('/')).map(|(row, _)| row);
    Candidate::update(pointer.unwrap_or_default(), found.row.clone(), given.collect())
}
