//! Redis: a server or a cluster, one multiplexed connection per resource, through the guard, dropped when it breaks.

mod connection;
mod error;
mod keys;
mod server;

use std::time::Duration;

use redis::RedisError;

pub use connection::Connection;
pub use error::Error;
pub use keys::unlink_matching;
pub use server::{Server, address_mistakes};

use self::error::classify;
use crate::egress::Egress;
use crate::resources::Identity;

/// Connections that nobody used for this long are closed.
const IDLE: Duration = Duration::from_secs(600);
/// Resources with an open connection, over all tenants.
const MAX_OPEN: u64 = 4096;

/// Open connections by resource. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    egress: Egress,
    open: moka::future::Cache<Identity, Connection>,
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
        let connecting = self.open.try_get_with_by_ref(identity, Connection::open(&self.egress, server)).await;
        let connection = connecting.map_err(|error| Error::clone(&error))?;
        let answer = command(connection).await;
        if let Err(error) = &answer
            && error.is_unrecoverable_error()
        {
            // The next command opens another one.
            self.open.invalidate(identity).await;
        }
        answer.map_err(|error| classify(&error))
    }

    /// Connects and asks for a sign of life: what was found, or what is wrong.
    pub async fn check(&self, server: &Server) -> Result<String, String> {
        let mut connection = Connection::open(&self.egress, server).await.map_err(|error| error.to_string())?;
        connection.sign_of_life().await
    }
}
