//! The rows that a write left, as JSON.

use serde_json::{Map, Value};

use super::catalog::{Column, Kind, Table};
use super::text::Sql;
use crate::connections::sql::{Arg, Engine};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The most rows that are handed on, and the most bytes of JSON.
pub(super) const MAX_ROWS: usize = 100;
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// The columns that this role may read.
pub(super) fn readable(table: &Table) -> Vec<&Column> {
    table.columns.iter().filter(|column| column.readable).collect()
}

/// PostgreSQL: `sql` with its rows counted and the first of them as JSON, in one row of two texts.
pub(super) fn counted(sql: &Sql, columns: &[&Column]) -> String {
    format!("{} SELECT count, rows FROM told", told(sql, columns))
}

/// PostgreSQL: `sql` with its result as JSON, entered in the ledger for the delivery that is bound at `delivery`, and
/// answered. The result is the one that [`super::run`] makes of counts and rows.
pub(super) fn entered(sql: &Sql, columns: &[&Column], delivery: usize) -> String {
    format!(
        "{} INSERT INTO triggerd_deliveries (delivery_id, result) SELECT ${delivery}, '{{\"rowsAffected\":' || count || CASE \
         WHEN octet_length(rows) > {MAX_BYTES} THEN ',\"returning\":[],\"returningTruncated\":true}}' \
         WHEN count::bigint > {MAX_ROWS} THEN ',\"returning\":' || rows || ',\"returningTruncated\":true}}' \
         ELSE ',\"returning\":' || rows || '}}' END FROM told RETURNING result",
        told(sql, columns)
    )
}

/// PostgreSQL: `told`, one row with `count` and `rows` of what `sql` wrote.
fn told(sql: &Sql, columns: &[&Column]) -> String {
    let names = columns.iter().map(|column| Engine::Postgres.quoted(&column.name)).collect::<Vec<_>>().join(", ");
    let shown = columns.iter().map(|column| {
        let name = Engine::Postgres.quoted(&column.name);
        match column.kind {
            Kind::Bytes => format!("translate(encode({name}, 'base64'), E'\\n', '') AS {name}"),
            _ => name,
        }
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    format!(
        "WITH written AS ({} RETURNING {names}), told AS (SELECT (SELECT count(*) FROM written)::text AS count, \
         (SELECT COALESCE(json_agg(row_to_json(shown)), '[]') FROM (SELECT {shown} FROM written LIMIT {MAX_ROWS}) shown)::text \
         AS rows)",
        sql.text
    )
}

/// MySQL: a row as one JSON text.
pub(super) fn mysql_row<'c>(columns: impl IntoIterator<Item = (&'c str, Shown)>) -> String {
    let parts = columns.into_iter().map(|(name, shown)| {
        let quoted = Engine::Mysql.quoted(name);
        let value = match shown {
            Shown::Bytes => format!("REPLACE(TO_BASE64({quoted}), '\\n', '')"),
            Shown::Moment => format!("DATE_FORMAT({quoted}, '%Y-%m-%dT%H:%i:%s.%fZ')"),
            Shown::Text => format!("CAST({quoted} AS CHAR)"),
            Shown::Json => format!("JSON_EXTRACT({quoted}, '$')"),
            Shown::Plain => quoted,
        };
        format!("{}, {value}", mysql_text(name))
    });
    format!("CAST(JSON_OBJECT({}) AS CHAR)", parts.collect::<Vec<_>>().join(", "))
}

/// A name as a text of MySQL's: quotes doubled, and backslashes, which mean something to it.
pub(super) fn mysql_text(name: &str) -> String {
    format!("'{}'", name.replace('\\', "\\\\").replace('\'', "''"))
}

/// How MySQL is asked for a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    Plain,
    Text,
    Bytes,
    Moment,
    Json,
}

impl Shown {
    /// For a column of the catalog.
    pub(super) fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Bytes => Self::Bytes,
            Kind::Instant | Kind::DateTime => Self::Moment,
            Kind::Json => Self::Json,
            Kind::Date | Kind::Time | Kind::Text | Kind::Other => Self::Text,
            _ => Self::Plain,
        }
    }

    /// For a column of a guest's statement, by what the client calls its type.
    pub(super) fn of_type(name: &str) -> Self {
        match name {
            "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" | "BINARY" | "VARBINARY" | "GEOMETRY" => Self::Bytes,
            "DATETIME" | "TIMESTAMP" => Self::Moment,
            "JSON" => Self::Json,
            "DATE" | "TIME" | "ENUM" | "SET" | "BIT" => Self::Text,
            name if name.ends_with("CHAR") || name.ends_with("TEXT") => Self::Text,
            _ => Self::Plain,
        }
    }
}

/// A row of SQLite.
pub(super) fn sqlite_row<'c>(columns: impl IntoIterator<Item = (&'c str, Option<&'c Kind>)>, cells: Vec<Arg>) -> Value {
    let pairs = columns.into_iter().zip(cells).map(|((name, kind), cell)| {
        let value = match cell {
            Arg::Null => Value::Null,
            Arg::Int(number @ (0 | 1)) if kind == Some(&Kind::Bool) => Value::Bool(number == 1),
            Arg::Int(number) => number.into(),
            Arg::Real(number) => number.into(),
            Arg::Bytes(bytes) => STANDARD.encode(bytes).into(),
            Arg::Text(text) if kind == Some(&Kind::Json) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            Arg::Text(text) => text.into(),
        };
        (name.to_owned(), value)
    });
    Value::Object(pairs.collect::<Map<String, Value>>())
}

/// MySQL's truth values are numbers until here.
pub(super) fn with_truths(table: &Table, row: Value) -> Value {
    let Value::Object(mut fields) = row else { return row };
    for column in table.columns.iter().filter(|column| column.kind == Kind::Bool) {
        if let Some(value) = fields.get_mut(&column.name) {
            match value.as_u64() {
                Some(0) => *value = Value::Bool(false),
                Some(1) => *value = Value::Bool(true),
                _ => {}
            }
        }
    }
    Value::Object(fields)
}
