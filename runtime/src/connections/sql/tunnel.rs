//! A connection that the guard opened, handed to the SQL client as a private Unix socket.
//!
//! The client resolves names by itself and connects wherever they lead. Given a Unix socket it does neither, and
//! still checks the certificate for the host's real name. Each tunnel carries one connection; its socket lies in a
//! directory that only this user may enter and is removed as soon as the client is through.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::copy;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;

/// Where tunnels' sockets are made. The directory goes with it.
#[derive(Default)]
pub(super) struct Sockets {
    dir: OnceLock<Dir>,
    next: AtomicU16,
}

struct Dir(PathBuf);

/// One carried connection; dropping it closes both ends.
pub(super) struct Tunnel {
    path: PathBuf,
    number: u16,
    relay: JoinHandle<()>,
}

impl Sockets {
    /// Waits for one client on a socket of its own and carries what it says to `remote`.
    pub(super) fn open(&self, remote: TcpStream) -> io::Result<Tunnel> {
        let dir = self.dir()?;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(file_name(number));
            let listener = match UnixListener::bind(&path) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                bound => bound?,
            };
            let relay = tokio::spawn(carry(listener, path.clone(), remote));
            return Ok(Tunnel { path, number, relay });
        }
    }

    fn dir(&self) -> io::Result<&Path> {
        if let Some(dir) = self.dir.get() {
            return Ok(&dir.0);
        }
        let name = format!("triggerd-{}-{:016x}", std::process::id(), rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        // Fails where it exists, whoever made it.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let made = Dir(path);
        // Where two came at once, the other one's is used and this one removed.
        Ok(&self.dir.get_or_init(move || made).0)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Tunnel {
    /// The socket's path, as the MySQL client wants it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket's directory and number, which the PostgreSQL client makes the path of.
    pub(super) fn dir_and_number(&self) -> (&Path, u16) {
        (self.path.parent().unwrap_or(Path::new("/")), self.number)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.relay.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

fn file_name(number: u16) -> String {
    format!(".s.PGSQL.{number}")
}

async fn carry(listener: UnixListener, path: PathBuf, mut remote: TcpStream) {
    let Ok((mut local, _)) = listener.accept().await else { return };
    drop(listener);
    let _ = std::fs::remove_file(path);
    let (mut from_local, mut to_local) = local.split();
    let (mut from_remote, mut to_remote) = remote.split();
    // When either side is done, both are: half-open connections have no use here and would stay for ever.
    tokio::select! {
        _ = copy(&mut from_local, &mut to_remote) => {}
        _ = copy(&mut from_remote, &mut to_local) => {}
    }
}
