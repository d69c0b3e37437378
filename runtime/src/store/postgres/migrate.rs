//! Brings the database's schema up to this binary's.

use sqlx::Connection as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;

use super::connect::SCHEMA;
use crate::store::Error;
use crate::store::fault::of_migration;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// The first version that has what is used here (partition pruning of updates, `gen_random_uuid`, `ALTER … ATTACH` without long
/// locks).
const OLDEST_SERVER: i32 = 140_000;

/// The advisory lock under which one node migrates.
const LOCK: i64 = 0x7472_6967_6765_7264;

/// Runs what is missing, one node at a time. Refuses a schema that a newer binary left.
pub(super) async fn run(conn: &mut PgConnection) -> Result<(), Error> {
    let version: i32 =
        sqlx::query_scalar("SELECT current_setting('server_version_num')::int").fetch_one(&mut *conn).await?;
    if version < OLDEST_SERVER {
        return Err(Error::Conflict(format!("the server is PostgreSQL {}: 14 or newer is needed", version / 10_000)));
    }
    // The transaction's lock, not the session's: behind a pooler the next statement may be another session's.
    let mut transaction = conn.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    migrate(&mut transaction).await?;
    Ok(transaction.commit().await?)
}

async fn migrate(conn: &mut PgConnection) -> Result<(), Error> {
    let is_there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
        .bind(SCHEMA)
        .fetch_one(&mut *conn)
        .await?;
    if !is_there {
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {SCHEMA}"))).execute(&mut *conn).await?;
    }
    let in_it: Option<String> = sqlx::query_scalar("SELECT current_schema()::text").fetch_one(&mut *conn).await?;
    if in_it.as_deref() != Some(SCHEMA) {
        return Err(Error::Conflict(format!(
            "the connection's search_path does not begin with `{SCHEMA}`, as behind a pooler that drops start-up parameters: run \
             ALTER ROLE … SET search_path = {SCHEMA}"
        )));
    }
    let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrator.set_locking(false);
    migrator.run_direct(None, conn, false).await.map_err(|error| of_migration("database", error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// `migrate!` does not notice new files by itself: an embedded list that lags behind the folder must not pass.
    #[test]
    fn every_migration_of_the_folder_is_embedded() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/postgres");
        let files = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files, MIGRATIONS.iter().count(), "touch runtime/src/store/postgres/migrate.rs and build again");
    }
}
