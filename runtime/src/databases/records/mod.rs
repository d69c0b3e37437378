//! Rows for the write-through API: read in pages, and changed together with what tells of the change.
//!
//! A change is one transaction: its entry in the delivery ledger, the rows that it is about as they are under lock,
//! what the caller makes of them, and their entries in the outbox. Nobody sees any of it before the commit.

mod change;
mod page;
mod rows;
mod step;

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::OwnedMutexGuard;
use triggerd_core::event::Operation;

pub use change::{Change, Delivery, Done, Outcome};
pub use page::{Ask, Page};
pub use step::Step;

use super::catalog::Table;
use super::{Assignment, Databases, Filter, Name, Opened, ledger, outbox_entry};
use crate::connections::sql::{self, Engine, Fault, Session};
use crate::failed::Failed;
use crate::resources::CaptureFrom;

/// The most rows that one call changes where each of them is told of, and the most that it shows.
pub const MAX_ROWS: usize = 1000;

/// One table of a tenant's database.
pub struct Records {
    pool: sql::Pool,
    opened: Opened,
    written: String,
}

/// Which rows a change is about.
#[derive(Clone, PartialEq, Debug)]
pub enum Lookup {
    /// Those that the filter means, with what the operators among the assignments would make of them.
    Where(Filter, Vec<Assignment>),
    /// One for each of these rows, by the values of the columns, where it is there.
    Keys(Vec<String>, Vec<Map<String, Value>>),
}

/// A row that is there.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its columns, as far as the role may read them.
    pub row: Map<String, Value>,
    /// What operators make of it, by column.
    pub computed: Map<String, Value>,
}

impl PartialEq for Found {
    /// The row: what operators make of it follows from that, and the time.
    fn eq(&self, other: &Self) -> bool {
        self.row == other.row
    }
}

impl Databases {
    /// The table that `written` names, of the database `name`.
    pub async fn records(&self, name: Name<'_>, written: &str) -> Result<Records, Failed> {
        let opened = self.open(name).await?;
        Ok(Records { pool: self.pool().clone(), opened, written: written.to_owned() })
    }
}

impl Records {
    /// The table as the catalog has it.
    pub async fn table(&self) -> Result<Arc<Table>, Fault> {
        if let Some(table) = self.opened.remembered(&self.written) {
            return self.opened.allowed(table);
        }
        let mut session = self.look().await?;
        let found = self.opened.table(&mut session, &self.written).await;
        ended(session, found).await
    }

    /// The rows, without any lock.
    pub async fn rows(&self, lookup: Option<&Lookup>) -> Result<Vec<Option<Found>>, Fault> {
        let Some(lookup) = lookup else { return Ok(Vec::new()) };
        match self.rows_once(lookup).await {
            // The table may have got the column since it was looked up; it has been forgotten.
            Err(fault) if fault.code == "DB_UNKNOWN_COLUMN" => self.rows_once(lookup).await,
            done => done,
        }
    }

    async fn rows_once(&self, lookup: &Lookup) -> Result<Vec<Option<Found>>, Fault> {
        let table = self.table().await?;
        let mut session = self.look().await?;
        let found = rows::look_up(&mut session, &table, lookup, false).await;
        self.checked(ended(session, found).await)
    }

    /// Whether the table's own triggers tell of the operation.
    pub async fn is_captured(&self, operation: Operation) -> Result<bool, Fault> {
        let table = self.table().await?;
        let mut session = self.look().await?;
        let found = outbox_entry::is_captured(&mut session, &table, operation).await;
        ended(session, found).await
    }

    /// The outbox's name.
    fn outbox(&self) -> &str {
        self.opened.resolved.settings.outbox()
    }

    /// Whether changes are captured from the database's log: then they are told by it alone.
    #[must_use]
    pub fn is_told_by_log(&self) -> bool {
        let capture = self.opened.resolved.settings.capture.as_ref();
        capture.is_some_and(|capture| capture.from == CaptureFrom::Log)
    }

    /// Whether every statement can answer with the rows that it changed.
    pub fn has_returning(&self) -> Result<bool, Fault> {
        Ok(self.opened.engine()? != Engine::Mysql)
    }

    /// Whether deliveries are remembered here.
    #[must_use]
    pub fn has_ledger(&self) -> bool {
        self.opened.resolved.settings.ledger
    }

    /// Those who change the same table at the same time and keep meeting line up here.
    pub async fn turn(&self) -> Result<OwnedMutexGuard<()>, Fault> {
        let turn = self.opened.known.turns.lock().entry(self.written.clone()).or_default().clone();
        let waited = tokio::time::timeout(self.opened.server.statement_timeout, turn.lock_owned()).await;
        waited.map_err(|_| Fault::unavailable("too many change these rows at the same time"))
    }

    async fn look(&self) -> Result<Session, Fault> {
        let begin = match self.opened.engine()? {
            Engine::Postgres => "BEGIN READ ONLY",
            Engine::Mysql => "START TRANSACTION READ ONLY",
            Engine::Sqlite => "BEGIN",
        };
        self.pool.begin(&self.opened.resolved.identity, &self.opened.server, begin).await
    }

    /// What was remembered of the table may be why it failed.
    fn checked<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &result
            && (fault.code.starts_with("DB_UNKNOWN") || fault.retryable)
        {
            self.opened.forget(&self.written);
        }
        result
    }
}

/// Ends a transaction that changed nothing.
async fn ended<T>(session: Session, result: Result<T, Fault>) -> Result<T, Fault> {
    if !matches!(&result, Err(fault) if fault.retryable) {
        session.roll_back().await;
    }
    result
}
