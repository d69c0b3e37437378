//! MySQL's and MariaDB's side. Triggers run with the rights of who made them. There is no identifier of a transaction to be
//! had in a trigger: the connection's number is told in its place.

use triggerd_core::capture::Wanted;

use super::ddl::{OPERATIONS, mark, rows};
use super::filter::{self, Sql};
use super::names::Names;
use super::row;
use crate::connections::sql::Engine;
use crate::databases::Table;

/// The names of the table's triggers, and what makes them. Where they cannot be replaced, a row that is written between the end of
/// one and the beginning of the next is told of to nobody: MySQL has no transactions for them.
pub(super) fn capture(names: &Names, table: &Table, wanted: &Wanted, replaces: bool) -> (Vec<String>, Vec<String>) {
    let on = Engine::Mysql.quoted_table(table);
    let (mut triggers, mut statements) = (Vec::new(), Vec::new());
    for (operation, name) in OPERATIONS {
        let trigger = names.trigger(table, name);
        let quoted = qualified(table, &trigger);
        let want = wanted.of(operation);
        if !replaces || want.is_none() {
            statements.push(format!("DROP TRIGGER IF EXISTS {quoted}"));
        }
        let Some(want) = want else { continue };
        let create = if replaces { "CREATE OR REPLACE" } else { "CREATE" };
        let mut when = "@triggerd_suppress IS NULL OR @triggerd_suppress <> 'on'".to_owned();
        match filter::of(Engine::Mysql, table, &want.rows) {
            Sql::True => {}
            Sql::False => "FALSE".clone_into(&mut when),
            Sql::Text(text) => when = format!("({when}) AND {text}"),
        }
        let (old, new) = rows(operation, |row| row::mysql(table, &want.columns, row));
        let own = table.schema.as_deref() == names.schema();
        let schema = if own { "NULL".to_owned() } else { text(table.schema.as_deref().unwrap_or_default()) };
        statements.push(format!(
            "{create} TRIGGER {quoted} AFTER {event} ON {on} FOR EACH ROW BEGIN /* {mark} */ IF {when} THEN \
             INSERT INTO {outbox} (operation, schema_name, table_name, old_row, new_row, user_info, context, origin, \
             session_user_name, transaction) VALUES ('{name}', {schema}, {table_name}, {old}, {new}, @triggerd_user, \
             @triggerd_context, @triggerd_origin, USER(), CONNECTION_ID()); END IF; END",
            event = name.to_ascii_uppercase(),
            mark = mark(),
            outbox = names.outbox(),
            table_name = text(&table.name),
        ));
        triggers.push(trigger);
    }
    (triggers, statements)
}

/// Takes a table's triggers away.
pub(super) fn removal(table: &Table, triggers: &[String]) -> Vec<String> {
    triggers.iter().map(|trigger| format!("DROP TRIGGER IF EXISTS {}", qualified(table, trigger))).collect()
}

/// The triggers that are there: schema, table, name, text.
pub(super) const INSTALLED: &str = "
SELECT CAST(event_object_schema AS CHAR), CAST(event_object_table AS CHAR), CAST(trigger_name AS CHAR),
       CAST(action_statement AS CHAR)
FROM information_schema.triggers
WHERE LEFT(trigger_name, CHAR_LENGTH(?) + 1) = CONCAT(?, '_')
  AND action_statement LIKE '%triggerd-capture%'";

/// The tables that may be captured.
pub(super) const TABLES: &str = "
SELECT CAST(table_schema AS CHAR), CAST(table_name AS CHAR) FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')
ORDER BY table_schema <> DATABASE(), table_schema, table_name";

/// A trigger lives in its table's schema.
fn qualified(table: &Table, trigger: &str) -> String {
    match &table.schema {
        Some(schema) => format!("{}.{}", Engine::Mysql.quoted(schema), Engine::Mysql.quoted(trigger)),
        None => Engine::Mysql.quoted(trigger),
    }
}

/// A text literal: quotes doubled, and backslashes, which mean something to MySQL.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}
