//! A connection that is made anew when it is lost.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::connect;
use crate::store::Error;

/// How long after a failure no new try is made: callers are told at once instead.
const PAUSE: Duration = Duration::from_millis(200);

/// A connection that is made anew when it is lost.
pub(super) struct Link {
    options: PgConnectOptions,
    conn: Option<PgConnection>,
    failed: Option<(Instant, Error)>,
}

impl Link {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, conn: None, failed: None }
    }

    /// The connection. Where it cannot be made, the reason; also where it could not a moment ago.
    pub(super) async fn get(&mut self) -> Result<&mut PgConnection, Error> {
        if self.conn.is_none() {
            if let Some((at, why)) = &self.failed
                && at.elapsed() < PAUSE
            {
                return Err(why.clone());
            }
            match connect::one(&self.options).await {
                Ok(conn) => (self.conn, self.failed) = (Some(conn), None),
                Err(why) => {
                    self.failed = Some((Instant::now(), why.clone()));
                    return Err(why);
                }
            }
        }
        self.conn.as_mut().ok_or_else(|| Error::Unavailable("the connection is gone".to_owned()))
    }

    /// Lets go of a connection that is of no use any more.
    pub(super) fn cut(&mut self) {
        // Not closed in good order: the other side may not answer.
        self.conn = None;
    }

    /// Closes the connection in good order.
    pub(super) async fn close(self) {
        if let Some(conn) = self.conn {
            // What could be said of a failure is said where the connection is used.
            let _ = tokio::time::timeout(Duration::from_secs(1), sqlx::Connection::close(conn)).await;
        }
    }
}
