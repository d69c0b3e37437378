//! A page of rows by primary key, in one snapshot with what the live capture has to tell of before.

use serde_json::Value;
use triggerd_core::capture::Columns;

use super::{Beside, Progress};
use crate::connections::sql::{Arg, Engine, Fault, Session};
use crate::databases::{self, Table};
use crate::sources::outbox::{row_json, with_bytes};
use crate::sources::unread::{self, Unread};

/// A page.
pub(super) struct Page<S> {
    /// The rows.
    pub(super) rows: Vec<Row>,
    /// The changes that made the rows what they are.
    pub(super) seen: S,
    /// No row follows.
    pub(super) is_last: bool,
}

/// A row of a page.
pub(super) struct Row {
    pub(super) record: Value,
    /// Its key as texts.
    pub(super) key: Vec<String>,
    pub(super) unread: Unread,
}

/// Reads the rows after `table.after`; `None` where too much is waiting to be told of. The fault within is the page's own, such as
/// a lock or the time being up: the session is as good as before.
pub(super) async fn read<B: Beside>(
    session: &mut Session,
    beside: &mut B,
    progress: &Progress,
    columns: &Columns,
    limit: usize,
) -> Result<Result<Option<Page<B::Seen>>, Fault>, Fault> {
    let table = match databases::table_in(session, progress.schema.as_deref(), &progress.name).await {
        Ok(table) => table,
        Err(fault) if fault.gone => return Err(fault),
        Err(fault) => return Ok(Err(fault)),
    };
    let begin = match session.engine() {
        Engine::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        Engine::Mysql => {
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
        }
        Engine::Sqlite => "BEGIN",
    };
    session.control(begin).await?;
    let read = in_snapshot(session, beside, progress, &table, columns, limit).await;
    match read {
        Err(fault) if fault.gone => Err(fault),
        read => session.control("ROLLBACK").await.map(|()| read),
    }
}

async fn in_snapshot<B: Beside>(
    session: &mut Session,
    beside: &mut B,
    progress: &Progress,
    table: &Table,
    columns: &Columns,
    limit: usize,
) -> Result<Option<Page<B::Seen>>, Fault> {
    let Some(seen) = beside.look(session).await? else { return Ok(None) };
    let row = row_json(session.engine(), table, columns, "t");
    let Progress { key, after, .. } = progress;
    let (sql, args) = databases::key_page(session.engine(), table, &row, key, after.as_deref(), limit);
    // A row of any size, as the capture takes it too.
    let found = session.batch(&sql, &args, limit).await?;
    let is_last = !found.cut && found.rows.len() < limit;
    let mut rows = Vec::with_capacity(found.rows.len());
    for cells in &found.rows {
        let texts = |arg: &Arg| arg.text().map(str::to_owned);
        let row = cells.first().and_then(texts).unwrap_or_default();
        let mut unread = Unread::default();
        let record = unread::read(&row, &mut unread)
            .map_err(|error| Fault::permanent("DB_VALUE", format!("a row of `{}`: {error}", progress.name)))?;
        let key: Option<Vec<String>> = cells[1..].iter().map(texts).collect();
        let key = key.ok_or_else(|| null_key(progress))?;
        rows.push(Row { record: with_bytes(record), key, unread });
    }
    Ok(Some(Page { rows, seen, is_last }))
}

/// SQLite takes NULLs in every primary key but an `INTEGER PRIMARY KEY`: nothing tells such rows apart.
fn null_key(progress: &Progress) -> Fault {
    let (table, key) = (&progress.name, progress.key.join("`, `"));
    let message = format!(
        "a row of `{table}` has NULL in its primary key (`{key}`): give the row a key, declare the columns NOT NULL, and begin again"
    );
    Fault::permanent("DB_VALUE", message)
}
