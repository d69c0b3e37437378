//! What clients were told, safe on disk: the measure of what may not be lost.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;

/// The ids of all acknowledged events.
pub struct Ledger {
    file: Mutex<File>,
    path: tempfile::TempPath,
}

impl Ledger {
    pub fn new() -> Self {
        let (file, path) = tempfile::NamedTempFile::new().unwrap().into_parts();
        Self { file: Mutex::new(file), path }
    }

    /// Adds ids; they count once this has returned.
    pub fn write(&self, ids: &[&str]) {
        let mut file = self.file.lock().unwrap();
        for id in ids {
            writeln!(file, "{id}").unwrap();
        }
        file.sync_data().unwrap();
    }

    /// All that was ever added.
    pub fn acknowledged(&self) -> BTreeSet<String> {
        std::fs::read_to_string(&self.path).unwrap().lines().map(str::to_owned).collect()
    }
}
