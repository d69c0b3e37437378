//! A write: one statement in one transaction, with its entry in the ledger.

use serde_json::Value;
use triggerd_core::mistake::{Mistake, join};

use super::catalog::{Column, Table};
use super::filter::Filter;
use super::once::{self, Once};
use super::statement::{self, Assignment, MAX_ROWS, Operator, column_of};
use super::text::Sql;
use super::{Databases, Name, Opened, ledger, run};
use crate::connections::sql::{Engine, Fault, Session};
use crate::failed::Failed;

/// What is done to the rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// New rows.
    Insert,
    /// Rows that are there.
    Update,
    /// New rows, or those with the same keys.
    Upsert,
    /// Rows go.
    Delete,
}

/// What an upsert does where a row is there.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Conflict {
    /// The columns that tell rows apart; empty for the primary key.
    pub keys: Vec<String>,
    /// A row that is newer by this column stays as it is.
    pub newest_by: Option<String>,
}

/// A write, before the database was asked about it.
#[derive(Clone, PartialEq, Debug)]
pub struct Write {
    pub(super) verb: Verb,
    pub(super) table: String,
    pub(super) rows: Vec<Vec<Assignment>>,
    filter: Option<Filter>,
    conflict: Conflict,
}

impl Write {
    /// Reads the settings of an action; all mistakes at once.
    pub fn of(
        verb: Verb,
        table: &str,
        values: Option<&Value>,
        filter: Option<&Value>,
        conflict: Conflict,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let rows = values.map(|values| rows(verb, values, &mut mistakes)).unwrap_or_default();
        let filter =
            filter.and_then(|written| Filter::parse(written, "/where").map_err(|found| mistakes.extend(found)).ok());
        if mistakes.is_empty() {
            Ok(Self { verb, table: table.to_owned(), rows, filter, conflict })
        } else {
            Err(mistakes)
        }
    }
}

fn rows(verb: Verb, values: &Value, mistakes: &mut Vec<Mistake>) -> Vec<Vec<Assignment>> {
    let many = matches!(verb, Verb::Insert | Verb::Upsert);
    let read = match values {
        Value::Object(row) => vec![statement::assignments(row, "/values", mistakes)],
        Value::Array(rows) if many && (1..=MAX_ROWS).contains(&rows.len()) => {
            let rows = rows.iter().enumerate().filter_map(|(i, row)| {
                let pointer = join("/values", &i.to_string());
                match row {
                    Value::Object(row) => Some(statement::assignments(row, &pointer, mistakes)),
                    other => {
                        mistakes.push(Mistake::kind(pointer, "an object of columns and values", other));
                        None
                    }
                }
            });
            rows.collect()
        }
        Value::Array(rows) if many => {
            mistakes
                .push(Mistake::new("/values", format!("{} rows; 1 to {MAX_ROWS} can be written at once", rows.len())));
            return Vec::new();
        }
        other => {
            let wanted = if many {
                "an object of columns and values, or an array of them"
            } else {
                "an object of columns and values"
            };
            mistakes.push(Mistake::kind("/values", wanted, other));
            return Vec::new();
        }
    };
    if verb == Verb::Update && read.iter().all(Vec::is_empty) && mistakes.is_empty() {
        mistakes.push(Mistake::new("/values", "names no column to change"));
    }
    read
}

/// A write as the database will be asked for it.
pub(super) struct Planned<'t> {
    pub(super) sql: Sql,
    pub(super) table: &'t Table,
    pub(super) keys: Vec<&'t Column>,
    pub(super) newest_by: Option<&'t Column>,
}

impl Databases {
    /// Makes the write, once for each delivery where the resource has a ledger. `shown` is told the statement.
    pub async fn write(
        &self,
        name: Name<'_>,
        write: &Write,
        delivery: &str,
        mut shown: impl FnMut(&str, usize) + Send,
    ) -> Result<Value, Failed> {
        let opened = self.open(name).await?;
        let written = self.write_in(&opened, write, delivery, &mut shown).await;
        written.map_err(|fault| {
            if fault.code.starts_with("DB_UNKNOWN") || fault.retryable {
                opened.forget(&write.table);
            }
            fault.failed(name.tag)
        })
    }

    async fn write_in(
        &self,
        opened: &Opened,
        write: &Write,
        delivery: &str,
        shown: &mut (impl FnMut(&str, usize) + Send),
    ) -> Result<Value, Fault> {
        let (engine, ledger) = (opened.engine()?, opened.resolved.settings.ledger);
        if engine == Engine::Postgres
            && ledger
            && opened.known.ledger.is_there()
            && let Some(result) = self.write_once(opened, write, delivery, shown).await?
        {
            return Ok(result);
        }
        let begin = begin(engine);
        let mut session = self.pool().begin(&opened.resolved.identity, &opened.server, begin).await?;
        if ledger && !opened.known.ledger.is_there() {
            // Making a table is no part of a transaction everywhere.
            session.control("ROLLBACK").await?;
            if let Err(fault) = ledger::ensure(&mut session).await {
                session.roll_back().await;
                return Err(fault);
            }
            opened.known.ledger.found(true);
            session.control(begin).await?;
        }
        let done = in_transaction(opened, &mut session, write, delivery, shown).await;
        match done {
            Ok(Done::Now(result)) => {
                session.control("COMMIT").await?;
                #[cfg(debug_assertions)]
                fault::after_commit().await;
                if !ledger || ledger::clean(&mut session, &opened.known.ledger).await {
                    session.release();
                }
                Ok(result)
            }
            Ok(Done::Before(result)) => {
                session.roll_back().await;
                Ok(result)
            }
            Err(fault) if fault.retryable => Err(fault),
            Err(fault) => {
                session.roll_back().await;
                Err(fault)
            }
        }
    }

    /// The short way; `None` where the longer one is to be taken. A connection that broke while nobody used it is
    /// replaced: whether the statement was still heard does not matter, since it takes effect once.
    async fn write_once(
        &self,
        opened: &Opened,
        write: &Write,
        delivery: &str,
        shown: &mut (impl FnMut(&str, usize) + Send),
    ) -> Result<Option<Value>, Fault> {
        loop {
            let mut session = self.pool().session(&opened.resolved.identity, &opened.server).await?;
            match once::write(opened, &mut session, write, delivery, shown).await {
                Ok(Once::Done(result)) => {
                    #[cfg(debug_assertions)]
                    fault::after_commit().await;
                    if ledger::clean(&mut session, &opened.known.ledger).await {
                        session.release();
                    }
                    return Ok(Some(result));
                }
                Ok(Once::Otherwise) => {
                    session.release();
                    return Ok(None);
                }
                Err(fault) if fault.gone && session.was_used() => session.forget_idle(),
                Err(fault) => {
                    if !fault.retryable {
                        session.release();
                    }
                    return Err(fault);
                }
            }
        }
    }
}

enum Done {
    /// In this transaction.
    Now(Value),
    /// By an earlier try.
    Before(Value),
}

pub(super) fn begin(engine: Engine) -> &'static str {
    match engine {
        // Not READ WRITE: on a standby the write itself says better that it is one.
        Engine::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        Engine::Mysql => "START TRANSACTION READ WRITE",
        Engine::Sqlite => "BEGIN IMMEDIATE",
    }
}

async fn in_transaction(
    opened: &Opened,
    session: &mut Session,
    write: &Write,
    delivery: &str,
    shown: &mut (impl FnMut(&str, usize) + Send),
) -> Result<Done, Fault> {
    if opened.resolved.settings.ledger {
        match ledger::enter(session, delivery).await {
            Ok(None) => {}
            Ok(Some(first)) => return Ok(Done::Before(first)),
            Err(fault) => {
                // It may be gone: the next try looks.
                opened.known.ledger.found(false);
                let gone = matches!(fault.code, "DB_UNKNOWN_TABLE" | "DB_REFUSED");
                return Err(if gone { Fault::unavailable(format!("the delivery ledger: {fault}")) } else { fault });
            }
        }
    }
    let mut table = opened.table(session, &write.table).await?;
    let engine = session.engine();
    if matches!(plan(engine, &table, write), Err(fault) if fault.code == "DB_UNKNOWN_COLUMN") {
        // The table may have got the column since it was looked up.
        opened.forget(&write.table);
        table = opened.table(session, &write.table).await?;
    }
    let planned = plan(engine, &table, write)?;
    shown(&planned.sql.text, planned.sql.args.len());
    let ran = match engine {
        Engine::Postgres => run::on_postgres(session, &planned).await,
        Engine::Mysql => run::on_mysql(session, &planned, write).await,
        Engine::Sqlite => run::on_sqlite(session, &planned).await,
    };
    let result = match ran {
        Err(fault) if fault.code == "DB_VALUE" && engine == Engine::Postgres => {
            return Err(run::name_column(session, &planned, fault).await);
        }
        ran => ran?,
    };
    if opened.resolved.settings.ledger {
        ledger::note(session, delivery, &result).await?;
    }
    Ok(Done::Now(result))
}

pub(super) fn plan<'t>(engine: Engine, table: &'t Table, write: &Write) -> Result<Planned<'t>, Fault> {
    let filter = || {
        write.filter.as_ref().ok_or_else(|| {
            Fault::permanent("CONFIG_INVALID", "/where: an update or delete without `where` is never meant")
        })
    };
    let (mut keys, mut newest_by) = (Vec::new(), None);
    let sql = match write.verb {
        Verb::Insert => {
            keys = table.primary_key();
            statement::insert(engine, table, &write.rows)?
        }
        Verb::Update => statement::update(engine, table, &write.rows[0], filter()?)?,
        Verb::Delete => statement::delete(engine, table, filter()?)?,
        Verb::Upsert => {
            (keys, newest_by) = conflict(table, write)?;
            statement::upsert(engine, table, &write.rows, &keys, newest_by)?
        }
    };
    Ok(Planned { sql, table, keys, newest_by })
}

/// The columns that an upsert's rows are told apart by, and the one that says which is newer: in every row, once each.
fn conflict<'t>(table: &'t Table, write: &Write) -> Result<(Vec<&'t Column>, Option<&'t Column>), Fault> {
    let invalid = |message: String| Fault::permanent("CONFIG_INVALID", message);
    let named = write.conflict.keys.iter().enumerate();
    let named: Vec<&Column> =
        named.map(|(i, key)| column_of(table, key, &format!("/conflict/keys/{i}"))).collect::<Result<_, _>>()?;
    let keys = if named.is_empty() { table.primary_key() } else { named };
    if keys.is_empty() {
        return Err(invalid(format!(
            "/conflict/keys: table `{}` has no primary key; name the keys",
            table.qualified()
        )));
    }
    let newest = write.conflict.newest_by.as_deref();
    let newest = newest.map(|name| column_of(table, name, "/conflict/newestBy")).transpose()?;
    let mut seen = std::collections::HashSet::new();
    for (i, row) in write.rows.iter().enumerate() {
        let set = |column: &Column| row.iter().find(|assignment| assignment.column == column.name);
        let mut key = Vec::new();
        for column in &keys {
            match set(column).map(|assignment| &assignment.operator) {
                Some(Operator::Set(value)) if !value.is_null() => key.push(value.to_string()),
                _ => return Err(invalid(format!("/values/{i}: the key `{}` must have a value", column.name))),
            }
        }
        if let Some(column) = newest.filter(|column| set(column).is_none()) {
            return Err(invalid(format!("/values/{i}: `{}`, which `newestBy` names, must have a value", column.name)));
        }
        if !seen.insert(key) {
            return Err(invalid(format!("/values/{i}: another row has the same keys")));
        }
    }
    Ok((keys, newest))
}

/// What tests break on purpose.
#[cfg(debug_assertions)]
pub(super) mod fault {
    /// Between the database's commit and the run's own record, for a test that kills the process there.
    pub(in super::super) async fn after_commit() {
        if std::env::var_os("TRIGGERD_TEST_FAULT").is_some_and(|fault| fault == "hang-after-database-commit") {
            std::future::pending::<()>().await;
        }
    }
}
