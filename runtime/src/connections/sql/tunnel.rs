//! A connection that the guard opened, handed to the SQL client as a private Unix socket.
//!
//! The client resolves names by itself and connects wherever they lead. Given a Unix socket it does neither, and
//! still checks the certificate for the host's real name. Each tunnel carries one connection; its socket lies in a
//! directory that only this user may enter and is removed as soon as the client is through.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;
use tokio::io::copy;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;

/// Where tunnels' sockets are made. The directory goes with it.
#[derive(Default)]
pub(super) struct Sockets {
    dir: Mutex<Option<Dir>>,
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

    /// The directory, made where it is missing: those who clean temporary files may have taken it for left over.
    fn dir(&self) -> io::Result<PathBuf> {
        let mut dir = self.dir.lock();
        if let Some(dir) = dir.as_ref().filter(|dir| dir.is_ours()) {
            return Ok(dir.0.clone());
        }
        let name = format!("triggerd-{}-{:016x}", std::process::id(), rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        // Fails where it exists, whoever made it.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        *dir = Some(Dir(path.clone()));
        Ok(path)
    }
}

impl Dir {
    /// It is there, a directory, this user's, and closed to everybody else.
    fn is_ours(&self) -> bool {
        // SAFETY: it takes nothing and only reads this process's id.
        let own = unsafe { libc::geteuid() };
        std::fs::symlink_metadata(&self.0)
            .is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o077 == 0)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn said(sockets: &Sockets) -> (PathBuf, String) {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let remote = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = server.accept().await.unwrap();
        let tunnel = sockets.open(remote).unwrap();
        let mut near = tokio::net::UnixStream::connect(tunnel.path()).await.unwrap();
        near.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        far.read_exact(&mut heard).await.unwrap();
        let path = tunnel.path().to_owned();
        assert!(tokio::net::UnixStream::connect(&path).await.is_err(), "it carries one connection");
        drop(tunnel);
        assert_eq!(far.read(&mut heard).await.unwrap(), 0, "the far end is closed with it");
        (path, String::from_utf8(heard.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_tunnel_carries_one_connection_in_a_directory_of_its_own() {
        let sockets = Sockets::default();
        let (path, heard) = said(&sockets).await;
        let dir = path.parent().unwrap().to_owned();
        assert_eq!(heard, "hello");
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert!(!path.exists());
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(said(&sockets).await.1, "hello", "a directory that was cleaned away is made anew");
        let other = sockets.dir().unwrap();
        drop(sockets);
        assert!(!other.exists());
    }
}
