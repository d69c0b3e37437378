//! From the plugin's messages to changes: which transaction they are of, what their rows are, what was said of them.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use triggerd_core::event::Operation;

use super::WantedTable;
use super::check::Found;
use super::cluster::Cluster;
use super::kind::{self, Kind};
use super::lsn::Lsn;
use super::message::{Old, Relation, Told, Tuple};
use super::said::{Own, Said, read};
use super::table::Table;
use crate::sources::unread::Unread;
use crate::sources::{Captured, Change};

/// PostgreSQL counts from 2000-01-01 on.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// The most sentences about what could not be taken that a batch has.
const MAX_REFUSED: usize = 100;
/// The most tables that a server may tell of, partitions included.
const MAX_TABLES: usize = 1_000_000;
/// What a column's value takes in memory beside its text, about.
const COLUMN_BYTES: usize = 128;

/// Where in the columns of an update's context those are named that the log does not have.
const UNCHANGED: &str = "unchangedColumns";

/// What is known between messages.
pub(super) struct Decoder {
    cluster: Cluster,
    wanted: HashMap<(String, String), WantedTable>,
    /// By number; `None` for one that is not wanted.
    tables: HashMap<u32, Option<Table>>,
    open: Option<Transaction>,
    pub(super) changes: Vec<Captured>,
    pub(super) refused: Vec<String>,
    /// What the changes take in memory, about.
    pub(super) bytes: usize,
}

struct Transaction {
    xid: u32,
    at: Timestamp,
    /// What the keys of all of its changes begin with.
    key: String,
    said: Said,
    /// What each change carries of it, about.
    said_bytes: usize,
    /// The place of the last change, and how many there were.
    last: (Lsn, u32),
}

/// What a message leads to beside changes.
pub(super) enum Step {
    /// Nothing.
    On,
    /// A transaction ended; the next one is behind this place.
    Committed(Lsn),
    /// The catalog has to be asked for this table's types, and [`Decoder::describe`] to be told.
    Ask(Relation),
}

impl Decoder {
    pub(super) fn new(cluster: Cluster, found: Vec<Found>) -> Self {
        let mut wanted = HashMap::<_, WantedTable>::new();
        for found in found {
            let table = found.wanted;
            let entry = wanted.entry((found.schema, found.name));
            let known = entry.or_insert_with(|| WantedTable {
                schema: table.schema.clone(),
                name: table.name.clone(),
                ..WantedTable::default()
            });
            // The same table may be named with its schema and without.
            known.schema = known.schema.take().and(table.schema);
            known.insert |= table.insert;
            known.update |= table.update;
            known.delete |= table.delete;
            known.truncate |= table.truncate;
        }
        let (tables, open) = (HashMap::new(), None);
        Self { cluster, wanted, tables, open, changes: Vec::new(), refused: Vec::new(), bytes: 0 }
    }

    /// Whether a transaction has begun whose end has not come.
    pub(super) fn is_inside(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a message from `at`; `None` where it does not fit those before it.
    pub(super) fn take(&mut self, at: Lsn, told: Told<'_>) -> Option<Step> {
        match told {
            Told::Begin { commit, micros, xid } => {
                let time = Timestamp::from_microsecond(micros.checked_add(EPOCH_MICROS)?).ok()?;
                let Cluster { system, .. } = &self.cluster;
                let key = format!("wal/{system}/{}/{commit}", self.cluster.timeline_of(commit));
                self.open =
                    Some(Transaction { xid, at: time, key, said: Said::default(), said_bytes: 0, last: (Lsn(0), 0) });
            }
            Told::Commit { end } => {
                self.open = None;
                return Some(Step::Committed(end));
            }
            Told::Relation(relation) => return self.relation(relation),
            Told::Insert { relation, new } => self.insert(at, relation, &new)?,
            Told::Update { relation, old, new } => self.update(at, relation, old.as_ref(), &new)?,
            Told::Delete { relation, old } => self.delete(at, relation, &old)?,
            Told::Truncate { relations } => {
                for relation in relations {
                    self.truncate(at, relation)?;
                }
            }
            Told::Message { transactional: true, prefix, content } if self.open.is_some() => match &*prefix {
                "triggerd" => self.said(at, content)?,
                "triggerd.event" => self.own_event(at, content)?,
                _ => {}
            },
            Told::Message { transactional: false, prefix, .. } if prefix.starts_with("triggerd") => {
                self.refuse(format!("a message `{prefix}` at {at} is outside of a transaction; say `true` first"));
            }
            Told::Message { .. } | Told::Nothing => {}
        }
        Some(Step::On)
    }

    /// Notes that something could not be taken.
    pub(super) fn refuse(&mut self, why: String) {
        if self.refused.len() < MAX_REFUSED {
            self.refused.push(why);
        }
    }

    /// Notes that a message was too large.
    pub(super) fn refuse_large(&mut self, length: usize, most: usize) {
        let of = self.open.as_ref().map(|open| format!(" of transaction {}", open.xid)).unwrap_or_default();
        self.refuse(format!("a change{of} has {length} bytes, of which at most {most} are read"));
    }

    fn relation(&mut self, relation: Relation) -> Option<Step> {
        if self.tables.len() > MAX_TABLES {
            return None;
        }
        if !self.wanted.contains_key(&(relation.schema.clone(), relation.name.clone())) {
            self.tables.insert(relation.id, None);
            return Some(Step::On);
        }
        let Some(kinds) = kind::known(&relation) else { return Some(Step::Ask(relation)) };
        self.describe(relation, kinds);
        Some(Step::On)
    }

    /// What the columns of a table hold.
    pub(super) fn describe(&mut self, relation: Relation, kinds: Vec<Kind>) {
        let wanted = self.wanted.get(&(relation.schema.clone(), relation.name.clone())).cloned();
        // One that had the name before is gone, or will be described under another.
        let is_same = |known: &Table| known.relation.schema == relation.schema && known.relation.name == relation.name;
        self.tables.retain(|_, known| !known.as_ref().is_some_and(is_same));
        self.tables.insert(relation.id, wanted.map(|wanted| Table { relation, kinds, wanted }));
    }

    fn insert(&mut self, at: Lsn, relation: u32, new: &Tuple<'_>) -> Option<()> {
        self.row(at, relation, Operation::Insert, |table, unread| {
            let (record, _) = table.whole(new, None, unread)?;
            Some((record, Value::Null, Vec::new()))
        })
    }

    fn update(&mut self, at: Lsn, relation: u32, old: Option<&Old<'_>>, new: &Tuple<'_>) -> Option<()> {
        self.row(at, relation, Operation::Update, |table, unread| {
            let (previous, whole) = match old {
                Some(Old::Whole(old)) => (table.whole(old, None, unread)?.0, Some(old)),
                Some(Old::Key(old)) => (table.key(old)?, None),
                // The key is as it was.
                None => (table.key(new)?, None),
            };
            let (record, unchanged) = table.whole(new, whole, unread)?;
            Some((record, previous, unchanged))
        })
    }

    fn delete(&mut self, at: Lsn, relation: u32, old: &Old<'_>) -> Option<()> {
        self.row(at, relation, Operation::Delete, |table, unread| {
            let previous = match old {
                Old::Whole(old) => table.whole(old, None, unread)?.0,
                Old::Key(old) => table.key(old)?,
            };
            Some((Value::Null, previous, Vec::new()))
        })
    }

    fn truncate(&mut self, at: Lsn, relation: u32) -> Option<()> {
        self.row(at, relation, Operation::Truncate, |_, _| Some((Value::Null, Value::Null, Vec::new())))
    }

    /// Enters a change of a row, which `read` reads if it is wanted: record, previous, columns that are not known.
    fn row(
        &mut self,
        at: Lsn,
        relation: u32,
        operation: Operation,
        read: impl FnOnce(&Table, &mut Unread) -> Option<(Value, Value, Vec<String>)>,
    ) -> Option<()> {
        let open = self.open.as_mut()?;
        // Counted whether it is wanted or not: keys must not depend on what is wanted.
        let key = open.key(at);
        let Some(table) = self.tables.get(&relation)? else { return Some(()) };
        if open.said.suppress || !table.takes(operation) {
            return Some(());
        }
        let mut unread = Unread::default();
        let (record, previous, unchanged) = read(table, &mut unread)?;
        let change = Change::Row {
            operation,
            schema: table.wanted.schema.clone(),
            table: table.relation.name.clone(),
            record,
            previous,
        };
        let mut captured = open.captured(key, change);
        unread.note(&mut captured.context);
        if !unchanged.is_empty() {
            captured.context.insert(UNCHANGED.to_owned(), unchanged.into());
        }
        self.bytes += COLUMN_BYTES * (table.kinds.len() + 1) + open.said_bytes;
        self.changes.push(captured);
        Some(())
    }

    fn said(&mut self, at: Lsn, content: &[u8]) -> Option<()> {
        match read::<Said>(content) {
            Ok(said) => {
                let open = self.open.as_mut()?;
                (open.said, open.said_bytes) = (said, content.len());
            }
            Err(why) => self.refuse(format!("a message `triggerd` at {at} was not understood: {why}")),
        }
        Some(())
    }

    fn own_event(&mut self, at: Lsn, content: &[u8]) -> Option<()> {
        let open = self.open.as_mut()?;
        let key = open.key(at);
        if open.said.suppress {
            return Some(());
        }
        match read::<Own>(content) {
            Ok(Own { event_type, payload }) => {
                let captured = open.captured(key, Change::Event { event_type, payload });
                self.bytes += COLUMN_BYTES + open.said_bytes;
                self.changes.push(captured);
            }
            Err(why) => self.refuse(format!("a message `triggerd.event` at {at} was not understood: {why}")),
        }
        Some(())
    }
}

impl Transaction {
    /// The key of the next change, which is at this place. Several may be: a COPY's rows share one.
    fn key(&mut self, at: Lsn) -> String {
        self.last = if self.last.0 == at { (at, self.last.1 + 1) } else { (at, 0) };
        format!("{}/{at}/{}", self.key, self.last.1)
    }

    fn captured(&self, key: String, change: Change) -> Captured {
        Captured {
            key,
            change,
            at: self.at,
            transaction: Some(self.xid.to_string()),
            user: self.said.user.clone(),
            context: self.said.context.clone(),
            origin: self.said.origin.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sources::wal::message::{Cell, Column};
    use serde_json::json;

    fn decoder(insert: bool) -> Decoder {
        let cluster = Cluster {
            system: "7".into(),
            timeline: "3".into(),
            earlier: vec![("1".into(), Lsn(10)), ("2".into(), Lsn(20))],
        };
        let mut decoder = Decoder::new(cluster, Vec::new());
        let wanted = WantedTable { name: "t".into(), insert, update: true, ..WantedTable::default() };
        decoder.wanted.insert(("public".into(), "t".into()), wanted);
        let column = |name: &str, key, type_id| Column { key, name: name.into(), type_id };
        let columns = vec![column("id", true, 23), column("body", false, 25)];
        let relation = Relation { id: 1, schema: "public".into(), name: "t".into(), columns };
        assert!(matches!(decoder.take(Lsn(0), Told::Relation(relation)), Some(Step::On)));
        decoder
    }

    fn text(text: &'static str) -> Cell<'static> {
        Cell::Text(text.into())
    }

    fn begin(decoder: &mut Decoder, commit: u64) {
        decoder.take(Lsn(0), Told::Begin { commit: Lsn(commit), micros: 0, xid: 5 }).unwrap();
    }

    fn insert(decoder: &mut Decoder, at: u64) {
        decoder.take(Lsn(at), Told::Insert { relation: 1, new: vec![text("1"), text("x")] }).unwrap();
    }

    fn message(decoder: &mut Decoder, prefix: &'static str, content: &'static str) {
        let told = Told::Message { transactional: true, prefix: prefix.into(), content: content.as_bytes() };
        decoder.take(Lsn(1), told).unwrap();
    }

    #[test]
    fn a_key_is_of_the_place_and_not_of_what_is_wanted() {
        let keys = |wanted: bool| {
            let mut decoder = decoder(wanted);
            begin(&mut decoder, 15);
            insert(&mut decoder, 11);
            insert(&mut decoder, 11);
            decoder.take(Lsn(11), Told::Update { relation: 1, old: None, new: vec![text("1"), text("y")] }).unwrap();
            decoder.changes.into_iter().map(|change| change.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(true), ["wal/7/2/0/F/0/B/0", "wal/7/2/0/F/0/B/1", "wal/7/2/0/F/0/B/2"]);
        assert_eq!(keys(false), ["wal/7/2/0/F/0/B/2"]);
    }

    #[test]
    fn what_an_application_says_holds_for_what_follows_in_its_transaction() {
        let mut decoder = decoder(true);
        begin(&mut decoder, 30);
        insert(&mut decoder, 1);
        message(&mut decoder, "triggerd", r#"{"user": {"id": 7}, "context": {"a": 1}, "origin": "crm"}"#);
        insert(&mut decoder, 2);
        message(&mut decoder, "triggerd", r#"{"suppres": true}"#);
        insert(&mut decoder, 3);
        message(&mut decoder, "triggerd", r#"{"suppress": true}"#);
        insert(&mut decoder, 4);
        message(&mut decoder, "triggerd.event", r#"{"type": "a.b"}"#);
        message(&mut decoder, "triggerd", "{}");
        message(&mut decoder, "triggerd.event", r#"{"type": "order.paid", "payload": [1]}"#);
        message(&mut decoder, "triggerd.event", "{}");
        assert!(matches!(decoder.take(Lsn(9), Told::Commit { end: Lsn(31) }), Some(Step::Committed(Lsn(31)))));
        begin(&mut decoder, 40);
        insert(&mut decoder, 32);
        let users: Vec<_> = decoder.changes.iter().map(|change| change.user.clone()).collect();
        assert_eq!(users, [json!(null), json!({"id": 7}), json!({"id": 7}), json!(null), json!(null)]);
        assert_eq!(decoder.changes[1].origin.as_deref(), Some("crm"));
        let event = Change::Event { event_type: "order.paid".into(), payload: json!([1]) };
        assert_eq!(decoder.changes[3].change, event);
        assert_eq!(decoder.refused.len(), 2, "{:?}", decoder.refused);
    }

    #[test]
    fn a_value_that_the_log_has_not_is_left_out_and_named() {
        let mut decoder = decoder(true);
        begin(&mut decoder, 30);
        let new = || vec![text("1"), Cell::Unchanged];
        let whole = Old::Whole(vec![text("1"), text("long")]);
        for old in [None, Some(whole)] {
            decoder.take(Lsn(1), Told::Update { relation: 1, old, new: new() }).unwrap();
        }
        let Change::Row { record, previous, .. } = &decoder.changes[0].change else { panic!() };
        assert_eq!((record, previous), (&json!({"id": 1}), &json!({"id": 1})));
        assert_eq!(decoder.changes[0].context[UNCHANGED], json!(["body"]));
        let Change::Row { record, previous, .. } = &decoder.changes[1].change else { panic!() };
        assert_eq!((record, previous), (&json!({"id": 1, "body": "long"}), &json!({"id": 1, "body": "long"})));
        assert!(decoder.changes[1].context.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_no_change() {
        let mut decoder = decoder(true);
        let row = |relation, new| Told::Insert { relation, new };
        assert!(decoder.take(Lsn(1), row(1, vec![text("1"), text("x")])).is_none(), "outside of a transaction");
        begin(&mut decoder, 30);
        assert!(decoder.take(Lsn(1), row(2, vec![text("1"), text("x")])).is_none(), "a table that nobody told of");
        assert!(decoder.take(Lsn(1), row(1, vec![text("1")])).is_none(), "a column less");
    }
}
