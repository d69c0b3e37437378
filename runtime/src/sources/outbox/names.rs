//! What things are called in a captured database: all after the outbox, so that two of them do not meet.

use crate::connections::sql::Engine;
use crate::databases::{OutboxNames, Table};

/// Names of one outbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    engine: Engine,
    /// The schema that it is in; `None` where the engine has none.
    schema: Option<String>,
    outbox: String,
}

impl Names {
    /// Of the outbox that is called `outbox`.
    #[must_use]
    pub fn new(engine: Engine, schema: Option<String>, outbox: &str) -> Self {
        Self { engine, schema, outbox: outbox.to_owned() }
    }

    /// The schema that it is in.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Its plain name.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.outbox
    }

    /// The outbox, as it stands in a statement.
    #[must_use]
    pub fn outbox(&self) -> String {
        self.qualified(&self.outbox)
    }

    /// The table of what is remembered beside it: whose it is.
    #[must_use]
    pub fn state(&self) -> String {
        self.qualified(&self.state_plain())
    }

    /// Its plain name.
    #[must_use]
    pub fn state_plain(&self) -> String {
        format!("{}_state", self.outbox)
    }

    /// SQLite: the table that stands for what a session says of itself.
    #[must_use]
    pub fn session(&self) -> String {
        self.qualified("triggerd_session")
    }

    /// The tables, as they stand in statements.
    #[must_use]
    pub fn tables(&self) -> OutboxNames {
        OutboxNames { outbox: self.outbox(), state: self.state(), session: self.session() }
    }

    /// PostgreSQL: the channel that the reader is woken by.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.outbox
    }

    /// The function that captures a table's rows.
    #[must_use]
    pub fn function(&self, table: &Table) -> String {
        self.qualified(&format!("{}_of_{:08x}", self.outbox, digest(table)))
    }

    /// PostgreSQL: the advisory lock that the reader holds while it sleeps.
    #[must_use]
    pub fn lock(&self) -> i64 {
        let place = format!("triggerd {} {}", self.schema.as_deref().unwrap_or_default(), self.outbox);
        (i64::from(crc32fast::hash(place.as_bytes())) << 16) | 0x7d7d
    }

    /// The plain name of a table's trigger for an operation. Within a table where triggers belong to their tables,
    /// within a database elsewhere.
    #[must_use]
    pub fn trigger(&self, table: &Table, operation: &str) -> String {
        match self.engine {
            Engine::Postgres => format!("{}_{operation}", self.outbox),
            // Trigger names have 64 characters in MySQL.
            Engine::Mysql | Engine::Sqlite => format!("{}_{operation}_{:08x}", self.outbox, digest(table)),
        }
    }

    fn qualified(&self, name: &str) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", self.engine.quoted(schema), self.engine.quoted(name)),
            None => self.engine.quoted(name),
        }
    }

    /// Whether a table is one of these.
    #[must_use]
    pub fn is_own(&self, table: &str) -> bool {
        table == self.outbox || table == self.state_plain() || table == "triggerd_session"
    }
}

/// Tells tables apart in names that have not room for theirs.
fn digest(table: &Table) -> u32 {
    crc32fast::hash(table.qualified().as_bytes())
}
