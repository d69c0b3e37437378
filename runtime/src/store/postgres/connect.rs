//! How the database is connected to.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};

use crate::store::Error;

/// The schema that everything is in.
pub(super) const SCHEMA: &str = "triggerd";

/// How long a connection may take to be made.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a read may wait for a connection: a database that is down is to be told of soon.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(2);

/// Statements of the hot path join a few rows to a table that may have any size, and whose statistics lag behind: only index
/// scans are right, and planning them anew each time is not worth it.
const HOT: [(&str, &str); 7] = [
    // Below what a writer waits for: what it gives up on has been given up by the server too.
    ("statement_timeout", "15s"),
    ("lock_timeout", "10s"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
];

/// The URL's options, in this store's schema.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, Error> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|e| Error::Conflict(format!("`store.url` (TRIGGERD_STORE_URL) is no PostgreSQL URL: {e}")))?;
    Ok(options
        .application_name("triggerd")
        .statement_cache_capacity(256)
        .extra_float_digits(None)
        .options([
            ("search_path", SCHEMA),
            ("timezone", "UTC"),
            ("client_min_messages", "warning"),
            ("jit", "off"),
            ("idle_in_transaction_session_timeout", "60s"),
            ("default_transaction_isolation", "read committed"),
            ("lock_timeout", "30s"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "20s"),
        ])
        .disable_statement_logging())
}

/// As [`options`], for the statements of the hot path.
pub(super) fn hot(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().options(HOT)
}

/// As [`options`], planned like the hot path, for reads and for what is seldom written.
pub(super) fn cold(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().options(HOT).options([("statement_timeout", "60s")])
}

/// The connections for reads and for what is seldom written.
pub(super) fn pool(options: PgConnectOptions, size: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .min_connections(0)
        .acquire_timeout(ACQUIRE_LIMIT)
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(Duration::from_secs(1800))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// One connection, made within [`CONNECT_LIMIT`].
pub(super) async fn one(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    match tokio::time::timeout(CONNECT_LIMIT, options.connect()).await {
        Ok(made) => Ok(made?),
        Err(_) => Err(Error::Unavailable(format!(
            "{}:{} does not answer within {} s",
            options.get_host(),
            options.get_port(),
            CONNECT_LIMIT.as_secs()
        ))),
    }
}
