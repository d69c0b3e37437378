//! The tenants' databases by tag: rows written by actions, statements run for guests.
//!
//! A write is one statement in one short transaction, together with its entry in the delivery [`ledger`]. Names are
//! looked up in the database's own [`catalog`] and quoted; values are always bound, in the text that the column's type
//! reads exactly ([`value`]). Nothing is held while an action waits for anything but this database.

mod catalog;
mod catalog_query;
mod exchange;
mod filter;
mod guest;
mod keyset;
mod ledger;
mod once;
mod outbox_entry;
mod outbox_table;
mod records;
mod returning;
mod rows;
mod run;
mod scan;
mod statement;
mod text;
mod value;
mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use triggerd_core::id::TenantId;

pub use catalog::{Column, Kind, Table};
pub use exchange::{BeforeCommit, Exchange, Exchanged};
pub use filter::Filter;
pub use guest::Question;
pub use keyset::key_page;
pub use outbox_entry::Author;
pub use outbox_table::{OutboxNames, make_outbox};
pub use records::{Ask, Change, Delivery, Done, Found, Lookup, MAX_ROWS, Outcome, Page, Records, Step};
pub use statement::{Assignment, Operator, assignments};
pub use write::{Conflict, Verb, Write};

use crate::connections::sql::{Engine, Fault, Server, Session, Target};
use crate::connections::{Connections, sql};
use crate::failed::Failed;
use crate::glob;
use crate::resources::{Database, Identity, Resolved, Resources};

/// Resources whose catalogs are remembered.
const MAX_KNOWN: u64 = 4096;
/// How long what a catalog said is taken for true. What turns out to be wrong is asked again at once.
const CATALOG_AGE: Duration = Duration::from_secs(300);

/// The databases of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Databases {
    resources: Arc<Resources>,
    known: moka::future::Cache<Identity, Arc<Known>>,
}

/// Which database: whose, by what tag, for events of which environment.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// The environment, which may have settings of its own; empty for none.
    pub env: &'a str,
    /// Its tag.
    pub tag: &'a str,
}

/// What is remembered of one database.
#[derive(Default)]
struct Known {
    tables: Mutex<HashMap<String, (Arc<Table>, Instant)>>,
    ledger: ledger::State,
    outbox: ledger::State,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A database, ready to be asked.
struct Opened {
    resolved: Arc<Resolved<Database>>,
    server: Server,
    known: Arc<Known>,
}

impl Databases {
    /// Those that `resources` configures.
    #[must_use]
    pub fn new(resources: Arc<Resources>) -> Self {
        let known = moka::future::Cache::builder().max_capacity(MAX_KNOWN).time_to_idle(CATALOG_AGE * 2).build();
        Self { resources, known }
    }

    async fn open(&self, name: Name<'_>) -> Result<Opened, Failed> {
        let resolved = self.resources.resolve(name.tenant, "databases", name.tag, name.env);
        let resolved: Arc<Resolved<Database>> =
            resolved.ok_or_else(|| Failed::no_resource("databases", name.tag))??;
        let known = self.known.get_with_by_ref(&resolved.identity, async { Arc::default() }).await;
        let server = resolved.settings.server();
        Ok(Opened { resolved, server, known })
    }

    fn pool(&self) -> &sql::Pool {
        &self.resources.connections().sql
    }
}

impl Opened {
    fn engine(&self) -> Result<Engine, Fault> {
        let target = Target::of(&self.server.url).map_err(|detail| Fault::permanent("RESOURCE_INVALID", detail))?;
        Ok(target.engine())
    }

    /// The table that an action means by `written`: of the catalog, and allowed.
    async fn table(&self, session: &mut Session, written: &str) -> Result<Arc<Table>, Fault> {
        let table = match self.remembered(written) {
            Some(table) => table,
            None => {
                let table = Arc::new(catalog_query::table(session, written).await?);
                self.known.tables.lock().insert(written.to_owned(), (table.clone(), Instant::now()));
                table
            }
        };
        self.allowed(table)
    }

    /// The table, if it was looked up not long ago.
    fn remembered(&self, written: &str) -> Option<Arc<Table>> {
        let tables = self.known.tables.lock();
        tables.get(written).filter(|(_, at)| at.elapsed() < CATALOG_AGE).map(|(table, _)| table.clone())
    }

    fn allowed(&self, table: Arc<Table>) -> Result<Arc<Table>, Fault> {
        let outbox = self.resolved.settings.outbox();
        let state = format!("{outbox}_state");
        let own = [ledger::TABLE, outbox, &state, outbox_table::SESSION];
        if own.iter().any(|own| table.name.eq_ignore_ascii_case(own)) {
            return Err(Fault::permanent("DB_DENIED", format!("/table: `{}` is triggerd's own", table.name)));
        }
        let fits = |pattern: &String| glob::fits(pattern, &table.name) || glob::fits(pattern, &table.qualified());
        match &self.resolved.settings.tables {
            Some(allowed) if !allowed.iter().any(fits) => {
                let message = format!("/table: the resource's `tables` do not name `{}`", table.qualified());
                Err(Fault::permanent("DB_DENIED", message))
            }
            _ => Ok(table),
        }
    }

    /// What was remembered of the table may be why something failed.
    fn forget(&self, written: &str) {
        self.known.tables.lock().remove(written);
    }
}

/// A table of the catalog by its schema, where that is not the connection's own, and its name.
pub async fn table_in(session: &mut Session, schema: Option<&str>, name: &str) -> Result<Table, Fault> {
    catalog_query::table_in(session, schema, name).await
}

/// Connects: the server's version, and what actions will miss.
pub async fn check(connections: Connections, settings: &Database) -> Result<String, String> {
    let server = settings.server();
    let mut session = connections.sql.single(&server).await.map_err(|fault| fault.message)?;
    let found = look(&mut session, settings).await.map_err(|fault| fault.message);
    session.close().await;
    found
}

async fn look(session: &mut Session, settings: &Database) -> Result<String, Fault> {
    let version = catalog_query::version(session).await?;
    if !settings.ledger {
        return Ok(format!("{version}; no delivery ledger"));
    }
    ledger::ensure(session).await?;
    Ok(format!("{version}; the delivery ledger is there"))
}
