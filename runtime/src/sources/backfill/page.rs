//! A page of rows by primary key, in one snapshot with the inserts that were not told of yet.

use std::collections::HashSet;

use serde_json::Value;
use triggerd_core::capture::Columns;
use triggerd_core::json;

use super::Progress;
use crate::connections::sql::{Arg, Engine, Fault, Session};
use crate::databases::{self, Table};
use crate::sources::outbox::{Names, row_json, with_bytes};
use crate::store::RowDigest;

/// Inserts that wait to be told of, with which pages are still read: with more, what is new comes first.
const MAX_PENDING: usize = 2000;

/// A page.
pub(super) struct Page {
    /// The rows, with their keys as texts.
    pub(super) rows: Vec<(Value, Vec<String>)>,
    /// Rows whose inserts were not told of when the page was read.
    pub(super) pending: HashSet<RowDigest>,
    /// No row follows.
    pub(super) is_last: bool,
}

/// Reads the rows after `table.after`; `None` where too much is waiting to be told of. `outbox` is where that is; without,
/// nothing is taken for waiting.
pub(super) async fn read(
    session: &mut Session,
    outbox: Option<&Names>,
    progress: &Progress,
    columns: &Columns,
    limit: usize,
) -> Result<Option<Page>, Fault> {
    let table = databases::table_in(session, progress.schema.as_deref(), &progress.name).await?;
    let begin = match session.engine() {
        Engine::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        Engine::Mysql => {
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
        }
        Engine::Sqlite => "BEGIN",
    };
    session.control(begin).await?;
    let read = in_snapshot(session, outbox, progress, &table, columns, limit).await;
    if !matches!(&read, Err(fault) if fault.gone) {
        session.control("ROLLBACK").await?;
    }
    read
}

async fn in_snapshot(
    session: &mut Session,
    outbox: Option<&Names>,
    progress: &Progress,
    table: &Table,
    columns: &Columns,
    limit: usize,
) -> Result<Option<Page>, Fault> {
    let mut pending = HashSet::new();
    if let Some(names) = outbox {
        let Some(found) = waiting(session, names, progress).await? else { return Ok(None) };
        pending = found;
    }
    let (sql, args) = select(session.engine(), table, progress, columns, limit);
    let found = session.rows(&sql, &args, limit).await?;
    let is_last = !found.cut && found.rows.len() < limit;
    if found.cut && found.rows.is_empty() {
        let message = format!("a row of `{}` is too large to be read", progress.name);
        return Err(Fault::permanent("DB_RESULT_TOO_LARGE", message));
    }
    let mut rows = Vec::with_capacity(found.rows.len());
    for cells in &found.rows {
        let texts = |arg: &Arg| arg.text().map(str::to_owned);
        let row = cells.first().and_then(texts).unwrap_or_default();
        let row = json::parse(row.as_bytes()).or_else(|error| serde_json::from_str(&row).map_err(|_| error));
        let row =
            row.map_err(|error| Fault::permanent("DB_VALUE", format!("a row of `{}`: {error}", progress.name)))?;
        let key: Option<Vec<String>> = cells[1..].iter().map(texts).collect();
        let key = key.ok_or_else(|| Fault::permanent("DB_VALUE", format!("a key of `{}` is null", progress.name)))?;
        rows.push((with_bytes(row), key));
    }
    Ok(Some(Page { rows, pending, is_last }))
}

/// The rows whose inserts wait in the outbox; `None` for too many.
async fn waiting(
    session: &mut Session,
    names: &Names,
    progress: &Progress,
) -> Result<Option<HashSet<RowDigest>>, Fault> {
    let engine = session.engine();
    let (json, place) = match engine {
        Engine::Postgres => ("new_row::text", ["$1", "$2"]),
        Engine::Mysql | Engine::Sqlite => ("new_row", ["?", "?"]),
    };
    let sql = format!(
        "SELECT {json} FROM {} WHERE operation = 'insert' AND table_name = {} AND COALESCE(schema_name, '') = {} LIMIT {}",
        names.outbox(),
        place[0],
        place[1],
        MAX_PENDING + 1
    );
    let args = [Arg::Text(progress.name.clone()), Arg::Text(progress.schema.clone().unwrap_or_default())];
    let found = session.rows(&sql, &args, MAX_PENDING).await?;
    if found.cut || found.count as usize > MAX_PENDING {
        return Ok(None);
    }
    let row = |cells: &Vec<Arg>| json::parse(cells.first()?.text()?.as_bytes()).ok();
    Ok(Some(found.rows.iter().filter_map(row).filter_map(|row| progress.digest(&with_bytes(row))).collect()))
}

/// The page's rows as JSON, and their keys as texts.
fn select(engine: Engine, table: &Table, progress: &Progress, columns: &Columns, limit: usize) -> (String, Vec<Arg>) {
    let name = |column: &str| format!("t.{}", engine.quoted(column));
    let text = |column: &str| match engine {
        Engine::Postgres => format!("{}::text", name(column)),
        Engine::Mysql => format!("CAST({} AS CHAR)", name(column)),
        Engine::Sqlite => format!("CAST({} AS TEXT)", name(column)),
    };
    let keys: Vec<&str> = progress.key.iter().map(String::as_str).collect();
    let (mut conditions, mut args) = (Vec::new(), Vec::new());
    if let Some(after) = &progress.after {
        // a > x OR (a = x AND b > y) ...
        for i in 0..keys.len() {
            let mut parts = Vec::new();
            for (j, key) in keys.iter().enumerate().take(i + 1) {
                args.push(Arg::Text(after.get(j).cloned().unwrap_or_default()));
                let value = placeholder(engine, table, key, args.len());
                parts.push(format!("{} {} {value}", name(key), if j == i { ">" } else { "=" }));
            }
            conditions.push(format!("({})", parts.join(" AND ")));
        }
    }
    let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" OR ")) };
    let texts = keys.iter().map(|key| text(key)).collect::<Vec<_>>().join(", ");
    let order = keys.iter().map(|key| name(key)).collect::<Vec<_>>().join(", ");
    let row = row_json(engine, table, columns, "t");
    let from = engine.quoted_table(table);
    (format!("SELECT {row}, {texts} FROM {from} AS t{filter} ORDER BY {order} LIMIT {limit}"), args)
}

/// A value of a key, which is bound as a text.
fn placeholder(engine: Engine, table: &Table, key: &str, number: usize) -> String {
    let column = table.column(key);
    match engine {
        Engine::Postgres => {
            let cast = column.map(|column| format!("::{}", column.full_type)).unwrap_or_default();
            format!("${number}::text{cast}")
        }
        Engine::Mysql => match column {
            Some(column) if column.kind.is_number() => "CAST(? AS DECIMAL(65,30))".to_owned(),
            _ => "?".to_owned(),
        },
        Engine::Sqlite => match column {
            Some(column) if column.kind.is_number() => "CAST(? AS NUMERIC)".to_owned(),
            _ => "?".to_owned(),
        },
    }
}
