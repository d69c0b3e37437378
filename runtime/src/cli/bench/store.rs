//! Where the server under load keeps its events: SQLite, a PostgreSQL server that is named, or one that is started for the
//! measure.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::{Connection as _, PgConnection};

/// What `--store` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The embedded store.
    Sqlite,
    /// A PostgreSQL server that is started for the measure, from the binaries of this machine.
    Postgres,
    /// The PostgreSQL server of this URL.
    At(String),
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" => Ok(Self::Postgres),
            url if url.starts_with("postgres://") || url.starts_with("postgresql://") => Ok(Self::At(url.to_owned())),
            _ => Err("`sqlite`, `postgres`, or a `postgres://` URL".to_owned()),
        }
    }
}

/// The store that is used, for as long as this lives.
pub enum Used {
    /// The embedded one.
    Sqlite,
    /// A server somewhere.
    At(String),
    /// A server of the measure's own.
    Own(Postgres),
}

impl Used {
    /// Starts what has to be started; its data goes into `dir`.
    pub async fn start(kind: &Kind, dir: &Path) -> anyhow::Result<Self> {
        Ok(match kind {
            Kind::Sqlite => Self::Sqlite,
            Kind::At(url) => Self::At(url.clone()),
            Kind::Postgres => Self::Own(Postgres::start(dir).await?),
        })
    }

    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        if matches!(self, Self::Sqlite) { "sqlite" } else { "postgres" }
    }

    /// The URL of the PostgreSQL server.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Sqlite => None,
            Self::At(url) => Some(url),
            Self::Own(server) => Some(&server.url),
        }
    }
}

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// What differs from the server's own settings: memory for two cores with some to spare, checkpoints not in every run. What makes
/// commits last is left as it is: on.
const SETTINGS: [&str; 4] = ["shared_buffers=512MB", "max_wal_size=8GB", "max_connections=100", "wal_level=logical"];

/// A PostgreSQL server with an empty data directory; killed, and its data removed, when dropped.
pub struct Postgres {
    child: Child,
    dir: PathBuf,
    url: String,
}

impl Postgres {
    async fn start(dir: &Path) -> anyhow::Result<Self> {
        let binaries =
            binaries().context("no `initdb` on this machine: install PostgreSQL, or name a server with --store URL")?;
        let dir = dir.join(format!("triggerd-bench-postgres-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let user = unprivileged(&dir)?;
        let data = dir.join("data");
        let mut initdb = Command::new(binaries.join("initdb"));
        initdb.arg("-D").arg(&data).args(["-A", "trust", "-U", "postgres", "--encoding=UTF8", "--locale=C"]);
        let made = user.runs(&mut initdb).stdout(Stdio::null()).status().context("initdb cannot be started")?;
        if !made.success() {
            bail!("initdb failed: {made}");
        }
        let port = {
            let probe = std::net::TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
            probe.local_addr()?.port()
        };
        let log = std::fs::File::create(dir.join("log")).context("cannot make the server's log")?;
        let mut command = Command::new(binaries.join("postgres"));
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", dir.display()));
        SETTINGS.iter().for_each(|setting| {
            command.args(["-c", setting]);
        });
        let child =
            user.runs(&mut command).stdout(Stdio::null()).stderr(log).spawn().context("postgres cannot be started")?;
        let server = Self { child, dir, url: format!("postgres://postgres@127.0.0.1:{port}/postgres") };
        let began = Instant::now();
        while PgConnection::connect(&server.url).await.is_err() {
            if began.elapsed() > PATIENCE {
                bail!("PostgreSQL was not ready within {PATIENCE:?}: see {}", server.dir.join("log").display());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(server)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // What is left of either is told of by nothing that matters: the measure is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Where PostgreSQL's programs are: the newest version's, where Debian keeps several.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    found.sort();
    let debian = found.into_iter().rev().map(|(_, path)| path);
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian
        .chain(std::env::split_paths(&path))
        .find(|dir| dir.join("initdb").is_file() && dir.join("postgres").is_file())
}

/// Who runs the server: it refuses to be run by root.
struct User(Option<(u32, u32)>);

impl User {
    #[cfg(unix)]
    fn runs<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        use std::os::unix::process::CommandExt as _;
        match self.0 {
            Some((uid, gid)) => command.uid(uid).gid(gid).current_dir("/"),
            None => command,
        }
    }

    #[cfg(not(unix))]
    fn runs<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
    }
}

/// This user; where that is root, the user `postgres` or `nobody`, to whom `dir` is given.
#[cfg(unix)]
fn unprivileged(dir: &Path) -> anyhow::Result<User> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    if std::fs::metadata(dir)?.uid() != 0 {
        return Ok(User(None));
    }
    let users = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2);
        Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
    };
    let (uid, gid) = ids("postgres")
        .or_else(|| ids("nobody"))
        .context("PostgreSQL does not run as root, and there is no other user")?;
    chown(dir, Some(uid), Some(gid)).with_context(|| format!("cannot give {} away", dir.display()))?;
    Ok(User(Some((uid, gid))))
}

#[cfg(not(unix))]
fn unprivileged(_: &Path) -> anyhow::Result<User> {
    Ok(User(None))
}
