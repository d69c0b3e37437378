//! A table's rows as JSON.

use serde_json::{Map, Value};
use triggerd_core::event::Operation;
use triggerd_core::json::Error;

use super::kind::Kind;
use super::message::{Cell, Relation, Tuple};
use super::{WantedTable, value};
use crate::sources::unread::Unread;

/// A table that is wanted.
pub(super) struct Table {
    pub(super) relation: Relation,
    pub(super) kinds: Vec<Kind>,
    pub(super) wanted: WantedTable,
}

impl Table {
    /// Whether the operation is wanted of it.
    pub(super) fn takes(&self, operation: Operation) -> bool {
        match operation {
            Operation::Insert => self.wanted.insert,
            Operation::Update => self.wanted.update,
            Operation::Delete => self.wanted.delete,
            Operation::Truncate => self.wanted.truncate,
        }
    }

    /// All columns, with the names of those that neither `row` nor `old` has; `unread` gets those that are told as texts.
    pub(super) fn whole(
        &self,
        row: &Tuple<'_>,
        old: Option<&Tuple<'_>>,
        unread: &mut Unread,
    ) -> Option<(Value, Vec<String>)> {
        if row.len() != self.kinds.len() {
            return None;
        }
        let mut fields = Map::with_capacity(row.len());
        let mut unchanged = Vec::new();
        for (index, (column, kind)) in self.relation.columns.iter().zip(&self.kinds).enumerate() {
            let cell = match (&row[index], old.and_then(|old| old.get(index))) {
                (Cell::Unchanged, Some(old)) => old,
                (cell, _) => cell,
            };
            let mut refused = None;
            let value = shown(kind, cell, &mut refused);
            if let Some(why) = refused {
                unread.add(&column.name, &why);
            }
            match value {
                Some(value) => drop(fields.insert(column.name.clone(), value)),
                None => unchanged.push(column.name.clone()),
            }
        }
        Some((Value::Object(fields), unchanged))
    }

    /// The columns of the replica identity; null where there are none.
    pub(super) fn key(&self, row: &Tuple<'_>) -> Option<Value> {
        if row.len() != self.kinds.len() {
            return None;
        }
        let columns = self.relation.columns.iter().zip(&self.kinds).zip(row).filter(|((column, _), _)| column.key);
        let fields: Map<_, _> = columns
            .filter_map(|((column, kind), cell)| Some((column.name.clone(), shown(kind, cell, &mut None)?)))
            .collect();
        Some(if fields.is_empty() { Value::Null } else { Value::Object(fields) })
    }
}

fn shown(kind: &Kind, cell: &Cell<'_>, refused: &mut Option<Error>) -> Option<Value> {
    match cell {
        Cell::Null => Some(Value::Null),
        Cell::Text(text) => Some(value::of(kind, text, refused)),
        Cell::Unchanged => None,
    }
}
