//! PgBouncer in front of a test's PostgreSQL server: few connections to it, shared by whoever has a transaction going on.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::ports::free_port;
use super::sql_server::{Database, PASSWORD};
use super::wait::eventually;

/// A running pooler in transaction mode. Dropping it ends it.
pub struct PgBouncer {
    child: Child,
    port: u16,
    database: String,
    _dir: tempfile::TempDir,
}

impl PgBouncer {
    /// Starts one with so many connections to the server.
    pub async fn start(server: &Database, database: &str, connections: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let port = free_port();
        let logins = dir.path().join("logins");
        let config = dir.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n{database} = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             max_prepared_statements = 500\nignore_startup_parameters = options\ndefault_pool_size = {connections}\n\
             max_client_conn = 500\n",
            server.port,
            logins.display(),
        );
        for (path, text) in [(&logins, format!("\"owner\" \"{PASSWORD}\"\n")), (&config, settings)] {
            std::fs::write(path, text).expect("a file can be written");
            readable(path);
        }
        readable(dir.path());
        let mut command = Command::new(program());
        // As root it does not run.
        command.args(["-q", "-u", "nobody"]).arg(&config);
        let log = std::fs::File::create(dir.path().join("log")).expect("a file can be made");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.unwrap_or_else(|e| panic!("{command:?}: {e}; `cargo xtask test` makes it"));
        let pooler = Self { child, port, database: database.to_owned(), _dir: dir };
        eventually(|| async {
            let options: PgConnectOptions = pooler.url().parse().map_err(|error: sqlx::Error| error.to_string())?;
            let connected = options.extra_float_digits(None).connect().await;
            let connection = connected.map_err(|error| error.to_string())?;
            connection.close().await.map_err(|error| error.to_string())
        })
        .await;
        pooler
    }

    /// The database, through it.
    pub fn url(&self) -> String {
        format!("postgres://owner:{PASSWORD}@127.0.0.1:{}/{}", self.port, self.database)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.toolchain/pgbouncer/pgbouncer")
}

/// By whomever it is run as: what is in it is no secret.
fn readable(path: &Path) {
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its owner may do that");
}
