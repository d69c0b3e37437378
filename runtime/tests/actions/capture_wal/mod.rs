//! Capture from PostgreSQL's log: what commits comes once for each key, in order, whatever happens on the way.

mod check;
mod connections;
mod interruptions;
mod large;
mod rows;
mod types;

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use triggerd::connections::sql::{Fault, Pool, Server, Session};
use triggerd::sources::wal::{Names, Stream, Wanted, WantedTable};
use triggerd::sources::{Captured, Change};
use triggerd_core::event::Operation;

use crate::harness::Bench;
use crate::harness::sql_server::Database;

/// How long changes may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server whose log can be read, and what reads it.
pub struct Place {
    pub db: Database,
    pub bench: Bench,
    pub names: Names,
}

impl Place {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[&str]) -> Self {
        Self::of(Database::postgres_with_log(settings).await).await
    }

    pub async fn of(db: Database) -> Self {
        Self { db, bench: Bench::local().await, names: Names::of("triggerd_test") }
    }

    pub fn pool(&self) -> &Pool {
        &self.bench.services.resources.connections().sql
    }

    pub fn server(&self) -> Server {
        self.server_at(self.db.url())
    }

    pub fn server_at(&self, url: String) -> Server {
        Server { url, ca: None, tls: None, statement_timeout: Duration::from_secs(5), max_connections: 4 }
    }

    pub async fn session(&self) -> Session {
        self.pool().single(&self.server()).await.unwrap()
    }

    pub async fn try_open(&self, wanted: &[WantedTable]) -> Result<Stream, Fault> {
        Stream::open(self.pool(), &self.server(), &self.names, &Wanted { tables: wanted.to_vec() }).await
    }

    pub async fn open(&self, tables: &[&str]) -> Stream {
        let wanted: Vec<_> = tables.iter().map(|name| all_of(name)).collect();
        self.try_open(&wanted).await.unwrap()
    }

    /// Statements on a connection of their own, each in its own transaction.
    pub async fn client(&self) -> PgConnection {
        PgConnection::connect(&self.db.url()).await.unwrap()
    }
}

/// Everything of a table.
pub fn all_of(name: &str) -> WantedTable {
    WantedTable { schema: None, name: name.into(), insert: true, update: true, delete: true, truncate: true }
}

/// Runs statements together.
pub async fn say(client: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(client).await.unwrap();
}

/// Reads and confirms until there are `count` changes, and a moment longer for those that should not be there.
pub async fn read(stream: &mut Stream, count: usize) -> Vec<Captured> {
    let mut changes = read_only(stream, count).await;
    let last = stream.next(1000, Duration::from_millis(100)).await.unwrap();
    changes.extend(last.changes);
    stream.confirm(last.upto).await.unwrap();
    assert_eq!(changes.len(), count, "{changes:#?}");
    changes
}

/// Reads until there are `count` changes; confirms nothing.
pub async fn read_only(stream: &mut Stream, count: usize) -> Vec<Captured> {
    let (mut changes, began) = (Vec::new(), Instant::now());
    while changes.len() < count {
        assert!(began.elapsed() < PATIENCE, "{} of {count} changes came", changes.len());
        changes.extend(stream.next(1000, Duration::from_millis(500)).await.unwrap().changes);
    }
    changes
}

/// Operation, record and previous.
pub fn parts(captured: &Captured) -> (Operation, &Value, &Value) {
    match &captured.change {
        Change::Row { operation, record, previous, .. } => (*operation, record, previous),
        Change::Event { .. } => panic!("{captured:?}"),
    }
}

pub fn records(changes: &[Captured]) -> Vec<Value> {
    changes.iter().map(|change| parts(change).1.clone()).collect()
}
