//! A connection that is made anew when it is lost.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::connect;
use crate::store::Error;

/// How long after a failure no new try is made: callers are told at once instead.
const PAUSE: Duration = Duration::from_millis(200);

/// A session of the server. Its process' number may be used again, but not with the same beginning.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pid: i32,
    began: String,
}

impl Session {
    async fn of(conn: &mut PgConnection) -> Result<Self, Error> {
        let sql = "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        let (pid, began) = sqlx::query_as(sql).fetch_one(conn).await?;
        Ok(Self { pid, began })
    }

    /// Ends the session, so that nothing comes of what it was doing; whether it is gone.
    pub(super) async fn end(&self, conn: &mut PgConnection) -> Result<bool, Error> {
        let there = "FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2";
        for (n, what) in ["pg_terminate_backend(pid)", "true"].into_iter().enumerate() {
            let sql = sqlx::AssertSqlSafe(format!("SELECT {what} {there}"));
            let found: Option<bool> =
                sqlx::query_scalar(sql).bind(self.pid).bind(&self.began).fetch_optional(&mut *conn).await?;
            if found.is_none() {
                return Ok(true);
            }
            if n == 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(false)
    }
}

/// A connection that is made anew when it is lost.
pub(super) struct Link {
    options: PgConnectOptions,
    conn: Option<PgConnection>,
    session: Option<Session>,
    failed: Option<(Instant, Error)>,
}

impl Link {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, conn: None, session: None, failed: None }
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
                Ok(mut conn) => {
                    self.session = Some(Session::of(&mut conn).await?);
                    (self.conn, self.failed) = (Some(conn), None);
                }
                Err(why) => {
                    self.failed = Some((Instant::now(), why.clone()));
                    return Err(why);
                }
            }
        }
        self.conn.as_mut().ok_or_else(|| Error::Unavailable("the connection is gone".to_owned()))
    }

    /// Lets go of a connection that is of no use any more; the session that it was, which may still be at work.
    pub(super) fn cut(&mut self) -> Option<Session> {
        // Not closed in good order: the other side may not answer.
        self.conn = None;
        self.session.take()
    }

    /// Closes the connection in good order.
    pub(super) async fn close(self) {
        if let Some(conn) = self.conn {
            // What could be said of a failure is said where the connection is used.
            let _ = tokio::time::timeout(Duration::from_secs(1), sqlx::Connection::close(conn)).await;
        }
    }
}
