//! PostgreSQL's side: the outbox, and row triggers that write into it.
//!
//! Functions run with the rights of the role that installed them and see only `pg_catalog`, so that whoever writes needs no
//! rights on the outbox and cannot lead a name astray. An `AFTER` row trigger takes its number while it holds the row, so
//! that entries of one row are numbered in the order in which they are committed.

use triggerd_core::capture::Wanted;
use triggerd_core::event::Operation;

use super::ddl::{OPERATIONS, Options, mark};
use super::filter::{self, Sql};
use super::names::Names;
use super::row;
use crate::connections::sql::Engine;
use crate::databases::{Kind, Table};

/// Makes the function that wakes the reader. The reader asks for it when it goes to sleep: under load nobody notifies, since
/// that takes a lock at commit.
pub(super) fn waking(names: &Names) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION {wake}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
         SET search_path = pg_catalog, pg_temp AS $triggerd$
BEGIN
  IF EXISTS (SELECT 1 FROM {state} WHERE key = 'sleeps' AND value = 'yes') THEN
    PERFORM pg_notify({channel}, '');
  END IF;
  RETURN NULL;
END
$triggerd$",
        wake = names.wake(),
        state = names.state(),
        channel = text(names.channel()),
    )
}

/// The names of the table's triggers, and what makes them.
pub(super) fn capture(names: &Names, table: &Table, wanted: &Wanted, options: Options) -> (Vec<String>, Vec<String>) {
    let on = Engine::Postgres.quoted_table(table);
    let function = names.function(table);
    let (mut triggers, mut statements) = (Vec::new(), vec![body(names, table, wanted)]);
    let mut add = |operation: &str, event: &str, each: &str, when: Option<String>, function: &str| {
        let trigger = names.trigger(table, operation);
        let quoted = Engine::Postgres.quoted(&trigger);
        if !options.replaces {
            statements.push(format!("DROP TRIGGER IF EXISTS {quoted} ON {on}"));
        }
        let create = if options.replaces { "CREATE OR REPLACE TRIGGER" } else { "CREATE TRIGGER" };
        let when = when.map(|when| format!(" WHEN ({when})")).unwrap_or_default();
        statements.push(format!(
            "{create} {quoted} AFTER {event} ON {on} FOR EACH {each}{when} EXECUTE FUNCTION {function}()"
        ));
        if options.always {
            statements.push(format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {quoted}"));
        }
        triggers.push(trigger);
    };
    let mut events = Vec::new();
    for (operation, name) in OPERATIONS {
        let Some(want) = wanted.of(operation) else { continue };
        let told = "current_setting('triggerd.suppress', true) IS DISTINCT FROM 'on'".to_owned();
        let when = match filter::of(Engine::Postgres, table, &want.rows) {
            Sql::True => told,
            Sql::False => format!("{told} AND FALSE"),
            Sql::Text(text) => format!("{told} AND {text}"),
        };
        events.push(name.to_ascii_uppercase());
        add(name, &name.to_ascii_uppercase(), "ROW", Some(when), &function);
    }
    if wanted.truncate {
        events.push("TRUNCATE".to_owned());
        add("truncate", "TRUNCATE", "STATEMENT", None, &function);
    }
    if !events.is_empty() {
        add("wake", &events.join(" OR "), "STATEMENT", None, &names.wake());
    }
    (triggers, statements)
}

/// The function that writes a table's entries. Where columns are named and one of them is gone, the whole row is told: a
/// change of the table must not fail its writers.
fn body(names: &Names, table: &Table, wanted: &Wanted) -> String {
    let rows =
        |operation: Operation, row: &str| wanted.of(operation).map(|want| row::postgres(table, &want.columns, row));
    let assign = |variable: &str, row: &str, told: Option<(String, bool)>| match told {
        None => "NULL;".to_owned(),
        Some((json, false)) => format!("{variable} := {json};"),
        Some((json, true)) => {
            format!("BEGIN {variable} := {json}; EXCEPTION WHEN OTHERS THEN {variable} := to_json({row}); END;")
        }
    };
    let own = table.schema.as_deref() == names.schema();
    let schema = if own { "NULL".to_owned() } else { text(table.schema.as_deref().unwrap_or_default()) };
    let name = text(&table.name);
    format!(
        "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
         SET search_path = pg_catalog, pg_temp{settings} AS $triggerd$
-- {mark}
DECLARE
  old_row json;
  new_row json;
BEGIN
  IF TG_OP = 'INSERT' THEN
    {insert}
  ELSIF TG_OP = 'UPDATE' THEN
    {before}
    {after}
  ELSIF TG_OP = 'DELETE' THEN
    {delete}
  ELSIF current_setting('triggerd.suppress', true) = 'on' THEN
    RETURN NULL;
  END IF;
  INSERT INTO {outbox} (operation, schema_name, table_name, old_row, new_row)
  VALUES (lower(TG_OP), {schema}, {name}, old_row, new_row);
  RETURN NULL;
END
$triggerd$",
        settings = settings(table),
        function = names.function(table),
        mark = mark(),
        insert = assign("new_row", "NEW", rows(Operation::Insert, "NEW")),
        before = assign("old_row", "OLD", rows(Operation::Update, "OLD")),
        after = assign("new_row", "NEW", rows(Operation::Update, "NEW")),
        delete = assign("old_row", "OLD", rows(Operation::Delete, "OLD")),
        outbox = names.outbox(),
    )
}

/// What values of some types are written by. Each setting costs every row a microsecond or two: only where it matters.
fn settings(table: &Table) -> String {
    let other = |kind: &Kind| matches!(kind, Kind::Other | Kind::Array(_) | Kind::Json);
    let has = |wanted: &dyn Fn(&Kind) -> bool| table.columns.iter().any(|column| wanted(&column.kind));
    let mut settings = String::new();
    if has(&|kind| matches!(kind, Kind::Instant | Kind::Time) || other(kind)) {
        settings += " SET \"TimeZone\" = 'UTC'";
    }
    if has(&other) {
        settings += " SET \"IntervalStyle\" = 'iso_8601'";
    }
    settings
}

/// Takes a table's triggers away, and what they call.
pub(super) fn removal(names: &Names, table: &Table, triggers: &[String]) -> Vec<String> {
    let on = Engine::Postgres.quoted_table(table);
    let mut statements: Vec<String> = triggers
        .iter()
        .map(|trigger| format!("DROP TRIGGER IF EXISTS {} ON {on}", Engine::Postgres.quoted(trigger)))
        .collect();
    statements.push(format!("DROP FUNCTION IF EXISTS {}()", names.function(table)));
    statements
}

/// The triggers that are there: schema, table, name, the function's text, and whether they fire. Those that partitions
/// have of their parents are left out: their function is not named after them.
pub(super) const INSTALLED: &str = "
SELECT n.nspname::text, c.relname::text, t.tgname::text, f.prosrc::text, t.tgenabled::text, f.proname::text
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
LEFT JOIN LATERAL (SELECT w.prosrc, w.proname FROM pg_catalog.pg_trigger o JOIN pg_catalog.pg_proc w ON w.oid = o.tgfoid
                   WHERE o.tgrelid = t.tgrelid AND left(w.proname, length($1) + 4) = $1 || '_of_' LIMIT 1) f ON true
WHERE NOT t.tgisinternal AND left(t.tgname, length($1) + 1) = $1 || '_'
  AND (left(p.proname, length($1) + 4) = $1 || '_of_' OR p.proname = $1 || '_wake')";

/// The tables that may be captured: schema and name, those of the connection's own schema first.
pub(super) const TABLES: &str = "
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
ORDER BY (n.nspname = current_schema()) DESC, n.nspname, c.relname";

/// A text literal.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
