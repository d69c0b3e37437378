//! Pages of rows, in an order that a cursor can take up again: by the columns that were asked for, then by the primary key.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::catalog::{Column, Table};
use super::super::filter::Filter;
use super::super::keyset::{By, Keyset};
use super::super::statement::column_of;
use super::super::text::Sql;
use super::{Records, ended, rows};
use crate::connections::sql::{Arg, Engine, Fault, Session};

/// Rows are counted as far as this.
const MAX_COUNTED: u64 = 10_000;
/// And as long as this.
const COUNTING: Duration = Duration::from_millis(400);

/// Which rows, and how they are shown.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ask {
    /// Those that it means; all without.
    pub filter: Option<Filter>,
    /// The columns to be shown; empty for all that may be read.
    pub select: Vec<String>,
    /// The columns to go by, and whether downwards.
    pub order: Vec<(String, bool)>,
    /// The most rows.
    pub limit: usize,
    /// What the row before the page has in the columns that the order goes by.
    pub after: Option<Vec<Value>>,
}

/// A page.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// Its rows.
    pub rows: Vec<Value>,
    /// How many there are on all pages; at least so many where they were not all counted.
    pub total: u64,
    /// Whether `total` is exact.
    pub is_counted: bool,
    /// Whether more follow.
    pub has_more: bool,
    /// What the next page comes after; `None` where the rows cannot be told apart, or none follow.
    pub last: Option<Vec<Value>>,
}

impl Records {
    /// One page.
    pub async fn page(&self, ask: &Ask) -> Result<Page, Fault> {
        let first = self.page_once(ask).await;
        match first {
            // The table may have got the column since it was looked up.
            Err(fault) if fault.code == "DB_UNKNOWN_COLUMN" => {
                self.opened.forget(&self.written);
                self.page_once(ask).await
            }
            done => self.checked(done),
        }
    }

    async fn page_once(&self, ask: &Ask) -> Result<Page, Fault> {
        let table = self.table().await?;
        let mut session = self.look().await?;
        let mut page = match read(&mut session, &table, ask).await {
            Ok(page) => page,
            failed => return ended(session, failed).await,
        };
        // A page is worth showing without its total. The connection still counts: it is closed.
        let Ok(Ok(counted)) = tokio::time::timeout(COUNTING * 2, count(&mut session, &table, ask)).await else {
            return Ok(page);
        };
        (page.total, page.is_counted) = (counted.min(MAX_COUNTED), counted <= MAX_COUNTED);
        ended(session, Ok(page)).await
    }
}

async fn read(session: &mut Session, table: &Table, ask: &Ask) -> Result<Page, Fault> {
    let engine = session.engine();
    let order = order(table, ask)?;
    let shown: Vec<&Column> = match ask.select.as_slice() {
        [] => table.columns.iter().filter(|column| column.readable).collect(),
        names => names.iter().map(|name| column_of(table, name, "/select")).collect::<Result<_, _>>()?,
    };
    let mut columns = shown.clone();
    for by in &order.by {
        if !columns.iter().any(|column| column.name == by.column.name) {
            columns.push(by.column);
        }
    }
    let sql = page(engine, table, ask, &columns, &order)?;
    let answer = session.rows(&sql.text, &sql.args, ask.limit + 1).await?;
    let kept = answer.rows.len().min(ask.limit);
    if answer.cut && kept == 0 {
        return Err(Fault::permanent("DB_RESULT_TOO_LARGE", "the row is too large; name columns in `select`"));
    }
    let has_more = answer.count as usize > kept;
    let mut found: Vec<Map<String, Value>> = Vec::with_capacity(kept);
    for cells in answer.rows.into_iter().take(kept) {
        found.push(rows::row(engine, table, &columns, cells)?);
    }
    let can_go_on = has_more && !table.primary_key().is_empty();
    let last = found
        .last()
        .filter(|_| can_go_on)
        .map(|row| order.by.iter().map(|by| row.get(&by.column.name).cloned().unwrap_or(Value::Null)).collect());
    let is_shown = |name: &String| shown.iter().any(|column| column.name == *name);
    for row in &mut found {
        row.retain(|name, _| is_shown(name));
    }
    Ok(Page {
        total: found.len() as u64,
        rows: found.into_iter().map(Value::Object).collect(),
        is_counted: false,
        has_more,
        last,
    })
}

/// The columns that were asked for, then those of the primary key.
fn order<'t>(table: &'t Table, ask: &Ask) -> Result<Keyset<'t>, Fault> {
    let mut order: Vec<By<'t>> = Vec::new();
    for (name, down) in &ask.order {
        let column = column_of(table, name, "/order")?;
        if !order.iter().any(|by| by.column.name == column.name) {
            order.push(By { column, down: *down });
        }
    }
    for column in table.primary_key() {
        if !order.iter().any(|by| by.column.name == column.name) {
            order.push(By { column, down: false });
        }
    }
    Ok(Keyset { by: order, alias: None })
}

fn page(engine: Engine, table: &Table, ask: &Ask, columns: &[&Column], order: &Keyset<'_>) -> Result<Sql, Fault> {
    let mut sql = Sql::new(engine);
    sql.push("SELECT ");
    sql.push(&rows::shown(engine, columns));
    sql.push(" FROM ");
    sql.table(table);
    meant(&mut sql, table, ask)?;
    if let Some(after) = &ask.after {
        if after.len() != order.by.len() || table.primary_key().is_empty() {
            return Err(of_another_list());
        }
        sql.push(if ask.filter.is_some() { " AND " } else { " WHERE " });
        let values = order.by.iter().zip(after).map(|(by, value)| rows::as_read(engine, by.column, value));
        let values: Result<Vec<Arg>, _> = values.collect();
        order.write_after(&mut sql, values.map_err(|_| of_another_list())?);
    }
    order.write_order(&mut sql);
    sql.push(&format!(" LIMIT {}", ask.limit + 1));
    Ok(sql)
}

fn of_another_list() -> Fault {
    Fault::permanent("CURSOR_INVALID", "/cursor: it is not one that this list gave out")
}

fn meant(sql: &mut Sql, table: &Table, ask: &Ask) -> Result<(), Fault> {
    if let Some(filter) = &ask.filter {
        sql.push(" WHERE ");
        filter.write(sql, table)?;
    }
    Ok(())
}

/// How many rows are meant, one more than [`MAX_COUNTED`] at most.
async fn count(session: &mut Session, table: &Table, ask: &Ask) -> Result<u64, Fault> {
    let engine = session.engine();
    let mut sql = Sql::new(engine);
    let ms = COUNTING.as_millis();
    match engine {
        Engine::Postgres => {
            session.control("SET LOCAL statement_timeout = 400").await?;
            sql.push("SELECT count(*)::text");
        }
        Engine::Mysql if session.is_mariadb() => {
            sql.push(&format!("SET STATEMENT max_statement_time = 0.{ms} FOR SELECT CAST(count(*) AS CHAR)"));
        }
        Engine::Mysql => sql.push(&format!("SELECT /*+ MAX_EXECUTION_TIME({ms}) */ CAST(count(*) AS CHAR)")),
        Engine::Sqlite => sql.push("SELECT CAST(count(*) AS text)"),
    }
    sql.push(" FROM (SELECT 1 AS one FROM ");
    sql.table(table);
    meant(&mut sql, table, ask)?;
    sql.push(&format!(" LIMIT {}) counted", MAX_COUNTED + 1));
    let answer = session.rows(&sql.text, &sql.args, 1).await?;
    answer
        .text()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Fault::permanent("DB_REFUSED", "the server counted no rows"))
}
