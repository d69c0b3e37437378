//! PostgreSQL: being told of notifications, on a connection of its own.

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use super::Fault;
use super::tunnel::Tunnel;

/// Hears a channel. Dropping it closes the connection.
pub struct Listener {
    listener: PgListener,
    _tunnel: Tunnel,
}

impl Listener {
    pub(super) async fn open(options: PgConnectOptions, tunnel: Tunnel, channel: &str) -> Result<Self, Fault> {
        // The client listens on connections of its pools alone; this one has a single connection, as the tunnel has.
        let pool = PgPoolOptions::new().max_connections(1).min_connections(0).connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.ignore_pool_close_event(true);
        listener.listen(channel).await?;
        Ok(Self { listener, _tunnel: tunnel })
    }

    /// Waits for a notification. An error means that the connection is gone.
    pub async fn heard(&mut self) -> Result<(), Fault> {
        match self.listener.try_recv().await? {
            Some(_) => Ok(()),
            None => Err(Fault::unavailable("the connection that listens was closed")),
        }
    }
}
