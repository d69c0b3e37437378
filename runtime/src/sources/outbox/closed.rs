//! MariaDB: entries that were read without one that comes before them.
//!
//! MariaDB makes a snapshot by going through the running transactions one after the other, with no lock (`snapshot_ids` in
//! `trx0sys.h`). One that it notes as running may commit on the way, and another one that waited for its row may do so
//! too before the snapshot comes to it: the snapshot then sees the second change of the row and not the first, which has
//! the lower number. Whatever a change follows had committed when the snapshot was made: the next one sees it. So it is looked
//! once more for lower numbers; entries are taken up to where one of a row has come that a later one is of.

use std::collections::{HashMap, HashSet, hash_map};

use serde_json::Value;

use super::entry::{self, Entry};
use super::names::Names;
use crate::connections::sql::{Arg, Engine, Fault, Session};
use crate::databases;
use crate::sources::Change;
use crate::sources::plan::TableName;

/// The columns of tables' primary keys, as far as they were needed.
#[derive(Default)]
pub(super) struct Keys(HashMap<TableName, Vec<String>>);

/// How many lower numbers are looked for beyond the entries: rarely more than a few have come.
const NEWCOMERS: usize = 100;

/// How many of `entries`, which are in the order of their numbers, may be told of now: all of them, but for MariaDB's.
pub(super) async fn prefix(
    session: &mut Session,
    names: &Names,
    keys: &mut Keys,
    entries: &[Entry],
) -> Result<usize, Fault> {
    let Some(last) = entries.last().filter(|_| session.is_mariadb()) else { return Ok(entries.len()) };
    let (outbox, most) = (names.outbox(), entries.len() + NEWCOMERS);
    let sql = format!("SELECT CAST(id AS CHAR) FROM {outbox} AS o WHERE o.id < {} ORDER BY o.id LIMIT {most}", last.id);
    let found = session.rows(&sql, &[], most).await?;
    let number = |row: &Vec<Arg>| row.first()?.text()?.parse::<i64>().ok();
    let looked: Vec<i64> = found.rows.iter().filter_map(number).collect();
    let entries = &entries[..covered(entries, &looked, found.cut || looked.len() >= most)];
    let newcomers = newcomers(entries, &looked);
    if newcomers.is_empty() {
        return Ok(entries.len());
    }
    let found = session.rows(&entry::select_those(Engine::Mysql, names, &newcomers), &[], newcomers.len()).await?;
    let newcomers: Vec<Entry> = found.rows.iter().filter_map(|row| entry::read(row)).collect();
    if found.cut {
        // What was not seen may be anything.
        return Ok(newcomers.first().map_or(0, |first| before(entries, first.id)));
    }
    for newcomer in &newcomers {
        keys.learn(session, newcomer).await?;
        let follows = entries.iter().any(|entry| entry.id > newcomer.id && keys.may_be_one_row(entry, newcomer));
        if follows {
            return Ok(before(entries, newcomer.id));
        }
    }
    Ok(entries.len())
}

/// How many entries the look reached: where it was `cut` off, more newcomers may follow its last number.
fn covered(entries: &[Entry], looked: &[i64], cut: bool) -> usize {
    match looked.last() {
        Some(last) if cut => entries.partition_point(|entry| entry.id <= *last),
        None if cut => 0,
        _ => entries.len(),
    }
}

/// Those of the numbers that no entry has.
fn newcomers(entries: &[Entry], looked: &[i64]) -> Vec<i64> {
    let known: HashSet<i64> = entries.iter().map(|entry| entry.id).collect();
    looked.iter().copied().filter(|number| !known.contains(number)).collect()
}

/// How many entries come before a number.
fn before(entries: &[Entry], number: i64) -> usize {
    entries.partition_point(|entry| entry.id < number)
}

impl Keys {
    /// Forgets what may have changed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    async fn learn(&mut self, session: &mut Session, entry: &Entry) -> Result<(), Fault> {
        let Change::Row { schema, table, .. } = &entry.captured.change else { return Ok(()) };
        let hash_map::Entry::Vacant(place) = self.0.entry((schema.clone(), table.clone())) else { return Ok(()) };
        match databases::table_in(session, schema.as_deref(), table).await {
            Ok(found) => {
                place.insert(found.primary_key().iter().map(|column| column.name.clone()).collect());
            }
            // Gone by now: nothing tells its rows apart.
            Err(fault) if fault.code == "DB_UNKNOWN_TABLE" => {
                place.insert(Vec::new());
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Whether two changes are of the same row, as far as can be told.
    fn may_be_one_row(&self, one: &Entry, other: &Entry) -> bool {
        let (
            Change::Row { schema, table, record, previous, .. },
            Change::Row { schema: s, table: t, record: r, previous: p, .. },
        ) = (&one.captured.change, &other.captured.change)
        else {
            return false;
        };
        if (schema, table) != (s, t) {
            return false;
        }
        let Some(key) = self.0.get(&(schema.clone(), table.clone())).filter(|key| !key.is_empty()) else { return true };
        let same = |a: &Value, b: &Value| {
            a.is_object() && b.is_object() && key.iter().all(|column| a.get(column) == b.get(column))
        };
        [record, previous].iter().any(|a| same(a, r) || same(a, p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use triggerd_core::event::Operation;

    fn update(id: i64, key: i64, table: &str) -> Entry {
        let (record, previous) = (json!({"id": key, "n": id}), json!({"id": key, "n": id - 1}));
        let change = Change::Row { operation: Operation::Update, schema: None, table: table.into(), record, previous };
        let captured = crate::sources::Captured {
            key: id.to_string(),
            change,
            at: jiff::Timestamp::UNIX_EPOCH,
            transaction: None,
            user: Value::Null,
            context: serde_json::Map::new(),
            origin: None,
        };
        Entry { id, captured }
    }

    #[test]
    fn no_entry_is_released_beyond_where_the_look_for_lower_numbers_was_cut_off() {
        let entries = [update(10, 1, "a"), update(14, 2, "a"), update(20, 3, "a")];
        assert_eq!(covered(&entries, &[10, 11, 14], false), 3);
        assert_eq!(newcomers(&entries, &[10, 11, 12, 14]), [11, 12]);
        // 15 to 19 may have come as well.
        assert_eq!(covered(&entries, &[10, 11, 12, 14], true), 2);
        assert_eq!(covered(&entries, &[8, 9], true), 0);
        assert_eq!(covered(&entries, &[], true), 0);
    }

    #[test]
    fn rows_are_told_apart_by_their_keys_and_not_at_all_without() {
        let keys =
            Keys(HashMap::from([((None, "a".to_owned()), vec!["id".to_owned()]), ((None, "b".to_owned()), vec![])]));
        assert!(keys.may_be_one_row(&update(5, 1, "a"), &update(4, 1, "a")));
        assert!(!keys.may_be_one_row(&update(5, 1, "a"), &update(4, 2, "a")));
        assert!(!keys.may_be_one_row(&update(5, 1, "a"), &update(4, 1, "b")));
        assert!(keys.may_be_one_row(&update(5, 1, "b"), &update(4, 2, "b")));
        assert_eq!(before(&[update(2, 1, "a"), update(5, 1, "a"), update(7, 1, "a")], 4), 1);
    }
}
