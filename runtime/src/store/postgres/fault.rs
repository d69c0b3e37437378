//! What PostgreSQL's complaints mean to the store's callers, by SQLSTATE.

use sqlx::postgres::PgDatabaseError;

use crate::store::Error;

/// Data that is damaged on the disk: data_corrupted, index_corrupted.
const CORRUPT: [&str; 2] = ["XX001", "XX002"];
/// Classes that say something of one statement's data: data exception, integrity constraint violation, program limit
/// exceeded (an index entry that is too large).
const OF_ONE_ROW: [&str; 3] = ["22", "23", "54"];

/// What PostgreSQL complained of.
pub(in crate::store) fn of(fault: &PgDatabaseError) -> Error {
    match fault.code() {
        "23505" => Error::Conflict(format!("it exists already: {}", fault.message())),
        code if OF_ONE_ROW.contains(&&code[..2]) => {
            Error::Conflict(format!("the store refused a row: {}", fault.message()))
        }
        code if CORRUPT.contains(&code) => {
            Error::Damaged(format!("database: {}; restore it from a backup", fault.message()))
        }
        _ => Error::Unavailable(format!("PostgreSQL: {}", fault.message())),
    }
}

/// Whether one row is at fault, not the server: its neighbours can be kept without it.
pub(super) fn is_of_one_row(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|fault| fault.code());
    code.is_some_and(|code| code.get(..2).is_some_and(|class| OF_ONE_ROW.contains(&class)))
}

/// Whether the connection is of no use any more; what was asked for last may have been done or not.
pub(super) fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(fault) => {
            // Class 57: the server is shutting down or was told to end this session. 25006: it became a standby.
            fault.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08") || code == "25006")
        }
        sqlx::Error::RowNotFound | sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnDecode { .. } => false,
        _ => true,
    }
}
