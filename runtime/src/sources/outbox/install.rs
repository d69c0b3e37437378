//! Making a database tell of its changes, and putting right what somebody else changed about that.

use std::collections::BTreeMap;

use triggerd_core::capture::Wanted;

use super::ddl::{self, Installation, Installed, Options, signature_in};
use super::names::Names;
use super::{mysql, postgres, sqlite};
use crate::connections::sql::{Arg, Engine, Fault, Session};
use crate::databases::{self, Table};
use crate::sources::plan::{Plan, TableName, shown};

/// The most tables of a database that are looked at.
const MAX_TABLES: usize = 10_000;
/// The most triggers that are looked at: four for each table.
const MAX_TRIGGERS: usize = 4 * MAX_TABLES;

/// What became of one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// The table, with its schema where that is not the connection's own.
    pub table: String,
    /// `insert`, `update`, `delete`, `truncate`.
    pub operations: Vec<&'static str>,
    /// What was found, and done about it.
    pub found: Found,
}

/// What was found, and done about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// As it should be.
    Good,
    /// Installed just now.
    Installed,
    /// Something else was there: somebody had changed it, or the triggers' wants have changed.
    Repaired,
    /// Taken away: nothing is wanted of it any more.
    Removed,
    /// It cannot be captured: why, and what to do.
    Problem(String),
}

/// Where a database keeps its outbox: the schema that the connection's names are of.
pub async fn names(session: &mut Session, outbox: &str) -> Result<Names, Fault> {
    let engine = session.engine();
    let schema = match engine {
        Engine::Postgres => one(session, "SELECT current_schema()::text").await?,
        Engine::Mysql => one(session, "SELECT CAST(DATABASE() AS CHAR)").await?,
        Engine::Sqlite => None,
    };
    if engine != Engine::Sqlite && schema.is_none() {
        let message = "the connection has no schema of its own to keep the outbox in; give the role a `search_path`";
        return Err(Fault::permanent("DB_REFUSED", message));
    }
    if engine == Engine::Postgres
        && one(session, "SELECT pg_catalog.pg_is_in_recovery()::text").await?.as_deref() == Some("true")
    {
        let message = "the server is a read-only standby, where nothing can be installed; name the primary in `url`";
        // It may be made the primary.
        return Err(Fault::unavailable(message));
    }
    Ok(Names::new(engine, schema, outbox))
}

/// Makes the outbox where there is none, and takes it for `owner`.
pub async fn outbox(session: &mut Session, names: &Names, owner: &str) -> Result<(), Fault> {
    match owned_by(session, names).await {
        Ok(Some(known)) if known == owner => return Ok(()),
        Ok(_) => {}
        // Not there, or made by a write over the API alone.
        Err(fault) if fault.code == "DB_UNKNOWN_TABLE" || fault.code == "DB_REFUSED" => {}
        Err(fault) => return Err(fault),
    }
    databases::make_outbox(session, &names.tables()).await?;
    let (state, key) = (names.state(), key_name(session.engine()));
    let insert = match session.engine() {
        Engine::Postgres => format!("INSERT INTO {state} (key, value) VALUES ('owner', $1) ON CONFLICT DO NOTHING"),
        Engine::Mysql => format!("INSERT IGNORE INTO {state} ({key}, value) VALUES ('owner', ?)"),
        Engine::Sqlite => format!("INSERT OR IGNORE INTO {state} ({key}, value) VALUES ('owner', ?)"),
    };
    session.execute(&insert, &[Arg::Text(owner.to_owned())]).await?;
    match owned_by(session, names).await? {
        Some(known) if known == owner => Ok(()),
        known => {
            let message = format!(
                "the outbox `{}` of this database is read by another one ({}); give this resource an outbox of its own \
                 (`capture.outbox`), or, if that reader is gone for good, run DELETE FROM {state} WHERE {key} = 'owner'",
                names.plain(),
                known.unwrap_or_default()
            );
            Err(Fault::permanent("DB_REFUSED", message))
        }
    }
}

async fn owned_by(session: &mut Session, names: &Names) -> Result<Option<String>, Fault> {
    let key = key_name(session.engine());
    one(session, &format!("SELECT value FROM {} WHERE {key} = 'owner'", names.state())).await
}

/// The tables that a database has, seen from its connection's own schema.
pub async fn tables_of(session: &mut Session, outbox: &str) -> Result<Vec<TableName>, Fault> {
    let names = names(session, outbox).await?;
    tables(session, &names).await
}

/// What is told of tables that a trigger names and that are not there.
pub fn missing(plan: &Plan, tables: &[TableName]) -> Vec<State> {
    let told = |table: String| State {
        found: Found::Problem(format!("there is no table `{table}`; it is captured once there is one")),
        table,
        operations: Vec::new(),
    };
    plan.missing(tables).into_iter().map(told).collect()
}

/// The tables that there are: those of the connection's own schema without it, others with it.
pub async fn tables(session: &mut Session, names: &Names) -> Result<Vec<TableName>, Fault> {
    let sql = match session.engine() {
        Engine::Postgres => postgres::TABLES,
        Engine::Mysql => mysql::TABLES,
        Engine::Sqlite => sqlite::TABLES,
    };
    let found = session.rows(sql, &[], MAX_TABLES).await?;
    let table = |row: &Vec<Arg>| {
        let cell = |i: usize| row.get(i).and_then(Arg::text).unwrap_or_default().to_owned();
        let schema = Some(cell(0)).filter(|schema| !schema.is_empty() && Some(schema.as_str()) != names.schema());
        (schema, cell(1))
    };
    Ok(found.rows.iter().map(table).filter(|(_, name)| !names.is_own(name)).collect())
}

/// Installs on every table what `wanted` says of it, and takes away what nobody wants. One table's problem is its own.
pub async fn reconcile(
    session: &mut Session,
    names: &Names,
    always: bool,
    wanted: &BTreeMap<(Option<String>, String), Wanted>,
) -> Result<Vec<State>, Fault> {
    let replaces = match session.engine() {
        Engine::Postgres => {
            let version = one(session, "SELECT current_setting('server_version_num')").await?;
            version.and_then(|version| version.parse::<u32>().ok()) >= Some(140_000)
        }
        Engine::Mysql => one(session, "SELECT VERSION()").await?.is_some_and(|version| version.contains("MariaDB")),
        Engine::Sqlite => false,
    };
    let options = Options { always, replaces };
    let there = installed(session, names, always).await?;
    let mut states = Vec::new();
    for ((schema, name), wanted) in wanted {
        let shown = shown(schema.as_deref(), name);
        let own: Vec<&Installed> = there.iter().filter(|one| (&one.schema, &one.table) == (schema, name)).collect();
        let found = match look_up(session, schema.as_deref(), name).await {
            Ok(table) => install(session, names, &table, wanted, options, &own).await,
            Err(fault) => Err(fault),
        };
        let found = found.or_else(|fault| if fault.gone { Err(fault) } else { Ok(Found::Problem(remedy(&fault))) })?;
        states.push(State { table: shown, operations: operations(session.engine(), wanted), found });
    }
    let kept = |one: &Installed| wanted.contains_key(&(one.schema.clone(), one.table.clone()));
    let mut left: BTreeMap<(Option<String>, String), Vec<String>> = BTreeMap::new();
    for one in there.iter().filter(|one| !kept(one)) {
        left.entry((one.schema.clone(), one.table.clone())).or_default().push(one.trigger.clone());
    }
    for ((schema, name), triggers) in left {
        let shown = shown(schema.as_deref(), &name);
        let found = match look_up(session, schema.as_deref(), &name).await {
            Ok(table) => remove(session, names, &table, &triggers).await,
            Err(fault) => Err(fault),
        };
        let found = match found {
            Ok(()) => Found::Removed,
            Err(fault) if fault.gone => return Err(fault),
            Err(fault) => Found::Problem(remedy(&fault)),
        };
        states.push(State { table: shown, operations: Vec::new(), found });
    }
    Ok(states)
}

async fn look_up(session: &mut Session, schema: Option<&str>, name: &str) -> Result<Table, Fault> {
    databases::table_in(session, schema, name).await
}

async fn install(
    session: &mut Session,
    names: &Names,
    table: &Table,
    wanted: &Wanted,
    options: Options,
    there: &[&Installed],
) -> Result<Found, Fault> {
    let Installation { triggers, statements, .. } = &{
        let installation = ddl::of(session.engine(), names, table, wanted, options);
        if installation.is_there(there) {
            return Ok(Found::Good);
        }
        installation
    };
    let old = there.iter().map(|one| one.trigger.clone()).filter(|trigger| !triggers.contains(trigger));
    let old: Vec<String> = old.collect();
    let mut all = statements.clone();
    if !old.is_empty() {
        let mut removal = removal(session.engine(), names, table, &old);
        // The function is the new one's too.
        removal.truncate(old.len());
        all.splice(0..0, removal);
    }
    run(session, &all).await?;
    Ok(if there.is_empty() { Found::Installed } else { Found::Repaired })
}

async fn remove(session: &mut Session, names: &Names, table: &Table, triggers: &[String]) -> Result<(), Fault> {
    let statements = removal(session.engine(), names, table, triggers);
    run(session, &statements).await
}

fn removal(engine: Engine, names: &Names, table: &Table, triggers: &[String]) -> Vec<String> {
    match engine {
        Engine::Postgres => postgres::removal(names, table, triggers),
        Engine::Mysql => mysql::removal(table, triggers),
        Engine::Sqlite => sqlite::removal(triggers),
    }
}

/// Runs all of them or none, where the engine can undo them. Waits for locks only briefly: whoever writes to the table waits
/// behind it.
async fn run(session: &mut Session, statements: &[String]) -> Result<(), Fault> {
    let (begin, ends) = match session.engine() {
        Engine::Postgres => ("BEGIN; SET LOCAL lock_timeout = '1s'", true),
        Engine::Sqlite => ("BEGIN IMMEDIATE", true),
        Engine::Mysql => ("SET SESSION lock_wait_timeout = 2", false),
    };
    session.control(begin).await?;
    for statement in statements {
        if let Err(fault) = session.ddl(statement).await {
            if ends && !fault.gone {
                session.control("ROLLBACK").await?;
            }
            return Err(fault);
        }
    }
    if ends { session.control("COMMIT").await } else { Ok(()) }
}

/// The triggers that there are.
pub async fn installed(session: &mut Session, names: &Names, always: bool) -> Result<Vec<Installed>, Fault> {
    let prefix = Arg::Text(names.plain().to_owned());
    let engine = session.engine();
    let (sql, args) = match engine {
        Engine::Postgres => (postgres::INSTALLED, vec![prefix]),
        Engine::Mysql => (mysql::INSTALLED, vec![prefix.clone(), prefix]),
        Engine::Sqlite => (sqlite::INSTALLED, vec![prefix.clone(), prefix]),
    };
    let found = session.rows(sql, &args, MAX_TRIGGERS).await?;
    let mut installed = Vec::new();
    for row in &found.rows {
        let cell = |i: usize| row.get(i).and_then(Arg::text).unwrap_or_default();
        let schema = Some(cell(0).to_owned()).filter(|schema| !schema.is_empty());
        let table = Table { schema: schema.clone(), name: cell(1).to_owned(), columns: Vec::new() };
        if engine == Engine::Postgres
            && !cell(5).is_empty()
            && !names.function(&table).ends_with(&format!("\"{}\"", cell(5)))
        {
            // A partition's copy of its parent's trigger.
            continue;
        }
        installed.push(Installed {
            schema: schema.filter(|schema| Some(schema.as_str()) != names.schema()),
            table: table.name,
            trigger: cell(2).to_owned(),
            signature: signature_in(cell(3)).unwrap_or_default().to_owned(),
            enabled: match engine {
                Engine::Postgres => cell(4) == if always { "A" } else { "O" },
                _ => true,
            },
        });
    }
    Ok(installed)
}

fn operations(engine: Engine, wanted: &Wanted) -> Vec<&'static str> {
    let rows = ddl::OPERATIONS.iter().filter(|(operation, _)| wanted.of(*operation).is_some()).map(|(_, name)| *name);
    // Elsewhere it runs no trigger, or is a DELETE that tells its rows.
    let truncate = wanted.truncate && engine == Engine::Postgres;
    rows.chain(truncate.then_some("truncate")).collect()
}

/// What is wrong, and what to do about it.
fn remedy(fault: &Fault) -> String {
    let remedy = match fault.code {
        "DB_DENIED" => {
            "; the role needs the right to create triggers on the table (PostgreSQL: TRIGGER, and CREATE on the schema; MySQL: \
             TRIGGER, and `log_bin_trust_function_creators` where the server keeps a binary log)"
        }
        "DB_UNAVAILABLE" => "; it is tried again",
        _ => "",
    };
    format!("{}{remedy}", fault.message)
}

/// `key` is a word of MySQL's and SQLite's own.
pub(super) fn key_name(engine: Engine) -> String {
    engine.quoted("key")
}

async fn one(session: &mut Session, sql: &str) -> Result<Option<String>, Fault> {
    let found = session.rows(sql, &[], 1).await?;
    Ok(found.text().map(str::to_owned))
}
