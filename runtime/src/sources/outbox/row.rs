//! A changed row as JSON, written by the database itself: the same shape whatever engine it comes from.
//!
//! Bytes are base64 (SQLite, which has none: `{"$hex": "…"}`, which the reader turns into it), instants RFC 3339 in UTC.

use triggerd_core::capture::Columns;

use crate::connections::sql::Engine;
use crate::databases::{Column, Kind, Table};

/// The most members that a function of SQLite's JSON is given at once: it takes 100 arguments at least.
const MEMBERS: usize = 48;

/// The columns that are told: those that are wanted, and what tells rows apart.
#[must_use]
pub fn told<'t>(table: &'t Table, wanted: &Columns) -> Vec<&'t Column> {
    let told = table.columns.iter().filter(|column| wanted.has(&column.name) || column.primary || column.name == "id");
    told.collect()
}

/// The row that a statement calls `row`, as JSON text.
#[must_use]
pub fn row_json(engine: Engine, table: &Table, wanted: &Columns, row: &str) -> String {
    match engine {
        Engine::Postgres => format!("({})::text", postgres(table, wanted, row).0),
        Engine::Mysql => format!("CAST({} AS CHAR)", mysql(table, wanted, row)),
        Engine::Sqlite => sqlite(table, wanted, row),
    }
}

/// PostgreSQL: `row` (`NEW` or `OLD`) as JSON. The flag says that columns are named one by one, so that it fails once one
/// of them is gone.
#[must_use]
pub fn postgres(table: &Table, wanted: &Columns, row: &str) -> (String, bool) {
    let told = told(table, wanted);
    let plain = told.iter().all(|column| column.kind != Kind::Bytes);
    if plain && told.len() == table.columns.len() {
        return (format!("to_json({row})"), false);
    }
    let members = told.iter().map(|column| {
        let name = Engine::Postgres.quoted(&column.name);
        match column.kind {
            Kind::Bytes => format!("translate(encode({row}.{name}, 'base64'), E'\\n', '') AS {name}"),
            _ => format!("{row}.{name} AS {name}"),
        }
    });
    let members = members.collect::<Vec<_>>().join(", ");
    (format!("(SELECT row_to_json(told) FROM (SELECT {members}) AS told)"), true)
}

/// MySQL and MariaDB.
#[must_use]
pub fn mysql(table: &Table, wanted: &Columns, row: &str) -> String {
    let members = told(table, wanted).into_iter().map(|column| {
        let value = format!("{row}.{}", Engine::Mysql.quoted(&column.name));
        let value = match column.kind {
            Kind::Bytes => format!("REPLACE(TO_BASE64({value}), '\\n', '')"),
            Kind::Instant | Kind::DateTime => format!("DATE_FORMAT({value}, '%Y-%m-%dT%H:%i:%s.%fZ')"),
            // One byte that people also count with: only 0 and 1 are truth values.
            Kind::Bool => {
                format!("JSON_EXTRACT(CASE {value} WHEN 0 THEN 'false' WHEN 1 THEN 'true' ELSE CAST({value} AS CHAR) END, '$')")
            }
            Kind::Json => format!("JSON_EXTRACT({value}, '$')"),
            Kind::Integer | Kind::Decimal | Kind::Float => value,
            Kind::Other if is_bits(column) => format!("{value} + 0"),
            Kind::Other if is_shape(column) => format!("ST_AsText({value})"),
            _ => format!("CAST({value} AS CHAR CHARACTER SET utf8mb4)"),
        };
        format!("'{}', {value}", column.name.replace('\\', "\\\\").replace('\'', "''"))
    });
    format!("JSON_OBJECT({})", members.collect::<Vec<_>>().join(", "))
}

/// Bits are told as the number that they are: as text they would be bytes of no character set.
fn is_bits(column: &Column) -> bool {
    column.full_type.to_ascii_lowercase().starts_with("bit")
}

/// A shape on a plane has no cast to text, and a trigger that tries fails its writer.
fn is_shape(column: &Column) -> bool {
    let kinds = ["geometry", "point", "linestring", "polygon", "multi", "geomcollection"];
    let declared = column.full_type.to_ascii_lowercase();
    kinds.iter().any(|kind| declared.starts_with(kind))
}

/// SQLite, whose values have types of their own, whatever their columns say.
#[must_use]
pub fn sqlite(table: &Table, wanted: &Columns, row: &str) -> String {
    let mut members: Vec<(&str, String)> = told(table, wanted)
        .into_iter()
        .map(|column| {
            (column.name.as_str(), sqlite_value(column, &format!("{row}.{}", Engine::Sqlite.quoted(&column.name))))
        })
        .collect();
    // A path cannot name what holds a quote; the first ones need no path.
    members.sort_by_key(|(name, _)| !name.contains(['"', '\\']));
    let mut parts = members.chunks(MEMBERS);
    let member = |(name, value): &(&str, String)| format!("'{}', {value}", name.replace('\'', "''"));
    let first = parts.next().unwrap_or_default().iter().map(member).collect::<Vec<_>>().join(", ");
    let mut object = format!("json_object({first})");
    for part in parts {
        let member = |(name, value): &(&str, String)| format!("'$.\"{}\"', {value}", name.replace('\'', "''"));
        object = format!("json_set({object}, {})", part.iter().map(member).collect::<Vec<_>>().join(", "));
    }
    object
}

fn sqlite_value(column: &Column, value: &str) -> String {
    let as_kind = match column.kind {
        Kind::Bool => format!(
            "WHEN 'integer' THEN CASE {value} WHEN 0 THEN json('false') WHEN 1 THEN json('true') ELSE {value} END "
        ),
        Kind::Json => {
            format!("WHEN 'text' THEN CASE WHEN json_valid({value}) THEN json({value}) ELSE {value} END ")
        }
        _ => String::new(),
    };
    // JSON has no infinities: they are told as PostgreSQL tells them.
    let real = format!("CASE {value} WHEN 9e999 THEN 'Infinity' WHEN -9e999 THEN '-Infinity' ELSE {value} END");
    format!(
        "CASE typeof({value}) WHEN 'blob' THEN json_object('$hex', hex({value})) WHEN 'real' THEN {real} {as_kind}ELSE {value} END"
    )
}
