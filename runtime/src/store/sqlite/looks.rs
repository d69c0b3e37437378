//! Connections for looks that step through many rows: on a blocking thread, without sqlx handing each row from thread to thread.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::open::closed;
use crate::store::Error;

/// How many look at once; others wait.
const AT_ONCE: usize = 4;
/// Statements that each connection keeps prepared.
const STATEMENTS: usize = 64;

/// Connections that can only read. Made when they are first needed.
pub(super) struct Looks {
    path: Arc<Path>,
    places: Semaphore,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Looks {
    pub(super) fn new(path: Arc<Path>) -> Self {
        Self { path, places: Semaphore::new(AT_ONCE), idle: Arc::default() }
    }

    /// Looks with one of them, in one snapshot of the database.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _place = self.places.acquire().await.map_err(|_| closed())?;
        let (path, idle) = (self.path.clone(), self.idle.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let free = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = match free {
                Some(conn) => conn,
                None => open(&path)?,
            };
            conn.execute_batch("BEGIN")?;
            let found = look(&conn);
            conn.execute_batch("COMMIT")?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            found
        });
        looked.await.map_err(|error| Error::Unavailable(format!("a look into the store broke off: {error}")))?
    }

    /// Lets nobody look any more, waits for those who do, and closes the connections.
    pub(super) async fn close(&self) {
        let _all = self.places.acquire_many(AT_ONCE as u32).await;
        self.places.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn open(path: &Path) -> Result<Connection, Error> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.execute_batch(
        "PRAGMA query_only = 1; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -4096; PRAGMA mmap_size = 0; \
         PRAGMA temp_store = memory;",
    )?;
    Ok(conn)
}
