//! What SQLite's complaints mean to the store's callers.

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::sqlite::SqliteError;

use crate::store::Error;

/// The primary result codes that say something of one statement; all others say something of the disk or the file.
const CONSTRAINT: i64 = 19;
const CORRUPT: i64 = 11;
const NOT_A_DATABASE: i64 = 26;
/// Extended codes of a sync that failed: what was written before it may or may not be on the disk.
const IOERR_FSYNC: i64 = 1034;
const IOERR_DIR_FSYNC: i64 = 1290;

/// What SQLite complained of.
pub(in crate::store) fn of(fault: &SqliteError) -> Error {
    match code_of(fault).map(|c| c & 0xff) {
        _ if fault.kind() == ErrorKind::UniqueViolation => Error::Conflict(format!("it exists already: {fault}")),
        Some(CONSTRAINT) => Error::Conflict(format!("the store refused a row: {fault}")),
        Some(CORRUPT | NOT_A_DATABASE) => Error::Damaged(format!("database file: {fault}; restore it from a backup")),
        _ => Error::Unavailable(fault.to_string()),
    }
}

fn code_of(fault: &dyn DatabaseError) -> Option<i64> {
    fault.code()?.parse().ok()
}

/// The extended result code.
fn code(error: &sqlx::Error) -> Option<i64> {
    code_of(error.as_database_error()?)
}

/// Whether one row is at fault, not the disk: its neighbours can be kept without it.
pub(super) fn is_of_one_row(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|c| c & 0xff == CONSTRAINT)
}

/// Whether a sync failed: nothing that is written afterwards can be trusted to be on the disk.
pub(super) fn is_failed_sync(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(IOERR_FSYNC | IOERR_DIR_FSYNC))
}
