//! Which store the servers of this run use: SQLite in their data directories, or with `TRIGGERD_TEST_STORE=postgres` a database for
//! each of them on one PostgreSQL server.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::sql_server::Database;

/// The master key of every server on PostgreSQL: base64 of 32 bytes.
pub const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

static SERVER: OnceLock<Database> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Whether the servers of this run share a PostgreSQL server.
pub fn is_postgres() -> bool {
    match std::env::var("TRIGGERD_TEST_STORE").as_deref() {
        Err(_) | Ok("sqlite") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("TRIGGERD_TEST_STORE is `sqlite` or `postgres`, not `{other}`"),
    }
}

/// What a server is set to, for a database of its own.
pub fn settings() -> Vec<(String, String)> {
    settings_of(&fresh())
}

/// What each of several servers is set to that share a database.
pub fn settings_of(url: &str) -> Vec<(String, String)> {
    // The tests' database servers do not sync.
    [("STORE_URL", url), ("STORE_ALLOW_DEGRADED", "true"), ("STORE_CONNECTIONS", "6")]
        .map(|(name, value)| (format!("TRIGGERD_{name}"), value.to_owned()))
        .to_vec()
}

/// An empty database on this process' PostgreSQL server.
pub fn fresh() -> String {
    let server = SERVER.get_or_init(|| apart(async { Database::postgres().await.leashed() }));
    let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    apart(server.run(&format!("CREATE DATABASE {name}")));
    server.url().replace("/postgres", &format!("/{name}"))
}

/// Waits for something on a thread of its own: the caller's may be one that must not wait.
fn apart<T: Send>(what: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
            runtime.block_on(what)
        });
        thread.join().expect("the database server works")
    })
}
