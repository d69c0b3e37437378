//! Whole rows read by key or page by page, in one shape whatever engine they come from.
//!
//! The same row read twice by the same columns is the same JSON, to the letter: what changed in between is told by
//! comparing.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::catalog::{Column, Kind, Table};
use super::keyset::Keyset;
use super::returning::{self, Shown};
use super::statement::column_of;
use super::text::Sql;
use super::{Databases, Name, Opened, value};
use crate::connections::sql::{Arg, Engine, Fault, Session};
use crate::failed::Failed;

/// Which rows are read.
pub(super) enum Which<'a> {
    /// Those with one of these keys: a value for each key column.
    Keys(&'a [Vec<Value>]),
    /// The first ones in the order of their keys, after this one.
    Page(Option<&'a [Value]>, usize),
}

/// Rows of one table.
struct Asked<'a> {
    columns: &'a [String],
    keys: &'a [String],
    which: Which<'a>,
}

impl Databases {
    /// A table as the database has it.
    pub async fn table(&self, name: Name<'_>, table: &str) -> Result<Arc<Table>, Failed> {
        Ok(self.reading(name, table, None).await?.0)
    }

    /// The rows of `table` with these keys, as `columns` show them.
    pub async fn rows(
        &self,
        name: Name<'_>,
        table: &str,
        columns: &[String],
        keys: &[String],
        wanted: &[Vec<Value>],
    ) -> Result<Vec<Value>, Failed> {
        let asked = Asked { columns, keys, which: Which::Keys(wanted) };
        Ok(self.reading(name, table, Some(&asked)).await?.1)
    }

    /// The next `limit` rows after the key `after`, in the order of their keys.
    pub async fn page(
        &self,
        name: Name<'_>,
        table: &str,
        columns: &[String],
        keys: &[String],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Vec<Value>, Failed> {
        let asked = Asked { columns, keys, which: Which::Page(after, limit) };
        Ok(self.reading(name, table, Some(&asked)).await?.1)
    }

    /// Asks on a connection that is given back. One that broke while nobody used it is replaced.
    async fn reading(
        &self,
        name: Name<'_>,
        written: &str,
        asked: Option<&Asked<'_>>,
    ) -> Result<(Arc<Table>, Vec<Value>), Failed> {
        let opened = self.open(name).await?;
        loop {
            let session = self.pool().session(&opened.resolved.identity, &opened.server).await;
            let mut session = session.map_err(|fault| fault.failed(name.tag))?;
            match ask(&opened, &mut session, written, asked).await {
                Ok(found) => {
                    session.release();
                    return Ok(found);
                }
                Err(fault) if fault.gone && session.was_used() => session.forget_idle(),
                Err(fault) => {
                    if fault.code.starts_with("DB_UNKNOWN") {
                        opened.forget(written);
                    }
                    return Err(fault.failed(name.tag));
                }
            }
        }
    }
}

async fn ask(
    opened: &Opened,
    session: &mut Session,
    written: &str,
    asked: Option<&Asked<'_>>,
) -> Result<(Arc<Table>, Vec<Value>), Fault> {
    let table = opened.table(session, written).await?;
    let rows = match asked {
        Some(Asked { columns, keys, which }) => read(session, &table, columns, keys, which, false).await?,
        None => Vec::new(),
    };
    Ok((table, rows))
}

/// Reads rows; `lock`: nobody else may change them until the transaction's end.
pub(super) async fn read(
    session: &mut Session,
    table: &Table,
    columns: &[String],
    keys: &[String],
    which: &Which<'_>,
    lock: bool,
) -> Result<Vec<Value>, Fault> {
    let engine = session.engine();
    let named = |names: &[String], pointer: &str| {
        names.iter().map(|name| column_of(table, name, pointer).cloned()).collect::<Result<Vec<Column>, Fault>>()
    };
    let (columns, keys) = (named(columns, "/columns")?, named(keys, "/keys")?);
    let mut sql = Sql::new(engine);
    begin(&mut sql, table, &columns);
    sql.push(" WHERE ");
    let most = match which {
        Which::Keys(wanted) => {
            by_keys(&mut sql, &keys, wanted)?;
            wanted.len()
        }
        Which::Page(after, limit) => {
            let keyset = Keyset::up(&keys);
            match after {
                None => sql.push("1=1"),
                Some(after) => {
                    let values = keys.iter().zip(*after).map(|(key, value)| bound(engine, key, value));
                    keyset.write_after(&mut sql, values.collect::<Result<_, _>>()?);
                }
            }
            keyset.write_order(&mut sql);
            sql.push(&format!(" LIMIT {limit}"));
            *limit
        }
    };
    if lock && engine != Engine::Sqlite {
        sql.push(" FOR UPDATE");
    }
    if engine == Engine::Postgres {
        sql.push(") AS shown");
    }
    let found = session.rows(&sql.text, &sql.args, most.max(1)).await?;
    if found.cut {
        return Err(Fault::permanent("DB_RESULT_TOO_LARGE", "rows of several MiB at once"));
    }
    found.rows.into_iter().map(|cells| row(engine, table, &columns, cells)).collect()
}

/// `SELECT … FROM …`
fn begin(sql: &mut Sql, table: &Table, columns: &[Column]) {
    match sql.engine {
        Engine::Postgres => {
            sql.push("SELECT row_to_json(shown)::text FROM (SELECT ");
            sql.each(columns, ", ", |sql, column| {
                let name = sql.engine.quoted(&column.name);
                match column.kind {
                    Kind::Bytes => sql.push(&format!("translate(encode({name}, 'base64'), E'\\n', '') AS {name}")),
                    _ => sql.push(&name),
                }
            });
        }
        Engine::Mysql => {
            let shown = columns.iter().map(|column| (column.name.as_str(), Shown::of(&column.kind)));
            sql.push(&format!("SELECT {}", returning::mysql_row(shown)));
        }
        Engine::Sqlite => {
            sql.push("SELECT ");
            sql.each(columns, ", ", |sql, column| sql.name(column));
        }
    }
    sql.push(" FROM ");
    sql.table(table);
}

/// `(a = ? AND b = ?) OR …`
pub(super) fn by_keys(sql: &mut Sql, keys: &[Column], wanted: &[Vec<Value>]) -> Result<(), Fault> {
    if wanted.is_empty() {
        sql.push("1=0");
        return Ok(());
    }
    for (i, values) in wanted.iter().enumerate() {
        sql.push(if i > 0 { " OR (" } else { "(" });
        for (j, (key, value)) in keys.iter().zip(values).enumerate() {
            sql.push(if j > 0 { " AND " } else { "" });
            let arg = bound(sql.engine, key, value)?;
            sql.name(key);
            sql.push(" = ");
            sql.operand(key, arg);
        }
        sql.push(")");
    }
    Ok(())
}

fn bound(engine: Engine, column: &Column, value: &Value) -> Result<Arg, Fault> {
    value::bind(engine, column, value)
        .map_err(|why| Fault::permanent("DB_VALUE", format!("key column `{}`: {why}", column.name)))
}

fn row(engine: Engine, table: &Table, columns: &[Column], cells: Vec<Arg>) -> Result<Value, Fault> {
    if engine == Engine::Sqlite {
        let named = columns.iter().map(|column| (column.name.as_str(), Some(&column.kind)));
        return Ok(returning::sqlite_row(named, cells));
    }
    let text = cells.first().and_then(Arg::text).unwrap_or_default();
    let row: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| Fault::permanent("DB_REFUSED", format!("a row is no JSON: {error}")))?;
    let row = Value::Object(row);
    Ok(if engine == Engine::Mysql { returning::with_truths(table, row) } else { row })
}
