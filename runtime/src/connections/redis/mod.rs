//! Redis: a server or a cluster, one multiplexed connection per resource, through the guard.
//!
//! It is replaced once it breaks, and once a command on it was given up: the network may have lost it without a word,
//! and the commands after that one would wait for answers too.

mod connection;
mod error;
mod keys;
mod server;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::RedisError;

pub use connection::Connection;
pub use error::Error;
pub use keys::unlink_matching;
pub use server::{Server, address_mistakes};

use self::error::classify;
use crate::egress::{self, Egress};
use crate::resources::Identity;

/// Connections that nobody used for this long are closed.
const IDLE: Duration = Duration::from_secs(600);
/// Resources with an open connection, over all tenants.
const MAX_OPEN: u64 = 4096;

/// Open connections by resource. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    egress: Egress,
    open: moka::future::Cache<Identity, Arc<Open>>,
}

/// A connection that commands share, until it is not to be used for others. The cache may hold on to it for a while
/// after that, so that it is taken out of here.
struct Open(Mutex<Option<Connection>>);

/// A command whose answer is waited for; given up where this is dropped before it came.
struct Waiting<'a> {
    open: &'a Open,
    is_answered: bool,
}

impl Pool {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        let open = moka::future::Cache::builder().max_capacity(MAX_OPEN).time_to_idle(IDLE).build();
        Self { egress, open }
    }

    /// Runs `command` on the resource's connection, which is opened where it is not.
    pub async fn run<T, F>(&self, identity: &Identity, server: &Server, command: F) -> Result<T, Error>
    where
        F: AsyncFnOnce(Connection) -> Result<T, RedisError>,
    {
        let (open, connection) = self.connection(identity, server).await?;
        let mut waiting = Waiting { open: &open, is_answered: false };
        let answer = command(connection).await;
        waiting.is_answered =
            answer.as_ref().err().is_none_or(|error| !error.is_unrecoverable_error() && !error.is_timeout());
        answer.map_err(|error| classify(&error))
    }

    async fn connection(&self, identity: &Identity, server: &Server) -> Result<(Arc<Open>, Connection), Error> {
        if let Some(known) = self.open.get(identity).await {
            if let Some(connection) = known.connection() {
                return Ok((known, connection));
            }
            // At worst somebody has put a new one there meanwhile, which ends with its commands.
            self.open.invalidate(identity).await;
        }
        // Boxed, so that commands on a connection that is there do not carry what opening one takes.
        let connecting = async { Box::pin(Connection::open(&self.egress, server)).await.map(Open::new) };
        let connecting = Box::pin(self.open.try_get_with_by_ref(identity, connecting)).await;
        let open = connecting.map_err(|error| Error::clone(&error))?;
        // A command that came first may have been given up already.
        let connection = open.connection().ok_or(egress::Error::Reset)?;
        Ok((open, connection))
    }

    /// Connects and asks for a sign of life: what was found, or what is wrong.
    pub async fn check(&self, server: &Server) -> Result<String, String> {
        let mut connection = Connection::open(&self.egress, server).await.map_err(|error| error.to_string())?;
        connection.sign_of_life().await
    }
}

impl Open {
    fn new(connection: Connection) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(connection))))
    }

    fn connection(&self) -> Option<Connection> {
        self.0.lock().clone()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            *self.open.0.lock() = None;
        }
    }
}
