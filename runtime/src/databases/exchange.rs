//! One row exchanged for another, if it still is what it was when it was read: in one transaction, marked with who does it.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::catalog::{Column, Table};
use super::rows::{self, Which};
use super::statement::{self, Assignment, Operator, column_of};
use super::text::Sql;
use super::{Databases, Name, Opened, ledger};
use crate::connections::sql::{Arg, Engine, Fault, Session};
use crate::failed::Failed;
use crate::resources::CaptureFrom;

/// One row's exchange.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The table.
    pub table: &'a str,
    /// The columns that the row is read by.
    pub columns: &'a [String],
    /// What tells it apart.
    pub keys: &'a [String],
    /// Its values of those.
    pub key: &'a [Value],
    /// The row as it was read; `None`: there was none.
    pub seen: Option<&'a Value>,
    /// The row as it is to be; `None`: deleted.
    pub put: Option<&'a Map<String, Value>>,
    /// Who does it: capture hands it on as `metadata.origin`.
    pub origin: Option<&'a str>,
    /// A row of another table of the same database, entered with it.
    pub entry: Option<(&'a str, &'a Map<String, Value>)>,
}

/// What became of an exchange.
#[derive(Clone, PartialEq, Debug)]
pub enum Exchanged {
    /// It is done; the row as it reads now.
    Done(Option<Value>),
    /// The row is not what it was: nothing was done.
    Moved,
}

/// How often a row that is not there is inserted before it counts as refused.
const INSERTS: u32 = 3;

/// Called with the row as it will read, before the commit: its failure undoes everything.
pub type BeforeCommit<'a> = Box<dyn FnOnce(Option<Value>) -> BoxFuture<'a, Result<(), Failed>> + Send + 'a>;

impl Databases {
    /// Exchanges a row.
    pub async fn exchange(
        &self,
        name: Name<'_>,
        exchange: Exchange<'_>,
        before_commit: BeforeCommit<'_>,
    ) -> Result<Exchanged, Failed> {
        let opened = self.open(name).await?;
        let failed = |fault: Fault| fault.failed(name.tag);
        let engine = opened.engine().map_err(failed)?;
        let mut tried = 0;
        loop {
            tried += 1;
            let session = self.pool().begin(&opened.resolved.identity, &opened.server, begin(engine)).await;
            let mut session = session.map_err(failed)?;
            let fault = match write(&opened, &mut session, exchange).await {
                Ok(Some(now)) => {
                    if let Err(failure) = before_commit(now.clone()).await {
                        leave(session).await;
                        return Err(failure);
                    }
                    commit(session).await.map_err(failed)?;
                    return Ok(Exchanged::Done(now));
                }
                Ok(None) => {
                    leave(session).await;
                    return Ok(Exchanged::Moved);
                }
                Err(fault) => fault,
            };
            if !fault.retryable {
                leave(session).await;
            }
            if fault.code == "DB_CONSTRAINT" {
                if self.has_moved(name, exchange).await? {
                    // Somebody else inserted it in between.
                    return Ok(Exchanged::Moved);
                }
                if exchange.seen.is_none() && tried < INSERTS {
                    // Perhaps inserted, and deleted again before it was looked for.
                    continue;
                }
            }
            if fault.code.starts_with("DB_UNKNOWN") {
                opened.forget(exchange.table);
            }
            return Err(failed(fault));
        }
    }

    /// Whether the row reads otherwise than it did.
    async fn has_moved(&self, name: Name<'_>, exchange: Exchange<'_>) -> Result<bool, Failed> {
        let key = [exchange.key.to_vec()];
        let now = self.rows(name, exchange.table, exchange.columns, exchange.keys, &key).await?;
        Ok(now.first() != exchange.seen)
    }

    /// Enters a row, marked with who does it: once for each delivery, where the resource has a ledger.
    pub async fn enter(
        &self,
        name: Name<'_>,
        table: &str,
        row: &Map<String, Value>,
        origin: &str,
        delivery: &str,
    ) -> Result<(), Failed> {
        let opened = self.open(name).await?;
        self.enter_in(&opened, table, row, origin, delivery).await.map_err(|fault| fault.failed(name.tag))
    }

    async fn enter_in(
        &self,
        opened: &Opened,
        table: &str,
        row: &Map<String, Value>,
        origin: &str,
        delivery: &str,
    ) -> Result<(), Fault> {
        let begin = begin(opened.engine()?);
        let mut session = self.pool().begin(&opened.resolved.identity, &opened.server, begin).await?;
        if opened.resolved.settings.ledger && !opened.known.ledger.is_there() {
            session.control("ROLLBACK").await?;
            ledger::ensure(&mut session).await?;
            opened.known.ledger.found(true);
            session.control(begin).await?;
        }
        if opened.resolved.settings.ledger {
            match ledger::enter(&mut session, delivery).await {
                Ok(None) => ledger::note(&mut session, delivery, &Value::Null).await?,
                Ok(Some(_)) => {
                    leave(session).await;
                    return Ok(());
                }
                Err(fault) => {
                    opened.known.ledger.found(false);
                    return Err(Fault::unavailable(format!("the delivery ledger: {fault}")));
                }
            }
        }
        let entered = async {
            mark(opened, &mut session, origin).await?;
            insert(opened, &mut session, table, row).await
        };
        match entered.await {
            Ok(()) => commit(session).await,
            Err(fault) => {
                if !fault.retryable {
                    leave(session).await;
                }
                Err(fault)
            }
        }
    }
}

fn begin(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        Engine::Mysql => "START TRANSACTION READ WRITE",
        Engine::Sqlite => "BEGIN IMMEDIATE",
    }
}

/// The row as it reads after the write; `None`: it had moved.
async fn write(opened: &Opened, session: &mut Session, exchange: Exchange<'_>) -> Result<Option<Option<Value>>, Fault> {
    let Exchange { columns, keys, key, seen, put, origin, entry, .. } = exchange;
    let table = opened.table(session, exchange.table).await?;
    let wanted = [key.to_vec()];
    let now = rows::read(session, &table, columns, keys, &Which::Keys(&wanted), true).await?;
    if now.first() != seen {
        return Ok(None);
    }
    if let Some(origin) = origin {
        mark(opened, session, origin).await?;
    }
    let sql = match (seen, put) {
        (None, None) => None,
        (None, Some(row)) => Some(statement::insert(session.engine(), &table, &[assignments(row, &[])])?),
        (Some(_), Some(row)) => update(session.engine(), &table, row, keys, key)?,
        (Some(_), None) => Some(delete(session.engine(), &table, keys, key)?),
    };
    if let Some(sql) = sql {
        session.execute(&sql.text, &sql.args).await?;
    }
    if let Some((table, row)) = entry {
        insert(opened, session, table, row).await?;
    }
    let after = rows::read(session, &table, columns, keys, &Which::Keys(&wanted), false).await?;
    unmark(session).await?;
    Ok(Some(after.into_iter().next()))
}

async fn insert(opened: &Opened, session: &mut Session, table: &str, row: &Map<String, Value>) -> Result<(), Fault> {
    let table = opened.table(session, table).await?;
    let sql = statement::insert(session.engine(), &table, &[assignments(row, &[])])?;
    session.execute(&sql.text, &sql.args).await.map(drop)
}

fn assignments(row: &Map<String, Value>, without: &[String]) -> Vec<Assignment> {
    let set = row.iter().filter(|(column, _)| !without.contains(column)).map(|(column, value)| Assignment {
        pointer: format!("/columns/{column}"),
        column: column.clone(),
        operator: Operator::Set(value.clone()),
    });
    set.collect()
}

/// `None`: the row has no columns but its key's.
fn update(
    engine: Engine,
    table: &Table,
    row: &Map<String, Value>,
    keys: &[String],
    key: &[Value],
) -> Result<Option<Sql>, Fault> {
    let row = assignments(row, keys);
    if row.is_empty() {
        return Ok(None);
    }
    let mut sql = statement::update_of(engine, table, &row)?;
    by_key(&mut sql, table, keys, key)?;
    Ok(Some(sql))
}

fn delete(engine: Engine, table: &Table, keys: &[String], key: &[Value]) -> Result<Sql, Fault> {
    let mut sql = Sql::new(engine);
    sql.push("DELETE FROM ");
    sql.table(table);
    by_key(&mut sql, table, keys, key)?;
    Ok(sql)
}

fn by_key(sql: &mut Sql, table: &Table, keys: &[String], key: &[Value]) -> Result<(), Fault> {
    let keys = keys.iter().map(|key| column_of(table, key, "/keys").cloned());
    let keys: Vec<Column> = keys.collect::<Result<_, _>>()?;
    sql.push(" WHERE ");
    rows::by_keys(sql, &keys, &[key.to_vec()])
}

/// Says in the open transaction who writes, where capture looks for it.
async fn mark(opened: &Opened, session: &mut Session, origin: &str) -> Result<(), Fault> {
    let args = [Arg::Text(origin.to_owned())];
    let capture = opened.resolved.settings.capture.as_ref();
    match session.engine() {
        // Whoever reads the log sees no settings.
        Engine::Postgres if capture.is_some_and(|capture| capture.from == CaptureFrom::Log) => {
            let said = json!({ "origin": origin }).to_string();
            let sql = "SELECT set_config('triggerd.origin', $1, true), \
                       pg_logical_emit_message(true, 'triggerd', $2::text)::text";
            session.rows(sql, &[Arg::Text(origin.to_owned()), Arg::Text(said)], 1).await.map(drop)
        }
        Engine::Postgres => session.rows("SELECT set_config('triggerd.origin', $1, true)", &args, 1).await.map(drop),
        Engine::Mysql => session.execute("SET @triggerd_origin = ?", &args).await.map(drop),
        Engine::Sqlite => {
            // Without the table nothing is captured there.
            let there = "SELECT 1 FROM sqlite_schema WHERE name = 'triggerd_session'";
            if session.rows(there, &[], 1).await?.count == 0 {
                return Ok(());
            }
            session.execute("DELETE FROM triggerd_session", &[]).await?;
            session.execute("INSERT INTO triggerd_session (origin) VALUES (?)", &args).await.map(drop)
        }
    }
}

/// Takes the mark away where it would outlive the transaction, or would be committed with it.
async fn unmark(session: &mut Session) -> Result<(), Fault> {
    match session.engine() {
        Engine::Postgres => Ok(()),
        Engine::Mysql => session.control("SET @triggerd_origin = NULL").await,
        Engine::Sqlite => {
            let there = "SELECT 1 FROM sqlite_schema WHERE name = 'triggerd_session'";
            if session.rows(there, &[], 1).await?.count == 0 {
                return Ok(());
            }
            session.control("DELETE FROM triggerd_session").await
        }
    }
}

async fn commit(mut session: Session) -> Result<(), Fault> {
    unmark(&mut session).await?;
    session.control("COMMIT").await?;
    session.release();
    Ok(())
}

/// Undoes everything; a connection that may still carry the mark is closed.
async fn leave(mut session: Session) {
    let clean = session.engine() != Engine::Mysql || session.control("SET @triggerd_origin = NULL").await.is_ok();
    if clean {
        session.roll_back().await;
    }
}
