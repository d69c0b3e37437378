//! The kind `databases`: PostgreSQL, MySQL and MariaDB, SQLite files.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Kind;
use crate::connections::sql;

/// A database's settings.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Database {
    /// `postgres://user:password@host[:port]/database`, `mysql://…` or `mariadb://…`, or `sqlite:FILE` below a
    /// directory that the operator allows.
    pub url: String,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
    /// `disable`, `require` (encrypted, whoever it is) or `verify-full`; left out, as the URL's `sslmode` says, else
    /// `verify-full`, and `disable` for a server on this machine.
    pub tls: Option<sql::TlsMode>,
    /// The tables that actions may write, and the API write and read, as globs over `table` and `schema.table`; left out,
    /// those that the role may.
    pub tables: Option<Vec<String>>,
    /// Milliseconds that a statement, and a wait for a lock, may take.
    #[serde(default = "statement_timeout")]
    #[schemars(range(min = 1, max = 600_000))]
    pub statement_timeout: u64,
    /// Connections at once.
    #[serde(default = "max_connections")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_connections: u32,
    /// Whether each delivery takes effect once, by the table `triggerd_deliveries`.
    #[serde(default = "ledger")]
    pub ledger: bool,
}

fn statement_timeout() -> u64 {
    5000
}

fn max_connections() -> u32 {
    8
}

fn ledger() -> bool {
    true
}

impl Database {
    /// What to connect to.
    #[must_use]
    pub fn server(&self) -> sql::Server {
        sql::Server {
            url: self.url.clone(),
            ca: self.ca.clone(),
            tls: self.tls,
            statement_timeout: Duration::from_millis(self.statement_timeout),
            max_connections: self.max_connections as usize,
        }
    }
}

pub(super) const KIND: Kind = Kind {
    name: "databases",
    schema: || schemars::schema_for!(Database).to_value(),
    normal: |settings| settings,
    check: |settings| {
        let url = settings.get("url").and_then(Value::as_str).unwrap_or_default();
        sql::url_mistakes(url)
    },
    raw: &[],
    hidden: false,
    connect: |connections, settings| {
        Box::pin(async move {
            let database: Database = serde_json::from_value(settings).map_err(|e| e.to_string())?;
            crate::databases::check(connections, &database).await
        })
    },
};
