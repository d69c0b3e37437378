//! The data directory's lock: one process at a time, or what is in it would be written by two.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use crate::store::Error;

/// Network file systems: their locks do not hold, and WAL needs shared memory.
const NETWORK: [&str; 10] =
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs"];

/// Makes the directory where there is none, and takes its lock, which lasts until the file is dropped or the process
/// ends. A process that is just ending is waited for, for half a second.
pub async fn take(data_dir: &Path) -> Result<File, Error> {
    let name = data_dir.display();
    let unavailable = |e: std::io::Error| Error::Unavailable(format!("data directory {name}: {e}"));
    make_private(data_dir).map_err(unavailable)?;
    if let Some(kind) = file_system(data_dir).filter(|k| NETWORK.contains(&k.as_str())) {
        return Err(Error::Conflict(format!(
            "data directory {name} is on a network file system ({kind}), where locks do not hold: use a local disk"
        )));
    }
    let path = data_dir.join("lock");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(unavailable)?;
    for _ in 0..10 {
        match file.try_lock() {
            Ok(()) => {
                write_pid(&mut file).map_err(unavailable)?;
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(TryLockError::Error(e)) => return Err(unavailable(e)),
        }
    }
    let mut holder = String::new();
    // The number is for people; a lock without one is still a lock.
    let _ = file.read_to_string(&mut holder);
    let holder = match holder.trim() {
        "" => String::new(),
        pid => format!(" (process {pid})"),
    };
    Err(Error::Conflict(format!(
        "data directory {name} is in use by another triggerd{holder}: stop that one, or give this one another --data-dir"
    )))
}

/// Names the directory whose lock is held, among those of every machine that is running: whoever held it before under this name is
/// dead. `None` where the system does not tell.
#[must_use]
pub fn home(held: &File) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let file = held.metadata().ok()?;
    Some(format!("{}:{}:{}", boot.trim(), file.dev(), file.ino()))
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

#[cfg(unix)]
fn make_private(data_dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)
}

#[cfg(not(unix))]
fn make_private(data_dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(data_dir)
}

/// The type of the file system that holds `path`, where the system tells (Linux).
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
        })
        .filter(|(point, _)| path.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map(|(_, kind)| kind)
}
