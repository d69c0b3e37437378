//! Clients that actions share, one per system: pooled, guarded, made anew when their settings change.

pub mod folders;
pub mod memory;
pub mod redis;
pub mod s3;
pub mod smtp;
pub mod sql;

use std::path::PathBuf;

use crate::egress::Egress;

/// All clients. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    /// The guard that they all go through.
    pub egress: Egress,
    /// Redis servers.
    pub redis: redis::Pool,
    /// Mail servers.
    pub smtp: smtp::Pool,
    /// SQL servers and files.
    pub sql: sql::Pool,
    /// Caches in this process.
    pub memory: memory::Caches,
    /// S3 buckets.
    pub s3: s3::Pool,
    /// Folders of this machine.
    pub folders: folders::Folders,
}

impl Connections {
    /// None is opened before it is needed.
    #[must_use]
    pub fn new(egress: Egress, storage_dir: PathBuf) -> Self {
        Self {
            redis: redis::Pool::new(egress.clone()),
            smtp: smtp::Pool::new(egress.clone()),
            sql: sql::Pool::new(egress.clone(), sql::SqliteFiles::default()),
            memory: memory::Caches::default(),
            s3: s3::Pool::new(egress.clone()),
            folders: folders::Folders::new(storage_dir),
            egress,
        }
    }

    /// With the files that may be opened as SQLite databases.
    #[must_use]
    pub fn with_sqlite_files(self, files: sql::SqliteFiles) -> Self {
        Self { sql: sql::Pool::new(self.egress.clone(), files), ..self }
    }
}
