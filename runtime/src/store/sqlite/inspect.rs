//! A look at a store that no server is using: what `triggerd doctor` tells.

use std::path::Path;

use sqlx::{ConnectOptions as _, Connection as _};

use super::open;
use crate::store::{Error, lock};

/// What was found.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Inspection {
    /// A server holds the directory: nothing else was looked at.
    pub in_use: bool,
    /// Of the SQLite library.
    pub sqlite_version: String,
    /// Bytes of the database file.
    pub size: u64,
    /// What the integrity check complains of; empty where all is well.
    pub problems: Vec<String>,
}

/// Looks at the store in `data_dir`, under its lock, without changing it. A directory without a store has no problems.
pub async fn inspect(data_dir: &Path) -> Result<Inspection, Error> {
    let path = data_dir.join("triggerd.db");
    let unavailable = |error: std::io::Error| Error::Unavailable(format!("{}: {error}", path.display()));
    let size = match std::fs::metadata(&path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Inspection::default()),
        Err(error) => return Err(unavailable(error)),
    };
    let Ok(_held) = lock::take(data_dir).await else {
        return Ok(Inspection { in_use: true, size, ..Inspection::default() });
    };
    let mut conn = open::reading(&path).connect().await?;
    let sqlite_version = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut conn).await?;
    let lines: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(20)").fetch_all(&mut conn).await?;
    conn.close().await?;
    let problems = lines.into_iter().filter(|line| line != "ok").collect();
    Ok(Inspection { in_use: false, sqlite_version, size, problems })
}
