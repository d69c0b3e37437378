//! Servers that are processes: each with a directory of its own, ended with all that it started.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long a server may take to start. Long, since machines are slow at times.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Process {
    child: Child,
    dir: TempDir,
}

impl Process {
    /// Starts what `command` makes for a fresh directory, and waits until `port` takes connections.
    pub async fn start(port: u16, command: impl FnOnce(&Path) -> Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Self { child: spawn(dir.path(), command(dir.path())), dir };
        process.until_listening(port).await;
        process
    }

    /// Kills it, and starts it again with what it has left in its directory.
    pub async fn kill_and_restart(&mut self, port: u16, command: impl FnOnce(&Path) -> Command) {
        self.kill();
        self.child = spawn(self.dir.path(), command(self.dir.path()));
        self.until_listening(port).await;
    }

    fn kill(&mut self) {
        // SAFETY: kill(2) touches no memory; the group is the child's, which has not been waited for.
        unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
        let _ = self.child.wait();
    }

    async fn until_listening(&mut self, port: u16) {
        let ready = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("the server ended at once: {status}\n{}", self.log());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, ready).await.is_err() {
            panic!("nothing listens on {port}:\n{}", self.log());
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(dir: &Path, mut command: Command) -> Child {
    let log = std::fs::File::create(dir.join("server.log")).unwrap();
    // A group of its own, so that what it starts can be ended with it.
    command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let spawned = command.spawn();
    spawned.unwrap_or_else(|error| panic!("{command:?} cannot be started ({error}); `cargo xtask test` installs it"))
}
