//! The writer's connection without sqlx between: a statement is stepped on the thread that asks for it.
//!
//! sqlx runs a connection's statements on a thread of its own, and hands each result over: under load more was spent on waking than on
//! writing. The same connection (the same `sqlite3*`) is lent by sqlx for as long as its handle is locked.

use std::mem::ManuallyDrop;

use rusqlite::Connection;
use sqlx::sqlite::{LockedSqliteHandle, SqliteConnection};

use crate::store::Error;

/// Statements that are kept prepared.
const STATEMENTS: usize = 64;

/// The connection, to be used while sqlx has lent it.
pub(super) struct Raw {
    // Never dropped by itself: that ends statements, which is use of a connection that may not be lent, or may be closed.
    conn: ManuallyDrop<Connection>,
}

impl Raw {
    /// Another view of a connection, which must be [`Raw::end`]ed before that is closed.
    pub(super) async fn of(conn: &mut SqliteConnection) -> Result<Self, Error> {
        let mut lent = conn.lock_handle().await?;
        // SAFETY: the pointer is an open connection's, since sqlx lends it from one. It stays valid for as long as that is
        // open, and what is made of it here neither closes it nor uses it after: it is reached only through `lent` and `end`,
        // whose callers show that the connection is open and lent. While it is lent nobody else uses it, as SQLite's
        // mode without mutexes wants it (`LockedSqliteHandle`: "it is guaranteed that the background thread is not making
        // FFI calls on this database handle or any of its statements").
        let conn = unsafe { Connection::from_handle(lent.as_raw_handle().as_ptr()) }?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self { conn: ManuallyDrop::new(conn) })
    }

    /// The connection, for as long as it is lent.
    ///
    /// # Panics
    /// Where what is lent is another connection.
    pub(super) fn lent<'l>(&'l self, by: &'l mut LockedSqliteHandle<'_>) -> &'l Connection {
        // SAFETY: the pointer is compared, and not used.
        let own = unsafe { self.conn.handle() };
        assert!(own == by.as_raw_handle().as_ptr(), "a view is used with the connection that it was made of");
        &self.conn
    }

    /// Ends its statements, so that the connection can be closed.
    pub(super) fn end(mut self, by: &mut LockedSqliteHandle<'_>) {
        let _ = self.lent(by);
        // SAFETY: `self` is taken, so that this is the first and last time. The connection is open and lent, as `lent` has made sure.
        unsafe { ManuallyDrop::drop(&mut self.conn) }
    }
}
