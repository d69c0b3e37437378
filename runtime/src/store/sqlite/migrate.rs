//! Brings the database file's schema up to this binary's.

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnection;

use crate::store::Error;
use crate::store::fault::of_migration;

/// Below this SQLite's WAL can be damaged when a checkpoint meets a write ("WAL reset").
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Runs what is missing, under the directory's lock. Refuses a schema that a newer binary left.
pub(super) async fn run(conn: &mut SqliteConnection) -> Result<(), Error> {
    check_version(conn).await?;
    MIGRATIONS.run_direct(None, conn, false).await.map_err(|error| of_migration("data directory", error))
}

async fn check_version(conn: &mut SqliteConnection) -> Result<(), Error> {
    let text: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(conn).await?;
    let parts: Vec<u32> = text.split('.').filter_map(|p| p.parse().ok()).collect();
    if parts.as_slice() < OLDEST_SQLITE.as_slice() {
        return Err(Error::Unavailable(format!(
            "SQLite {text} can damage its log; this build needs 3.51.3 or newer: rebuild with the bundled SQLite"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// `migrate!` does not notice new files by itself: an embedded list that lags behind the folder must not pass.
    #[test]
    fn every_migration_of_the_folder_is_embedded() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/sqlite");
        let files = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files, MIGRATIONS.iter().count(), "touch runtime/src/store/sqlite/migrate.rs and build again");
    }
}
