//! What the databases' complaints mean to the store's callers.

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use super::{Error, postgres, sqlite};

/// What became of a migration of what `place` names.
pub(super) fn of_migration(place: &str, error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => Error::Conflict(format!(
            "the {place} was written by a newer triggerd (migration {version} is unknown here): run that version or a newer one"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => Error::Unavailable(format!("migrating the store: {other}")),
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(fault) => {
                if let Some(fault) = fault.try_downcast_ref::<SqliteError>() {
                    sqlite::fault::of(fault)
                } else if let Some(fault) = fault.try_downcast_ref::<PgDatabaseError>() {
                    postgres::fault::of(fault)
                } else {
                    Self::Unavailable(fault.to_string())
                }
            }
            sqlx::Error::ColumnDecode { index, source } => Self::Damaged(format!("column {index}: {source}")),
            sqlx::Error::PoolTimedOut => Self::Unavailable("every connection for reading is busy".to_owned()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
