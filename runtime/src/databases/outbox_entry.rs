//! Who writes a change's entry in `triggerd_outbox`: the table's own row triggers where capture is installed, else we.
//!
//! Row triggers are told in the open transaction who makes the change. Whether there are any is asked after the write,
//! while the table cannot change: from then on exactly one of the two has written the entries.

use serde_json::{Map, Value};
use triggerd_core::event::Operation;

use super::catalog::Table;
use super::outbox_table::{OutboxNames, SESSION, make_outbox};
use crate::connections::sql::{Arg, Engine, Fault, Session};

/// Entries of one statement.
const CHUNK: usize = 200;

/// Who makes a change, for the entries that tell of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Author {
    /// The user; null for nobody in particular.
    pub user: Value,
    /// What else is known of it.
    pub context: Map<String, Value>,
    /// Somebody is to be told who is not told by the table's own row triggers: they keep silent, and all entries are
    /// written here.
    pub alone: bool,
}

/// A changed row.
pub(super) struct Entry {
    pub(super) operation: Operation,
    pub(super) old: Value,
    pub(super) new: Value,
}

impl Author {
    fn user(&self) -> Arg {
        if self.user.is_null() { Arg::Null } else { Arg::Text(self.user.to_string()) }
    }

    fn context(&self) -> Arg {
        if self.context.is_empty() { Arg::Null } else { Arg::Text(Value::Object(self.context.clone()).to_string()) }
    }

    fn is_nobody(&self) -> bool {
        self.user.is_null() && self.context.is_empty() && !self.alone
    }
}

/// Makes the outbox where there is none. No transaction may be open.
pub(super) async fn ensure(session: &mut Session, outbox: &str) -> Result<(), Fault> {
    if exists(session, outbox).await? {
        return Ok(());
    }
    let names = OutboxNames::plain(session.engine(), outbox);
    match make_outbox(session, &names).await {
        // Somebody else may have made it at the same moment.
        Err(fault) if !fault.retryable && exists(session, outbox).await? => Ok(()),
        made => made,
    }
}

/// Tells the table's row triggers who makes the change.
pub(super) async fn announce(session: &mut Session, author: &Author) -> Result<(), Fault> {
    if author.is_nobody() {
        return Ok(());
    }
    let text = |arg: Arg| if arg == Arg::Null { Arg::Text(String::new()) } else { arg };
    let suppress = Arg::Text(if author.alone { "on" } else { "" }.to_owned());
    match session.engine() {
        Engine::Postgres => {
            let sql = "SELECT set_config('triggerd.user', $1, true), set_config('triggerd.context', $2, true), \
                       set_config('triggerd.suppress', $3, true)";
            session.rows(sql, &[text(author.user()), text(author.context()), suppress], 1).await.map(drop)
        }
        Engine::Mysql => {
            let sql = "SET @triggerd_user = ?, @triggerd_context = ?, @triggerd_suppress = ?";
            session.execute(sql, &[author.user(), author.context(), suppress]).await.map(drop)
        }
        Engine::Sqlite => {
            // The table comes with capture: without it nobody would read what is said here.
            if !exists(session, SESSION).await? {
                return Ok(());
            }
            let sql = "INSERT OR REPLACE INTO triggerd_session (id, \"user\", context, suppress) VALUES (1, ?, ?, ?)";
            session.execute(sql, &[author.user(), author.context(), suppress]).await.map(drop)
        }
    }
}

/// Takes back what [`announce`] said, where it would outlive the transaction. The next one on this connection is
/// somebody else's.
pub(super) async fn retract(session: &mut Session, author: &Author) -> Result<(), Fault> {
    match session.engine() {
        _ if author.is_nobody() => Ok(()),
        Engine::Postgres => Ok(()),
        Engine::Mysql => {
            session.control("SET @triggerd_user = NULL, @triggerd_context = NULL, @triggerd_suppress = NULL").await
        }
        Engine::Sqlite if exists(session, SESSION).await? => session.control("DELETE FROM triggerd_session").await,
        Engine::Sqlite => Ok(()),
    }
}

/// Whether the table has a row trigger of capture's for the operation: then it writes the entries by itself.
pub(super) async fn is_captured(session: &mut Session, table: &Table, operation: Operation) -> Result<bool, Fault> {
    let engine = session.engine();
    let name = || Arg::Text(table.name.clone());
    let (sql, args) = match engine {
        Engine::Postgres => {
            // Bits of `tgtype`; those that fire in a session like this one.
            let bit = match operation {
                Operation::Insert => 4,
                Operation::Delete => 8,
                Operation::Update => 16,
                Operation::Truncate => 32,
            };
            let sql = format!(
                "SELECT '1' FROM pg_catalog.pg_trigger WHERE tgrelid = pg_catalog.to_regclass($1) AND NOT tgisinternal \
                 AND tgenabled IN ('O', 'A') AND tgname LIKE 'triggerd\\_%' AND (tgtype & {bit}) <> 0"
            );
            (sql, vec![Arg::Text(engine.quoted_table(table))])
        }
        Engine::Mysql => {
            let sql = "SELECT '1' FROM information_schema.triggers WHERE event_object_schema = COALESCE(?, DATABASE()) \
                       AND event_object_table = ? AND event_manipulation = ? AND trigger_name LIKE 'triggerd\\_%'";
            let schema = table.schema.clone().map_or(Arg::Null, Arg::Text);
            (sql.to_owned(), vec![schema, name(), Arg::Text(operation.as_str().to_uppercase())])
        }
        Engine::Sqlite => {
            let sql = "SELECT '1' FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE \
                       AND name LIKE 'triggerd\\_%' ESCAPE '\\'";
            (sql.to_owned(), vec![name()])
        }
    };
    Ok(session.rows(&sql, &args, 1).await?.count > 0)
}

/// Enters changed rows, in the transaction that changed them.
pub(super) async fn enter(
    session: &mut Session,
    outbox: &str,
    table: &Table,
    entries: &[&Entry],
    author: &Author,
) -> Result<(), Fault> {
    let engine = session.engine();
    let json = |value: &Value| if value.is_null() { Arg::Null } else { Arg::Text(value.to_string()) };
    for chunk in entries.chunks(CHUNK) {
        let mut args = Vec::with_capacity(chunk.len() * 7);
        let mut rows = Vec::with_capacity(chunk.len());
        for entry in chunk {
            let first = args.len() + 1;
            rows.push(match engine {
                Engine::Postgres => format!(
                    "(${}::text, ${}::text, ${}::text, ${}::json, ${}::json, ${}::text, ${}::text, txid_current())",
                    first,
                    first + 1,
                    first + 2,
                    first + 3,
                    first + 4,
                    first + 5,
                    first + 6
                ),
                Engine::Mysql | Engine::Sqlite => "(?, ?, ?, ?, ?, ?, ?)".to_owned(),
            });
            args.push(Arg::Text(entry.operation.as_str().to_owned()));
            args.push(table.schema.clone().map_or(Arg::Null, Arg::Text));
            args.push(Arg::Text(table.name.clone()));
            args.extend([json(&entry.old), json(&entry.new), author.user(), author.context()]);
        }
        let transaction = if engine == Engine::Postgres { ", \"transaction\"" } else { "" };
        let sql = format!(
            "INSERT INTO {} (operation, schema_name, table_name, old_row, new_row, user_info, \
             context{transaction}) VALUES {}",
            engine.quoted(outbox),
            rows.join(", ")
        );
        session.execute(&sql, &args).await?;
    }
    Ok(())
}

async fn exists(session: &mut Session, table: &str) -> Result<bool, Fault> {
    let sql = match session.engine() {
        Engine::Postgres => "SELECT '1' WHERE to_regclass($1) IS NOT NULL",
        Engine::Mysql => "SELECT '1' FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
        Engine::Sqlite => "SELECT '1' FROM sqlite_schema WHERE name = ?",
    };
    Ok(session.rows(sql, &[Arg::Text(table.to_owned())], 1).await?.count > 0)
}
