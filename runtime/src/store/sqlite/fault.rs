//! What SQLite's complaints mean to the store's callers.

use sqlx::error::DatabaseError as _;
use sqlx::sqlite::SqliteError;

use crate::store::Error;

/// The primary result codes that say something of one statement; all others say something of the disk or the file.
const CONSTRAINT: i64 = 19;
const CONSTRAINT_PRIMARY_KEY: i64 = 1555;
const CONSTRAINT_UNIQUE: i64 = 2067;
const CORRUPT: i64 = 11;
const NOT_A_DATABASE: i64 = 26;
/// Extended codes of a sync that failed: what was written before it may or may not be on the disk.
const IOERR_FSYNC: i64 = 1034;
const IOERR_DIR_FSYNC: i64 = 1290;

/// What SQLite complained of to sqlx.
pub(in crate::store) fn of(fault: &SqliteError) -> Error {
    of_code(fault.code().and_then(|code| code.parse().ok()), fault)
}

fn of_code(code: Option<i64>, fault: &dyn std::fmt::Display) -> Error {
    match code.map(|c| c & 0xff) {
        _ if matches!(code, Some(CONSTRAINT_UNIQUE | CONSTRAINT_PRIMARY_KEY)) => {
            Error::Conflict(format!("it exists already: {fault}"))
        }
        Some(CONSTRAINT) => Error::Conflict(format!("the store refused a row: {fault}")),
        Some(CORRUPT | NOT_A_DATABASE) => Error::Damaged(format!("database file: {fault}; restore it from a backup")),
        _ => Error::Unavailable(fault.to_string()),
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::FromSqlConversionFailure(column, _, source) => {
                Self::Damaged(format!("column {column}: {source}"))
            }
            rusqlite::Error::InvalidColumnType(column, name, found) => {
                Self::Damaged(format!("column {column} ({name}) holds a {found}"))
            }
            _ => of_code(error.code(), &error),
        }
    }
}

/// An error that may be SQLite's.
pub(super) trait Fault {
    /// The extended result code.
    fn code(&self) -> Option<i64>;
}

impl Fault for sqlx::Error {
    fn code(&self) -> Option<i64> {
        self.as_database_error()?.code()?.parse().ok()
    }
}

impl Fault for rusqlite::Error {
    fn code(&self) -> Option<i64> {
        Some(self.sqlite_error()?.extended_code.into())
    }
}

/// Whether one row is at fault, not the disk: its neighbours can be kept without it.
pub(super) fn is_of_one_row(error: &impl Fault) -> bool {
    error.code().is_some_and(|c| c & 0xff == CONSTRAINT)
}

/// Whether a sync failed: nothing that is written afterwards can be trusted to be on the disk.
pub(super) fn is_failed_sync(error: &impl Fault) -> bool {
    matches!(error.code(), Some(IOERR_FSYNC | IOERR_DIR_FSYNC))
}
