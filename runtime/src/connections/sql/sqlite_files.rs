//! Which files may be opened as databases: those below the directories that the operator names.

use std::path::{Component, Path, PathBuf};

use super::Fault;

/// The directories that SQLite files may lie in.
#[derive(Clone, Default, Debug)]
pub struct SqliteFiles {
    allowed: Vec<PathBuf>,
    /// Made when it is first needed.
    own: Option<PathBuf>,
    /// triggerd's own files: never a tenant's database.
    forbidden: Option<PathBuf>,
}

impl SqliteFiles {
    /// The named directories; not set, the `databases` folder of the data directory in development, else none.
    #[must_use]
    pub fn of(dirs: Option<&[PathBuf]>, data_dir: &Path, development: bool) -> Self {
        let own = (dirs.is_none() && development).then(|| data_dir.join("databases"));
        let allowed = dirs.map(<[PathBuf]>::to_vec).or_else(|| own.clone().map(|own| vec![own])).unwrap_or_default();
        Self { allowed, own, forbidden: Some(data_dir.to_owned()) }
    }

    /// The file that `written` names, if it may be opened. A relative name is below the first directory.
    pub(super) fn find(&self, written: &str) -> Result<PathBuf, Fault> {
        let denied = |why: &str| Fault::permanent("DB_DENIED", format!("the file cannot be opened: {why}"));
        let Some(first) = self.allowed.first() else {
            return Err(denied("the operator names no directory for SQLite files (`databases.sqlite_dirs`)"));
        };
        if let Some(own) = &self.own {
            std::fs::create_dir_all(own).map_err(|error| Fault::unavailable(format!("{}: {error}", own.display())))?;
        }
        if Path::new(written).components().any(|part| part == Component::ParentDir) {
            return Err(denied("its path holds `..`"));
        }
        let path = first.join(written);
        let outside = || denied("it is not below a directory of `databases.sqlite_dirs`");
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(outside()) };
        // The directory as it is on the disk, links followed; and the file too, where there is one.
        let parent = parent.canonicalize().map_err(|_| outside())?;
        let path = parent.join(name);
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        let dirs: Vec<PathBuf> = self.allowed.iter().filter_map(|dir| dir.canonicalize().ok()).collect();
        let below = dirs.iter().any(|dir| real.starts_with(dir) && real != *dir);
        if !below || path.is_symlink() || self.is_own(&real) {
            return Err(outside());
        }
        Ok(real)
    }

    fn is_own(&self, real: &Path) -> bool {
        let Some(data) = self.forbidden.as_ref().and_then(|dir| dir.canonicalize().ok()) else { return false };
        real.starts_with(&data) && !real.starts_with(data.join("databases"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_files_below_the_named_directories_are_opened() {
        let data = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let files = SqliteFiles::of(None, data.path(), true);
        assert!(files.find("a.db").unwrap().ends_with("databases/a.db"));
        std::os::unix::fs::symlink(other.path().join("x.db"), data.path().join("databases/link.db")).unwrap();
        std::os::unix::fs::symlink(other.path(), data.path().join("databases/dir")).unwrap();
        for bad in ["../triggerd.db", "/etc/passwd", "link.db", "dir/x.db", "", ".", "missing/x.db"] {
            assert_eq!(files.find(bad).unwrap_err().code, "DB_DENIED", "{bad}");
        }
        let named = SqliteFiles::of(Some(&[data.path().to_owned()]), data.path(), false);
        assert!(named.find("triggerd.db").is_err(), "triggerd's own files are nobody's database");
        assert!(SqliteFiles::of(None, data.path(), false).find("a.db").is_err(), "none in production");
    }
}
