//! SQLite's side. The triggers are run by whichever library the application brings: they use nothing newer than JSON
//! functions. Sessions have no variables: what one says of itself stands in a table, which no other connection sees before
//! the commit, and which has to be empty by then.

use triggerd_core::capture::Wanted;

use super::ddl::{OPERATIONS, mark, rows};
use super::filter::{self, Sql};
use super::names::Names;
use super::row;
use crate::connections::sql::Engine;
use crate::databases::Table;

/// The names of the table's triggers, and what makes them.
pub(super) fn capture(names: &Names, table: &Table, wanted: &Wanted) -> (Vec<String>, Vec<String>) {
    let on = Engine::Sqlite.quoted_table(table);
    let session = names.session();
    let (mut triggers, mut statements) = (Vec::new(), Vec::new());
    for (operation, name) in OPERATIONS {
        let trigger = names.trigger(table, name);
        let quoted = Engine::Sqlite.quoted(&trigger);
        statements.push(format!("DROP TRIGGER IF EXISTS {quoted}"));
        let Some(want) = wanted.of(operation) else { continue };
        let mut when = format!("NOT EXISTS (SELECT 1 FROM {session} WHERE suppress = 'on')");
        match filter::of(Engine::Sqlite, table, &want.rows) {
            Sql::True => {}
            Sql::False => "0".clone_into(&mut when),
            Sql::Text(text) => when = format!("{text} AND {when}"),
        }
        let (old, new) = rows(operation, |row| row::sqlite(table, &want.columns, row));
        statements.push(format!(
            "CREATE TRIGGER {quoted} AFTER {event} ON {on} FOR EACH ROW WHEN {when} BEGIN /* {mark} */ \
             INSERT INTO {outbox} (operation, table_name, old_row, new_row, user_info, context, origin) \
             VALUES ('{name}', '{table_name}', {old}, {new}, (SELECT \"user\" FROM {session}), \
             (SELECT context FROM {session}), (SELECT origin FROM {session})); END",
            event = name.to_ascii_uppercase(),
            mark = mark(),
            outbox = names.outbox(),
            table_name = table.name.replace('\'', "''"),
        ));
        triggers.push(trigger);
    }
    (triggers, statements)
}

/// Takes a table's triggers away.
pub(super) fn removal(triggers: &[String]) -> Vec<String> {
    triggers.iter().map(|trigger| format!("DROP TRIGGER IF EXISTS {}", Engine::Sqlite.quoted(trigger))).collect()
}

/// The triggers that are there: no schema, table, name, text.
pub(super) const INSTALLED: &str = "
SELECT '', tbl_name, name, sql FROM sqlite_schema
WHERE type = 'trigger' AND substr(name, 1, length(?) + 1) = ? || '_' AND sql LIKE '%triggerd-capture%'";

/// The tables that may be captured.
pub(super) const TABLES: &str = "
SELECT '', name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
