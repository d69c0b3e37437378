//! Connections by resource: at most so many at once, kept open for a while, never handed on once something went wrong.
//!
//! A [`Session`] has one connection to itself. It goes back only by [`Session::release`]; dropped anywhere else, also
//! because the attempt's time was over, the connection is closed, and the server undoes what was not committed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::link::{Stop, Tunneled};
use super::server::{Engine, Network, Server, Target, TlsMode};
use super::tunnel::{Sockets, Tunnel};
use super::{Arg, Column, Fault, Link, Listener, Rows, SqliteFiles};
use crate::egress::Egress;
use crate::resources::Identity;

/// The longest that opening a connection may take, with all that is said on it first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that nobody used for this long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// A resource that nobody used for this long has no connections.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Resources with open connections, over all tenants.
const MAX_OPEN: u64 = 4096;
/// What a server's own timeout may be late by before this side gives up.
const GRACE: Duration = Duration::from_millis(500);
/// How many steps of SQLite's machine lie between two looks at whether anybody still waits.
const STEPS: i32 = 10_000;

/// The connections of all resources. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    pub(super) egress: Egress,
    files: Arc<SqliteFiles>,
    sockets: Arc<Sockets>,
    open: moka::future::Cache<Identity, Arc<Entry>>,
}

/// One resource's connections.
struct Entry {
    places: Arc<Semaphore>,
    idle: Mutex<Vec<(Link, Instant)>>,
}

/// A connection of one's own, for a while.
pub struct Session {
    link: Link,
    entry: Option<Arc<Entry>>,
    /// It has been used before: what is wrong with it may be its age.
    reused: bool,
    timeout: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

impl Pool {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(egress: Egress, files: SqliteFiles) -> Self {
        let open = moka::future::Cache::builder().max_capacity(MAX_OPEN).time_to_idle(FORGOTTEN).build();
        Self { egress, files: Arc::new(files), sockets: Arc::default(), open }
    }

    /// A session with a transaction begun by `begin`. A connection that broke while nobody used it is replaced.
    pub async fn begin(&self, identity: &Identity, server: &Server, begin: &'static str) -> Result<Session, Fault> {
        loop {
            let mut session = self.session(identity, server).await?;
            match session.control(begin).await {
                Ok(()) => return Ok(session),
                Err(fault) if session.reused && fault.gone => session.forget_idle(),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// A session, once there is room for it.
    pub async fn session(&self, identity: &Identity, server: &Server) -> Result<Session, Fault> {
        let made = async {
            let places = Arc::new(Semaphore::new(server.max_connections));
            Arc::new(Entry { places, idle: Mutex::default() })
        };
        let entry = self.open.get_with_by_ref(identity, made).await;
        let waited = tokio::time::timeout(server.statement_timeout, entry.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = waited else {
            return Err(Fault::unavailable(format!("all {} connections are in use", server.max_connections)));
        };
        let kept = {
            let mut idle = entry.idle.lock();
            idle.retain(|(_, since)| since.elapsed() < IDLE);
            idle.pop()
        };
        let reused = kept.is_some();
        let link = match kept {
            Some((link, _)) => link,
            None => Box::pin(self.connect(server)).await?,
        };
        Ok(Session { link, entry: Some(entry), reused, timeout: server.statement_timeout, _place: Some(place) })
    }

    /// A session outside of the pool, for a look at the server.
    pub async fn single(&self, server: &Server) -> Result<Session, Fault> {
        let link = self.connect(server).await?;
        Ok(Session { link, entry: None, reused: false, timeout: server.statement_timeout, _place: None })
    }

    async fn connect(&self, server: &Server) -> Result<Link, Fault> {
        let target = Target::of(&server.url).map_err(|detail| Fault::permanent("DB_REFUSED", detail))?;
        let connecting = async {
            match &target {
                Target::File(file) => self.connect_file(file, server).await,
                Target::Network(network) => self.connect_network(network, server).await,
            }
        };
        let timed_out = |_| Fault::unavailable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()));
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(timed_out)?
    }

    /// PostgreSQL: hears a channel, on a connection of its own.
    pub async fn listen(&self, server: &Server, channel: &str) -> Result<Listener, Fault> {
        let target = Target::of(&server.url).map_err(|detail| Fault::permanent("DB_REFUSED", detail))?;
        let Target::Network(network) = &target else {
            return Err(Fault::permanent("DB_REFUSED", "a file notifies nobody"));
        };
        let listening = async {
            let tunnel = self.tunnel(network).await?;
            let options = postgres_options(network, server, &tunnel);
            Listener::open(options, tunnel, channel).await
        };
        let timed_out = |_| Fault::unavailable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()));
        tokio::time::timeout(CONNECT_TIMEOUT, listening).await.map_err(timed_out)?
    }

    /// A connection that the guard opened.
    async fn tunnel(&self, network: &Network) -> Result<Tunnel, Fault> {
        let remote = self.egress.connect_tcp(&network.host, network.port).await?;
        self.sockets.open(remote).map_err(|error| Fault::unavailable(format!("a tunnel: {error}")))
    }

    async fn connect_network(&self, network: &Network, server: &Server) -> Result<Link, Fault> {
        let tunnel = self.tunnel(network).await?;
        if network.engine == Engine::Postgres {
            let options = postgres_options(network, server, &tunnel);
            let connection = options.connect().await?;
            let mut link = Link::Postgres(Box::new(connection), Tunneled { _tunnel: tunnel });
            link.control(AssertSqlSafe(postgres_session(server))).await?;
            return Ok(link);
        }
        let tls = network.tls(server.tls);
        let ca = server.ca.as_ref().map(|pem| pem.clone().into_bytes());
        let mut options = MySqlConnectOptions::new()
            .host(&network.host)
            .socket(tunnel.path())
            .username(&network.user)
            .database(&network.database)
            .ssl_mode(match tls {
                TlsMode::Disable => MySqlSslMode::Disabled,
                TlsMode::Require => MySqlSslMode::Required,
                TlsMode::VerifyFull => MySqlSslMode::VerifyIdentity,
            });
        if let Some(password) = &network.password {
            options = options.password(password);
        }
        if let Some(pem) = ca {
            options = options.ssl_ca_from_pem(pem);
        }
        let connected = options.disable_statement_logging().connect().await;
        let mut connection = connected.map_err(|error| match error {
            // The one thing that this client is not configured for: the password under the server's RSA key.
            sqlx::Error::Configuration(_) if tls == TlsMode::Disable => Fault::permanent(
                "DB_REFUSED",
                "the server takes this role's password (caching_sha2_password) over TLS only; set `tls`",
            ),
            error => error.into(),
        })?;
        let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&mut connection).await?;
        let mariadb = version.contains("MariaDB");
        let mut link = Link::Mysql(Box::new(connection), mariadb, Tunneled { _tunnel: tunnel });
        link.control(AssertSqlSafe(mysql_session(server, mariadb))).await?;
        Ok(link)
    }

    async fn connect_file(&self, file: &str, server: &Server) -> Result<Link, Fault> {
        let path = self.files.find(file)?;
        let options =
            SqliteConnectOptions::new().filename(path).create_if_missing(true).busy_timeout(server.statement_timeout);
        let mut connection = options.disable_statement_logging().connect().await?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let goes_on = move || !asked.load(std::sync::atomic::Ordering::Relaxed);
        connection.lock_handle().await?.set_progress_handler(STEPS, goes_on);
        Ok(Link::Sqlite(Stop(stop), Box::new(connection)))
    }
}

impl Session {
    /// The engine.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.link.engine()
    }

    /// Whether it is MariaDB.
    #[must_use]
    pub fn is_mariadb(&self) -> bool {
        self.link.is_mariadb()
    }

    /// Whether it has been used before, so that what is wrong with it may be its age.
    #[must_use]
    pub fn was_used(&self) -> bool {
        self.reused
    }

    /// Closes it and its neighbours that nobody uses: they are as old.
    pub fn forget_idle(self) {
        self.entry.iter().for_each(|entry| entry.idle.lock().clear());
    }

    /// Runs statements of this program's own, without values.
    pub async fn control(&mut self, sql: &'static str) -> Result<(), Fault> {
        within(self.timeout, self.link.control(sql)).await
    }

    /// Runs statements of this program's own that were made of names in the catalog, without values.
    pub async fn ddl(&mut self, sql: &str) -> Result<(), Fault> {
        within(self.timeout, self.link.control(AssertSqlSafe(sql))).await
    }

    /// Runs one statement to its end; its first rows, at most `keep` and about as many as a few MiB hold, but one at
    /// least, however large it is.
    pub async fn batch(&mut self, sql: &str, args: &[Arg], keep: usize) -> Result<Rows, Fault> {
        within(self.timeout, self.link.batch(sql, args, keep)).await
    }

    /// Runs one statement; how many rows it changed.
    pub async fn execute(&mut self, sql: &str, args: &[Arg]) -> Result<u64, Fault> {
        within(self.timeout, self.link.execute(sql, args)).await
    }

    /// Like [`execute`](Self::execute), for MySQL with the number that it gave the row.
    pub async fn insert(&mut self, sql: &str, args: &[Arg]) -> Result<(u64, u64), Fault> {
        within(self.timeout, self.link.insert(sql, args)).await
    }

    /// Runs one statement to its end; the first `keep` rows. Servers must answer with texts.
    pub async fn rows(&mut self, sql: &str, args: &[Arg], keep: usize) -> Result<Rows, Fault> {
        within(self.timeout, self.link.rows(sql, args, keep)).await
    }

    /// The columns of a statement's answer, without running it.
    pub async fn columns(&mut self, sql: &str) -> Result<Vec<Column>, Fault> {
        within(self.timeout, self.link.columns(sql)).await
    }

    /// PostgreSQL: the types that a statement takes its values for, without running it; elsewhere none.
    pub async fn parameters(&mut self, sql: &str) -> Result<Vec<String>, Fault> {
        within(self.timeout, self.link.parameters(sql)).await
    }

    /// Gives the connection back, with no transaction open on it.
    pub fn release(self) {
        let Self { link, entry, .. } = self;
        if let Some(entry) = entry {
            entry.idle.lock().push((link, Instant::now()));
        }
    }

    /// Undoes the transaction and gives the connection back; one that does not answer is closed.
    pub async fn roll_back(mut self) {
        if self.control("ROLLBACK").await.is_ok() {
            self.release();
        }
    }

    /// Says goodbye, where the other side still listens.
    pub async fn close(self) {
        let closing = async {
            match self.link {
                Link::Postgres(connection, _tunnel) => (*connection).close().await,
                Link::Mysql(connection, _, _tunnel) => (*connection).close().await,
                Link::Sqlite(_stop, connection) => (*connection).close().await,
            }
        };
        // A server that does not take it is left alone.
        let _ = tokio::time::timeout(GRACE, closing).await;
    }
}

/// What `asked` answers, if it does within the statement timeout. The server's own comes first where it has one.
async fn within<T>(limit: Duration, asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Fault> {
    match tokio::time::timeout(limit + GRACE, asked).await {
        Ok(answer) => answer.map_err(Fault::from),
        Err(_) => Err(Fault::unavailable(format!("no answer within {} ms (`statementTimeout`)", limit.as_millis()))),
    }
}

/// How PostgreSQL is spoken to through a tunnel.
fn postgres_options(network: &Network, server: &Server, tunnel: &Tunnel) -> PgConnectOptions {
    let (dir, number) = tunnel.dir_and_number();
    let options = PgConnectOptions::new_without_pgpass()
        .host(&network.host)
        .socket(dir)
        .port(number)
        .username(&network.user)
        // An empty one rather than none: none would be looked for in this process's environment.
        .password(network.password.as_deref().unwrap_or_default())
        .database(&network.database)
        .application_name("triggerd")
        .ssl_mode(match network.tls(server.tls) {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
        })
        .disable_statement_logging();
    match &server.ca {
        Some(pem) => options.ssl_root_cert_from_pem(pem.clone().into_bytes()),
        None => options,
    }
}

/// What is agreed on with PostgreSQL before anything else.
fn postgres_session(server: &Server) -> String {
    let ms = server.statement_timeout.as_millis();
    format!(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; SET statement_timeout = {ms}; SET lock_timeout = {ms}; SET idle_in_transaction_session_timeout = {}; \
         SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET intervalstyle = 'iso_8601'; \
         SET standard_conforming_strings = on",
        ms + 10_000
    )
}

/// What is agreed on with MySQL or MariaDB before anything else: values that do not fit are errors, instants are UTC.
fn mysql_session(server: &Server, mariadb: bool) -> String {
    let seconds = server.statement_timeout.as_millis().div_ceil(1000).max(1);
    let limit = if mariadb {
        format!("max_statement_time = {:.3}", server.statement_timeout.as_secs_f64())
    } else {
        // MySQL bounds only SELECT; a write is bounded by its locks, and by this side's patience.
        format!("max_execution_time = {}", server.statement_timeout.as_millis())
    };
    format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', \
         time_zone = '+00:00', innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}, {limit}"
    )
}
