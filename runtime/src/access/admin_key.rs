//! The operator's key: from the configuration, else from the data directory, else made there.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::config::{Config, Secret};

use super::key::NewKey;

/// The file in the data directory.
pub const FILE: &str = "admin.key";

/// The operator's key.
#[derive(Debug)]
pub struct AdminKey {
    /// The key itself.
    pub key: Secret,
    /// Set where it was made just now: to be shown once.
    pub made_in: Option<PathBuf>,
}

impl AdminKey {
    /// Shows a key that was made just now, this one time; on standard error, so that it is in no log.
    pub fn announce(&self) {
        if let Some(path) = &self.made_in {
            eprintln!("admin key: {} (shown once, kept in {})", self.key.expose(), path.display());
        }
    }
}

/// Finds the key, or makes one that only the owner of the process can read.
pub fn load_or_make(config: &Config) -> io::Result<AdminKey> {
    if let Some(key) = &config.access.admin_key {
        return Ok(AdminKey { key: key.clone(), made_in: None });
    }
    let path = config.data_dir().join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is empty; remove it to have a new key made", path.display()),
        )),
        Ok(text) => Ok(AdminKey { key: Secret::new(text.trim()), made_in: None }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = NewKey::generate().key;
            write_private(&path, &key)?;
            Ok(AdminKey { key: Secret::new(key), made_in: Some(path) })
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

/// Writes a new file that nobody else can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let draft = path.with_extension("key.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.data_dir = dir.path().join("data");
        let first = load_or_make(&config).unwrap();
        let path = first.made_in.unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let second = load_or_make(&config).unwrap();
        assert!(second.made_in.is_none() && second.key == first.key);
        std::fs::write(&path, "\n").unwrap();
        assert!(load_or_make(&config).is_err(), "an empty key would let everybody in");
    }

    #[test]
    fn the_configured_key_wins_and_no_file_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.data_dir = dir.path().to_owned();
        config.access.admin_key = Some(Secret::new("from-the-environment"));
        assert_eq!(load_or_make(&config).unwrap().key.expose(), "from-the-environment");
        assert!(!dir.path().join(FILE).exists());
    }
}
