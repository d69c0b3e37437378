//! Database servers of a test's own: PostgreSQL and MariaDB on free ports, in directories that go with them, and files.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, Row, SqliteConnection};
use tempfile::TempDir;

use super::free_port;

pub const PASSWORD: &str = "s3cret-password";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    Postgres,
    MariaDb,
    Sqlite,
}

/// A database with all rights, for the test itself, and its address for triggerd.
pub struct Database {
    pub engine: Engine,
    pub port: u16,
    dir: TempDir,
    child: Option<Child>,
    more: Vec<String>,
    /// Ends the server when this process is gone without having dropped it.
    leash: Option<Child>,
}

impl Database {
    /// SQLite's file is made by triggerd, in `databases` of this directory.
    pub fn file(data: &Path) -> Self {
        let dir = tempfile::tempdir_in(data).unwrap();
        Self { engine: Engine::Sqlite, port: 0, dir, child: None, more: Vec::new(), leash: None }
    }

    pub async fn postgres() -> Self {
        Self::postgres_in(tempfile::tempdir().unwrap(), &[]).await
    }

    /// Whose log can be read (`wal_level` `logical`); settings that are named again hold as they are named last.
    pub async fn postgres_with_log(settings: &[&str]) -> Self {
        let settings = ["wal_level=logical"].iter().chain(settings).map(|setting| (*setting).to_owned());
        Self::postgres_in(tempfile::tempdir().unwrap(), &settings.collect::<Vec<_>>()).await
    }

    /// For a server that is never dropped: it ends with this process.
    #[allow(dead_code, reason = "tests of the whole server use it")]
    pub fn leashed(mut self) -> Self {
        let child = self.child.as_ref().unwrap().id().to_string();
        // It reads from a pipe that nobody writes to: it reads on when this process is gone.
        let mut leash = Command::new("sh");
        leash
            .args(["-c", "read -r _; kill -QUIT \"$0\" 2>/dev/null; sleep 1; rm -rf \"$1\"", &child])
            .arg(self.dir.path());
        leash.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.leash = Some(leash.spawn().unwrap());
        self
    }

    /// Ends the server; the next start recovers it onto another timeline, as after a restore or a failover.
    pub fn stop_for_recovery(&mut self) {
        self.stop();
        let data = self.dir.path().join("data");
        std::fs::write(data.join("recovery.signal"), "").unwrap();
        give(&data);
        self.more.extend(["-c".to_owned(), "restore_command=false".to_owned()]);
    }

    /// How its clients log in: lines of `pg_hba.conf`, from the next start on.
    pub fn set_logins(&self, lines: &str) {
        std::fs::write(self.dir.path().join("data/pg_hba.conf"), lines).unwrap();
    }

    /// That speaks TLS, with this certificate and key.
    pub async fn postgres_with_tls(certificate: &str, key: &str) -> Self {
        Self::postgres_with_tls_and(certificate, key, &[]).await
    }

    pub async fn postgres_with_tls_and(certificate: &str, key: &str, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            path.display().to_string()
        };
        let (certificate, key) = (file("cert.pem", certificate), file("key.pem", key));
        let mut settings = vec!["ssl=on".to_owned()];
        settings.extend([format!("ssl_cert_file={certificate}"), format!("ssl_key_file={key}")]);
        settings.extend(more.iter().map(|setting| (*setting).to_owned()));
        Self::postgres_in(dir, &settings).await
    }

    async fn postgres_in(dir: TempDir, settings: &[String]) -> Self {
        let password = dir.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        give(dir.path());
        let mut init = as_server(&postgres_program("initdb"));
        init.args(["--no-sync", "--auth=scram-sha-256", "--username=owner", "--encoding=UTF8", "--locale=C"]);
        init.arg(format!("--pwfile={}", password.display())).arg("-D").arg(dir.path().join("data"));
        succeed(init);
        let more = settings.iter().flat_map(|setting| ["-c".to_owned(), setting.clone()]).collect();
        let mut database = Self { engine: Engine::Postgres, port: free_port(), dir, child: None, more, leash: None };
        database.start().await;
        database
    }

    /// A hot standby of this server, which has to be PostgreSQL.
    #[allow(dead_code, reason = "tests of the whole server use it")]
    pub async fn standby(&self) -> Self {
        let logins = "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n";
        self.set_logins(logins);
        self.run("SELECT pg_reload_conf()").await;
        let dir = tempfile::tempdir().unwrap();
        give(dir.path());
        let mut copy = as_server(&postgres_program("pg_basebackup"));
        copy.env("PGPASSWORD", PASSWORD).args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "owner"]);
        copy.args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf", "-D"]).arg(dir.path().join("data"));
        succeed(copy);
        let mut standby =
            Self { engine: self.engine, port: free_port(), dir, child: None, more: self.more.clone(), leash: None };
        standby.start().await;
        standby
    }

    /// Makes a standby a primary.
    #[allow(dead_code, reason = "tests of the whole server use it")]
    pub async fn promote(&mut self) {
        assert_eq!(self.text("pg_promote()", "").await.as_deref(), Some("true"));
    }

    pub async fn mariadb() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let grants = format!(
            "CREATE DATABASE shop CHARACTER SET utf8mb4;\nCREATE USER owner@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO owner@'%' WITH GRANT OPTION;\n"
        );
        std::fs::write(dir.path().join("init.sql"), grants).unwrap();
        // Servers that share a directory for temporary tables remove one another's.
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        give(dir.path());
        let mut init = as_server(Path::new("mariadb-install-db"));
        init.env("TMPDIR", dir.path().join("tmp"));
        init.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        init.arg(format!("--datadir={}", dir.path().join("data").display()));
        succeed(init);
        let more = vec![format!("--init-file={}", dir.path().join("init.sql").display())];
        let mut database = Self { engine: Engine::MariaDb, port: free_port(), dir, child: None, more, leash: None };
        database.start().await;
        // The next start finds what this one made.
        database.more.clear();
        database
    }

    /// Starts the server, and waits until it answers.
    pub async fn start(&mut self) {
        let data = self.dir.path().join("data");
        let mut command = match self.engine {
            Engine::Postgres => {
                let mut command = as_server(&postgres_program("postgres"));
                command.arg("-D").arg(&data).args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
                command.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=300"]);
                command
            }
            Engine::MariaDb => {
                let mut command = as_server(Path::new("mariadbd"));
                command.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
                command.arg(format!("--socket={}", self.dir.path().join("s.sock").display()));
                command.arg(format!("--port={}", self.port));
                command.arg(format!("--tmpdir={}", self.dir.path().join("tmp").display()));
                command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0"]);
                command
            }
            Engine::Sqlite => return,
        };
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        command.args(&self.more).stdout(Stdio::null()).stderr(log);
        self.child =
            Some(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}; `cargo xtask test` installs it")));
        let ready = async {
            while self.connect().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), ready).await.is_err() {
            panic!(
                "{:?} does not start: {}",
                self.engine,
                std::fs::read_to_string(self.dir.path().join("log")).unwrap()
            );
        }
    }

    /// Ends the server at once: what was committed stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // PostgreSQL's children end with their parent on SIGQUIT only; so does MariaDB, on anything.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let began = std::time::Instant::now();
            while child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends all processes of the server at once, as a loss of power does, but for what the system has of their writes.
    #[allow(dead_code, reason = "tests of the whole server use it")]
    pub fn kill(&mut self) {
        // Stopped first, it starts no others meanwhile.
        self.signal("STOP");
        let others = children(&self.child.as_ref().unwrap().id().to_string());
        self.signal("KILL");
        let mut child = self.child.take().unwrap();
        child.wait().unwrap();
        // The next start is refused while one of them still has the memory that they share.
        let began = std::time::Instant::now();
        while others.iter().any(|process| has_memory(process)) {
            assert!(began.elapsed() < Duration::from_secs(30), "a killed process of the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to all processes of the server, which has to be PostgreSQL.
    #[allow(dead_code, reason = "tests of the whole server use it")]
    pub fn signal(&self, name: &str) {
        let server = self.child.as_ref().unwrap().id().to_string();
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).args([server.clone()]);
        kill.args(children(&server)).stderr(Stdio::null());
        // One of them may end by itself just then.
        let _ = kill.status();
    }

    /// How large a file of the server may become, in bytes: of its present processes, and of those that it starts.
    #[allow(dead_code, reason = "tests of the whole server use it")]
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let server = self.child.as_ref().unwrap().id().to_string();
        for process in children(&server).into_iter().chain([server.clone()]) {
            // As the server's user: who is root may not have the right to do it to others. The soft limit alone, or nobody could
            // lift it again.
            let mut prlimit = as_server(Path::new("prlimit"));
            prlimit.args(["--pid", &process, &format!("--fsize={limit}:")]);
            // One of the others may end by itself just then.
            let limited = prlimit.stderr(Stdio::null()).status().unwrap().success();
            assert!(limited || process != server, "{prlimit:?}");
        }
    }

    /// Asks the server to end what is going on, and to stop; it must do so in time.
    pub fn stop_gently(&mut self, patience: Duration) {
        let mut child = self.child.take().unwrap();
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        let began = std::time::Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > patience {
                self.child = Some(child);
                self.stop();
                panic!("the server does not stop");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn url(&self) -> String {
        self.url_of("owner", PASSWORD)
    }

    pub fn url_of(&self, user: &str, password: &str) -> String {
        match self.engine {
            Engine::Postgres => format!("postgres://{user}:{password}@127.0.0.1:{}/postgres", self.port),
            Engine::MariaDb => format!("mariadb://{user}:{password}@127.0.0.1:{}/shop", self.port),
            Engine::Sqlite => format!("sqlite:{}", self.path().display()),
        }
    }

    /// The settings of a resource that is this database.
    pub fn settings(&self) -> Value {
        json!({ "url": self.url() })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("test.db")
    }

    pub async fn connect(&self) -> Result<Client, sqlx::Error> {
        Ok(match self.engine {
            Engine::Postgres => Client::Postgres(PgConnection::connect(&self.url()).await?),
            Engine::MariaDb => Client::MariaDb(MySqlConnection::connect(&self.url()).await?),
            Engine::Sqlite => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path()).create_if_missing(true);
                Client::Sqlite(SqliteConnection::connect_with(&options).await?)
            }
        })
    }

    /// Runs a statement in a transaction that stays open until it is dropped.
    pub async fn locked(&self, sql: &str) -> Client {
        let mut client = self.connect().await.unwrap();
        let begin = if self.engine == Engine::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        for sql in [begin, sql] {
            let sql = sqlx::raw_sql(AssertSqlSafe(sql));
            match &mut client {
                Client::Postgres(c) => drop(sql.execute(c).await.unwrap()),
                Client::MariaDb(c) => drop(sql.execute(c).await.unwrap()),
                Client::Sqlite(c) => drop(sql.execute(c).await.unwrap()),
            }
        }
        client
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self.connect().await.unwrap() {
            Client::Postgres(mut c) => drop(sql.execute(&mut c).await.unwrap()),
            Client::MariaDb(mut c) => drop(sql.execute(&mut c).await.unwrap()),
            Client::Sqlite(mut c) => drop(sql.execute(&mut c).await.unwrap()),
        }
    }

    /// The first cell of the first row, as text; `sql` is an expression and what follows `FROM`.
    pub async fn text(&self, expression: &str, rest: &str) -> Option<String> {
        let kind = if self.engine == Engine::MariaDb { "CHAR" } else { "TEXT" };
        let sql = format!("SELECT CAST({expression} AS {kind}) {rest}");
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        match self.connect().await.unwrap() {
            Client::Postgres(mut c) => query.fetch_optional(&mut c).await.unwrap().and_then(|row| row.get(0)),
            Client::MariaDb(mut c) => query.fetch_optional(&mut c).await.unwrap().and_then(|row| row.get(0)),
            Client::Sqlite(mut c) => query.fetch_optional(&mut c).await.unwrap().and_then(|row| row.get(0)),
        }
    }

    pub async fn count(&self, rest: &str) -> u64 {
        self.text("COUNT(*)", &format!("FROM {rest}")).await.unwrap().parse().unwrap()
    }
}

/// A connection of the test's.
pub enum Client {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
    Sqlite(SqliteConnection),
}

impl Client {
    /// Runs statements on this connection.
    #[allow(dead_code, reason = "tests of the whole server use it")]
    pub async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Postgres(c) => sql.execute(c).await.map(drop),
            Self::MariaDb(c) => sql.execute(c).await.map(drop),
            Self::Sqlite(c) => sql.execute(c).await.map(drop),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut leash) = self.leash.take() {
            let _ = leash.kill();
            let _ = leash.wait();
        }
        self.stop();
    }
}

/// Whether a process is there and has not ended: one that nobody has waited for has no memory any more.
fn has_memory(process: &str) -> bool {
    std::fs::read(format!("/proc/{process}/maps")).is_ok_and(|maps| !maps.is_empty())
}

/// The processes that a process has started.
fn children(parent: &str) -> Vec<String> {
    let parent_of = |process: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // Behind the name, which may have any characters: the state, and the parent.
        stat.rsplit(") ").next()?.split(' ').nth(1).map(str::to_owned)
    };
    let all =
        std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    all.filter(|process| parent_of(process).as_deref() == Some(parent)).collect()
}

/// Debian keeps the server's programs out of the path.
fn postgres_program(name: &str) -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        installed.map(|dir| dir.path().join("bin").join(name)).filter(|p| p.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| name.into())
}

fn is_root() -> bool {
    // SAFETY: it takes nothing and only reads this process's id.
    unsafe { libc::geteuid() == 0 }
}

/// Database servers do not run as root: as `nobody` then.
fn as_server(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
    command.current_dir("/");
    command
}

fn give(dir: &Path) {
    if is_root() {
        let mut chown = Command::new("chown");
        succeed({
            chown.args(["-R", "nobody:nogroup"]).arg(dir);
            chown
        });
    }
}

fn succeed(mut command: Command) {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; `cargo xtask test` installs it"));
    assert!(
        done.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}
