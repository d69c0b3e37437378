//! Which store the servers of this run use: SQLite in their data directories, or with `TRIGGERD_TEST_STORE=postgres` a database for
//! each of them on one PostgreSQL server.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::server::Server;
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

/// What a server has kept, straight from its store: the API counts for a moment only, and a long run leaves much to be counted.
pub enum Kept {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Kept {
    pub async fn of(server: &Server) -> Self {
        match server.store_url() {
            Some(url) => Self::Postgres(PgConnection::connect(url).await.expect("the database answers")),
            None => {
                let file = SqliteConnectOptions::new().filename(server.data_dir().join("triggerd.db")).read_only(true);
                Self::Sqlite(file.connect().await.expect("the store can be read"))
            }
        }
    }

    /// How many events there are from a source.
    pub async fn count(&mut self, source: &str) -> u64 {
        let count: Result<i64, sqlx::Error> = match self {
            Self::Sqlite(store) => {
                let sql = "SELECT count(*) FROM events WHERE source = $1";
                sqlx::query_scalar(sql).bind(source).fetch_one(store).await
            }
            Self::Postgres(store) => {
                let sql = "SELECT count(*) FROM triggerd.events WHERE source = $1";
                sqlx::query_scalar(sql).bind(source).fetch_one(store).await
            }
        };
        count.expect("the store can be read").unsigned_abs()
    }

    /// The `id` and `version` of the records of a source's events, in the order in which they were accepted.
    pub async fn versions(&mut self, source: &str) -> Vec<(i64, i64)> {
        let rows = match self {
            Self::Sqlite(store) => {
                let sql = "SELECT json_extract(body, '$.record.id'), json_extract(body, '$.record.version') \
                           FROM events WHERE source = $1 ORDER BY seq";
                sqlx::query_as(sql).bind(source).fetch_all(store).await
            }
            Self::Postgres(store) => {
                let sql = "SELECT (body::json #>> '{record,id}')::bigint, (body::json #>> '{record,version}')::bigint \
                           FROM triggerd.events WHERE source = $1 ORDER BY seq";
                sqlx::query_as(sql).bind(source).fetch_all(store).await
            }
        };
        rows.expect("the store can be read")
    }
}
