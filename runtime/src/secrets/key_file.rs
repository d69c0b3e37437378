//! The master key where the configuration brings none: a file in the data directory, and one more while it is being
//! replaced.
//!
//! Replacing it: the old key is written down as the previous one, then the new key takes its place in one step, and
//! only then is anything sealed with it. Whatever a crash leaves behind, every key that sealed something is there.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Error;

/// The file that holds the master key.
pub const KEY_FILE: &str = "master.key";
/// The file that holds the one before it, while it is being replaced.
pub const PREVIOUS_FILE: &str = "master.key.previous";

/// The key's text; made at the first start with mode 0600.
pub(super) fn load_or_make(dir: &Path) -> Result<String, Error> {
    if let Some(text) = read(&dir.join(KEY_FILE))? {
        return Ok(text);
    }
    std::fs::create_dir_all(dir).map_err(|e| failed(&dir.join(KEY_FILE), "cannot be made", &e))?;
    let text = fresh();
    write(dir, KEY_FILE, &text)?;
    Ok(text)
}

/// The previous key's text, where there is one.
pub(super) fn previous(dir: &Path) -> Result<Option<String>, Error> {
    read(&dir.join(PREVIOUS_FILE))
}

/// The key's text, where there is a file.
pub(super) fn existing(dir: &Path) -> Result<Option<String>, Error> {
    read(&dir.join(KEY_FILE))
}

/// Makes a new key; the one before it is the previous one from now on.
pub(super) fn replace(dir: &Path, before: &str) -> Result<String, Error> {
    write(dir, PREVIOUS_FILE, before)?;
    let text = fresh();
    write(dir, KEY_FILE, &text)?;
    Ok(text)
}

/// Forgets the previous key: nothing is sealed with it any more.
pub(super) fn forget_previous(dir: &Path) -> Result<(), Error> {
    let path = dir.join(PREVIOUS_FILE);
    match std::fs::remove_file(&path) {
        Ok(()) => sync(dir).map_err(|e| failed(&path, "cannot be removed", &e)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed(&path, "cannot be removed", &e)),
    }
}

fn fresh() -> String {
    STANDARD.encode(rand::random::<[u8; 32]>())
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(path, "cannot be read", &e)),
    }
}

/// All of it or nothing, on stable storage.
fn write(dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let (path, draft) = (dir.join(name), dir.join(format!("{name}.draft")));
    let written = || -> std::io::Result<()> {
        // A draft of a process that died has another mode, perhaps: made anew.
        match std::fs::remove_file(&draft) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        writeln!(file, "{}", text.trim())?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        sync(dir)
    };
    written().map_err(|e| failed(&path, "cannot be written", &e))
}

fn sync(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    Error::File(format!("{} {what}: {error}", path.display()))
}
