//! The real binary as a process of its own: started, killed, started again on the same data directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::api::Api;
use super::ports::free_port;
use super::store;
use super::wait::PATIENCE;

/// The operator's key of every server that tests start.
pub const ADMIN_KEY: &str = "an-admin-key-for-tests-0123456789abcdef";

/// How a server is started.
pub struct Settings {
    variables: Vec<(String, String)>,
    /// The largest file that the server may write, in blocks of 512 bytes.
    pub largest_file: Option<u64>,
    is_embedded: bool,
    /// Of the process, as they are.
    environment: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { variables: Vec::new(), largest_file: None, is_embedded: false, environment: Vec::new() }
            .set("ENVIRONMENT", "development")
            .set("LOG_LEVEL", "info")
    }
}

impl Settings {
    /// Sets `TRIGGERD_<name>`.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        let name = format!("TRIGGERD_{name}");
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Sets a variable of the process that is none of triggerd's.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// On the embedded store, whichever the others use: for what only it promises, or a key in a file.
    #[must_use]
    pub fn embedded(mut self) -> Self {
        self.is_embedded = true;
        self
    }

    fn has(&self, name: &str) -> bool {
        self.variables.iter().any(|(known, _)| *known == format!("TRIGGERD_{name}"))
    }

    /// One of several nodes that share a database.
    #[must_use]
    pub fn node_of(mut self, url: &str) -> Self {
        self.variables.extend(store::settings_of(url));
        self.set("MASTER_KEY", store::MASTER_KEY)
    }
}

/// The binary that is tested: of this build, or the one that `TRIGGERD_TEST_BINARY` names.
fn binary() -> String {
    std::env::var("TRIGGERD_TEST_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_triggerd").to_owned())
}

/// A server. Dropping it ends its process and, in a failing test, prints the end of its log.
pub struct Server {
    settings: Settings,
    dir: tempfile::TempDir,
    address: SocketAddr,
    process: Option<Process>,
}

/// A running process on a leash: should this process die without dropping it, the leash ends it.
struct Process {
    child: Child,
    leash: Child,
}

impl Server {
    /// A server with the default settings, ready.
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    /// A server, ready.
    pub fn with(settings: Settings) -> Self {
        let mut server = Self::prepare(settings);
        server.up();
        server
    }

    /// A server that is still to be started.
    pub fn prepare(settings: Settings) -> Self {
        let dir = tempfile::Builder::new().prefix("triggerd-it-").tempdir().expect("a temporary directory can be made");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut settings = settings;
        if store::is_postgres() && !settings.is_embedded && !settings.has("STORE_URL") {
            settings.variables.extend(store::settings());
        }
        Self { settings, dir, address, process: None }
    }

    /// Starts the process and waits until it is ready.
    pub fn up(&mut self) {
        self.spawn();
        let began = Instant::now();
        while !is_ready(self.address) {
            if let Some(status) = self.process.as_mut().and_then(|p| p.child.try_wait().ok().flatten()) {
                panic!("the server ended with {status} instead of getting ready:\n{}", self.log_tail(40));
            }
            assert!(began.elapsed() < PATIENCE, "the server does not get ready:\n{}", self.log_tail(40));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        self.process = Some(Process::start(self.command(), self.dir.path()));
    }

    fn command(&self) -> Command {
        let binary = binary();
        let mut command = match self.settings.largest_file {
            None => Command::new(&binary),
            Some(blocks) => {
                // Ignored, the signal stays ignored in the server: a write over the limit fails with EFBIG there.
                let mut shell = Command::new("sh");
                shell.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &blocks.to_string(), &binary]);
                shell
            }
        };
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("the log can be opened");
        let errors = log.try_clone().expect("a file can be cloned");
        command.arg("serve").current_dir(self.dir.path()).env_clear().stdin(Stdio::null()).stdout(log).stderr(errors);
        for name in ["PATH", "HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        // A proxy that nobody listens on: every outgoing call fails if one of them asks the environment.
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, "http://127.0.0.1:1");
        }
        command
            .env("TRIGGERD_LISTEN", self.address.to_string())
            .env("TRIGGERD_DATA_DIR", self.data_dir())
            .env("TRIGGERD_ADMIN_KEY", ADMIN_KEY)
            .envs(self.settings.variables.iter().map(|(name, value)| (name, value)))
            .envs(self.settings.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Ends the process at once, as a crash does.
    pub fn kill(&mut self) {
        self.process.take().expect("the server runs").end();
    }

    /// Asks the process to stop, and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("the server runs");
        signal("TERM", process.child.id());
        let status = self.wait_for_exit();
        self.process = None;
        status
    }

    /// Waits until the process has ended by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            let process = self.process.as_mut().expect("the server was started");
            if let Some(status) = process.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the server does not end:\n{}", self.log_tail(40));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The end of this process's life and the next one's beginning, by a crash.
    pub fn crash_and_restart(&mut self) {
        self.kill();
        self.up();
    }

    /// Sets `TRIGGERD_<name>` from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings = std::mem::take(&mut self.settings).set(name, value);
    }

    /// Lets files grow again, from the next start on.
    pub fn remove_file_limit(&mut self) {
        self.settings.largest_file = None;
    }

    /// A client with the operator's key.
    pub fn api(&self) -> Api {
        Api::new(&self.url(), Some(ADMIN_KEY))
    }

    /// Its address as a URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The database of its store, where that is PostgreSQL.
    pub fn store_url(&self) -> Option<&str> {
        let found = self.settings.variables.iter().find(|(name, _)| name == "TRIGGERD_STORE_URL");
        found.map(|(_, url)| url.as_str())
    }

    /// Its process, while it runs.
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("the server runs").child.id()
    }

    /// Where it keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// All that it has logged, over all its lives.
    pub fn log(&self) -> String {
        read_lossy(&self.log_path())
    }

    /// The last `lines` of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end();
        }
        if std::thread::panicking() {
            eprintln!("--- the end of the server's log ---\n{}\n---", self.log_tail(40));
        }
    }
}

impl Process {
    fn start(mut command: Command, dir: &Path) -> Self {
        let child = command.spawn().expect("the server can be started");
        // The leash reads from a pipe that nobody writes to: it reads on when this process is gone.
        let script = "read -r _; kill -9 \"$0\" 2>/dev/null; rm -rf \"$1\"";
        let leash = Command::new("sh")
            .args(["-c", script, &child.id().to_string()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        Self { child, leash }
    }

    fn end(mut self) {
        // The leash first: its process id is this child's only until it was waited for.
        let _ = self.leash.kill();
        let _ = self.leash.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.leash.kill();
        let _ = self.leash.wait();
    }
}

/// Sends a signal to a process of ours.
pub fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(sent.expect("kill can be started").success(), "process {process} cannot be sent {name}");
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn read_lossy(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
