//! A write: one statement in one transaction, with its entry in the ledger.

use serde_json::{Value, json};
use triggerd_core::mistake::{Mistake, join};

use super::catalog::{Column, Table};
use super::filter::Filter;
use super::statement::{self, Assignment, MAX_ROWS, Operator, column_of};
use super::text::Sql;
use super::{Databases, Name, Opened, ledger, returning, value};
use crate::connections::sql::{Arg, Engine, Fault, Session};
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
    verb: Verb,
    table: String,
    rows: Vec<Vec<Assignment>>,
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
struct Planned<'t> {
    sql: Sql,
    table: &'t Table,
    keys: Vec<&'t Column>,
    newest_by: Option<&'t Column>,
}

impl Databases {
    /// Makes the write, once for each delivery where the resource has a ledger. `shown` is told the statement.
    pub async fn write(
        &self,
        name: Name<'_>,
        write: &Write,
        delivery: &str,
        shown: impl FnOnce(&str, usize) + Send,
    ) -> Result<Value, Failed> {
        let opened = self.open(name).await?;
        let written = self.write_in(&opened, write, delivery, shown).await;
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
        shown: impl FnOnce(&str, usize) + Send,
    ) -> Result<Value, Fault> {
        let begin = begin(opened.engine()?);
        let mut session = self.pool().begin(&opened.identity, &opened.server, begin).await?;
        let ledger = opened.settings.ledger;
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
}

enum Done {
    /// In this transaction.
    Now(Value),
    /// By an earlier try.
    Before(Value),
}

fn begin(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        Engine::Mysql => "START TRANSACTION READ WRITE",
        Engine::Sqlite => "BEGIN IMMEDIATE",
    }
}

async fn in_transaction(
    opened: &Opened,
    session: &mut Session,
    write: &Write,
    delivery: &str,
    shown: impl FnOnce(&str, usize) + Send,
) -> Result<Done, Fault> {
    if opened.settings.ledger {
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
        Engine::Postgres => run_postgres(session, &planned).await,
        Engine::Mysql => run_mysql(session, &planned, write).await,
        Engine::Sqlite => run_sqlite(session, &planned).await,
    };
    let result = match ran {
        Err(fault) if fault.code == "DB_VALUE" && engine == Engine::Postgres => {
            return Err(name_column(session, &planned, fault).await);
        }
        ran => ran?,
    };
    if opened.settings.ledger {
        ledger::note(session, delivery, &result).await?;
    }
    Ok(Done::Now(result))
}

fn plan<'t>(engine: Engine, table: &'t Table, write: &Write) -> Result<Planned<'t>, Fault> {
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

async fn run_postgres(session: &mut Session, planned: &Planned<'_>) -> Result<Value, Fault> {
    let columns = returning::readable(planned.table);
    if columns.is_empty() {
        let (text, args) = (&planned.sql.text, &planned.sql.args);
        let count = session.execute(text, args).await?;
        return Ok(json!({ "rowsAffected": count }));
    }
    let text = returning::counted(&planned.sql, &columns);
    let args = &planned.sql.args;
    let answer = session.rows(&text, args, 1).await?;
    let cell = |i: usize| answer.rows.first().and_then(|row| row.get(i)).and_then(Arg::text).unwrap_or_default();
    let count = cell(0).parse().map_err(|_| Fault::permanent("DB_REFUSED", "the server counted no rows"))?;
    let rows = cell(1);
    let rows =
        if rows.len() > returning::MAX_BYTES { Value::Null } else { serde_json::from_str(rows).unwrap_or(Value::Null) };
    Ok(result(count, rows))
}

async fn run_sqlite(session: &mut Session, planned: &Planned<'_>) -> Result<Value, Fault> {
    let columns = &planned.table.columns;
    let names: Vec<String> = columns.iter().map(|column| Engine::Sqlite.quoted(&column.name)).collect();
    let text = format!("{} RETURNING {}", planned.sql.text, names.join(", "));
    let args = &planned.sql.args;
    let answer = session.rows(&text, args, returning::MAX_ROWS).await?;
    let named = || columns.iter().map(|column| (column.name.as_str(), Some(&column.kind)));
    let rows: Vec<Value> = answer.rows.into_iter().map(|cells| returning::sqlite_row(named(), cells)).collect();
    let rows = Value::Array(rows);
    let fits = rows.to_string().len() <= returning::MAX_BYTES;
    Ok(result(answer.count, if fits { rows } else { Value::Null }))
}

/// MySQL answers a write with numbers alone; rows whose keys are known are read in the same transaction.
async fn run_mysql(session: &mut Session, planned: &Planned<'_>, write: &Write) -> Result<Value, Fault> {
    let (text, args) = (&planned.sql.text, &planned.sql.args);
    let (count, number) = session.insert(text, args).await?;
    let Some(filter) = of_keys(planned, write, number)? else { return Ok(json!({ "rowsAffected": count })) };
    let shown = planned.table.columns.iter();
    let row = returning::mysql_row(shown.map(|column| (column.name.as_str(), returning::Shown::of(&column.kind))));
    let table = Engine::Mysql.quoted_table(planned.table);
    let (select, args) = (format!("SELECT {row} FROM {table} WHERE {}", filter.text), &filter.args);
    let found = session.rows(&select, args, returning::MAX_ROWS).await?;
    let mut affected = count;
    if write.verb == Verb::Upsert {
        if found.count < write.rows.len() as u64 {
            let message = "another row has the same value in another unique key than `conflict.keys`";
            return Err(Fault::permanent("DB_CONSTRAINT", message));
        }
        affected = newest(session, planned, write).await?.unwrap_or(found.count);
    }
    let parsed = found.rows.iter().map(|row| {
        let text = row.first().and_then(Arg::text).unwrap_or_default();
        serde_json::from_str(text).map(|row| returning::with_truths(planned.table, row)).unwrap_or(Value::Null)
    });
    let rows = Value::Array(parsed.collect());
    let fits = rows.to_string().len() <= returning::MAX_BYTES;
    Ok(result(affected, if fits { rows } else { Value::Null }))
}

/// The rows of an insert or upsert by their keys; `None` where not all of them are known.
fn of_keys(planned: &Planned<'_>, write: &Write, number: u64) -> Result<Option<Sql>, Fault> {
    let mut sql = Sql::new(Engine::Mysql);
    if planned.keys.is_empty() {
        return Ok(None);
    }
    for (i, row) in write.rows.iter().enumerate() {
        sql.push(if i > 0 { " OR (" } else { "(" });
        for (j, key) in planned.keys.iter().enumerate() {
            let given = row.iter().find(|assignment| assignment.column == key.name);
            let arg = match given.map(|assignment| &assignment.operator) {
                Some(Operator::Set(value)) if !value.is_null() => bind_key(key, value)?,
                None | Some(Operator::Set(_)) if key.counted && write.rows.len() == 1 && number > 0 => {
                    Arg::Text(number.to_string())
                }
                _ => return Ok(None),
            };
            sql.push(if j > 0 { " AND " } else { "" });
            sql.name(key);
            sql.push(" = ");
            sql.operand(key, arg);
        }
        sql.push(")");
    }
    Ok(Some(sql))
}

/// How many rows of an upsert are as they were given, where newer ones stay.
async fn newest(session: &mut Session, planned: &Planned<'_>, write: &Write) -> Result<Option<u64>, Fault> {
    let Some(by) = planned.newest_by else { return Ok(None) };
    let mut sql = Sql::new(Engine::Mysql);
    sql.push(&format!("SELECT CAST(COUNT(*) AS CHAR) FROM {} WHERE ", Engine::Mysql.quoted_table(planned.table)));
    for (i, row) in write.rows.iter().enumerate() {
        let of = |column: &Column| match row.iter().find(|assignment| assignment.column == column.name) {
            Some(Assignment { operator: Operator::Set(value), .. }) => Some(value),
            _ => None,
        };
        sql.push(if i > 0 { " OR (" } else { "(" });
        for column in planned.keys.iter().copied().chain([by]) {
            let Some(value) = of(column) else { return Ok(None) };
            let arg = bind_key(column, value)?;
            sql.push(if column.name == planned.keys[0].name { "" } else { " AND " });
            sql.name(column);
            sql.push(" <=> ");
            sql.operand(column, arg);
        }
        sql.push(")");
    }
    let answer = session.rows(&sql.text, &sql.args, 1).await?;
    Ok(answer.rows.first().and_then(|row| row[0].text()).and_then(|text| text.parse().ok()))
}

fn bind_key(column: &Column, value: &Value) -> Result<Arg, Fault> {
    let bound = value::bind(Engine::Mysql, column, value);
    bound.map_err(|why| Fault::permanent("DB_VALUE", format!("column `{}`: {why}", column.name)))
}

/// The action's output. Rows are left out where there are too many or where they are too large.
fn result(count: u64, rows: Value) -> Value {
    let whole = rows.as_array().is_some_and(|rows| rows.len() as u64 >= count);
    match rows {
        Value::Array(rows) if whole => json!({ "rowsAffected": count, "returning": rows }),
        Value::Array(rows) => json!({ "rowsAffected": count, "returning": rows, "returningTruncated": true }),
        _ => json!({ "rowsAffected": count, "returning": [], "returningTruncated": true }),
    }
}

/// PostgreSQL does not say which value did not fit: each is tried alone, by reading it.
async fn name_column(session: &mut Session, planned: &Planned<'_>, fault: Fault) -> Fault {
    if session.control("ROLLBACK").await.is_err() {
        return fault;
    }
    for (name, arg) in planned.sql.columns.iter().zip(&planned.sql.args) {
        let Some(column) = planned.table.column(name) else { continue };
        let sql = format!("SELECT ($1::{}::{})::text", column.cast, column.full_type);
        let tried = session.rows(&sql, std::slice::from_ref(arg), 1).await;
        match tried {
            Err(own) if own.code == "DB_VALUE" => {
                return Fault { message: format!("column `{name}` ({}): {own}", column.full_type), ..fault };
            }
            Err(own) if own.retryable => return fault,
            _ => {}
        }
    }
    fault
}

/// What tests break on purpose.
#[cfg(debug_assertions)]
mod fault {
    /// Between the database's commit and the run's own record, for a test that kills the process there.
    pub(super) async fn after_commit() {
        if std::env::var_os("TRIGGERD_TEST_FAULT").is_some_and(|fault| fault == "hang-after-database-commit") {
            std::future::pending::<()>().await;
        }
    }
}
