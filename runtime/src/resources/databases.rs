//! The kind `databases`: PostgreSQL, MySQL and MariaDB, SQLite files.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use triggerd_core::mistake::Mistake;

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
    /// How changed rows are captured for the triggers that name this database.
    pub capture: Option<Capture>,
}

/// How changed rows are captured.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Capture {
    /// `outbox`: triggers in the database write changes into a table, in the transaction that makes them. `log`: they are
    /// read from PostgreSQL's write-ahead log.
    #[serde(default)]
    pub from: CaptureFrom,
    /// The outbox's table. Another name than the default where several servers capture one database.
    #[serde(default = "outbox")]
    #[schemars(regex(pattern = "^[a-z_][a-z0-9_]{0,39}$"))]
    pub outbox: String,
    /// `wanted`: the columns that triggers look at; `all`: also those that none does.
    #[serde(default)]
    pub columns: Extent,
    /// `wanted`: the rows that a trigger's condition may take; `all`: also those that none does.
    #[serde(default)]
    pub rows: Extent,
    /// PostgreSQL: capture also what a subscription applies (`ENABLE ALWAYS`).
    #[serde(default)]
    pub always: bool,
    /// `log`: from how many MiB of log that the server keeps for this reader on an alarm is raised.
    #[serde(default = "alarm_mebibytes")]
    pub alarm_mebibytes: u32,
    /// The environment of the changes; left out, `default`, and for a variant in `envs` its own.
    pub env: Option<String>,
}

/// Where changes are captured.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum CaptureFrom {
    /// In the transaction that makes them.
    #[default]
    Outbox,
    /// In the write-ahead log.
    Log,
}

/// How much of what changes is captured.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// What some trigger can want.
    #[default]
    Wanted,
    /// All of it.
    All,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            from: CaptureFrom::Outbox,
            outbox: outbox(),
            columns: Extent::Wanted,
            rows: Extent::Wanted,
            always: false,
            alarm_mebibytes: alarm_mebibytes(),
            env: None,
        }
    }
}

fn alarm_mebibytes() -> u32 {
    1024
}

/// The outbox's name where none is set.
const OUTBOX: &str = "triggerd_outbox";

fn outbox() -> String {
    OUTBOX.to_owned()
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
    /// The outbox's name.
    #[must_use]
    pub fn outbox(&self) -> &str {
        self.capture.as_ref().map_or(OUTBOX, |capture| &capture.outbox)
    }

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
        let mut mistakes = sql::url_mistakes(url);
        let from = settings.pointer("/capture/from").and_then(Value::as_str);
        if from == Some("log") && !url.starts_with("postgres") && !url.contains("{{") && !url.is_empty() {
            mistakes.push(Mistake::new("/capture/from", "`log` is for PostgreSQL; leave it out for `outbox`"));
        }
        mistakes
    },
    raw: &[],
    hidden: false,
    own_routes: false,
    of_one_env: None,
    made: None,
    connect: |connections, settings| {
        Box::pin(async move {
            let database: Database = serde_json::from_value(settings).map_err(|e| e.to_string())?;
            crate::databases::check(connections, &database).await
        })
    },
};
