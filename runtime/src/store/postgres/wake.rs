//! How nodes wake each other: `NOTIFY` as a hint, with polling behind it.
//!
//! A notification takes a lock of the whole database while it commits, so that it is sent from a connection of its own, for many
//! causes at once. Whoever misses one finds the work by polling.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::link::Link;

/// The channel.
const CHANNEL: &str = "triggerd";
/// How long causes are gathered for one notification.
const GATHER: Duration = Duration::from_millis(20);
/// How long a node waits that hears nothing.
const POLL_DUE: Duration = Duration::from_secs(1);
const POLL_CHANGES: Duration = Duration::from_millis(400);
/// How long after the listener failed it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What a node wakes others for, and is woken for.
#[derive(Default)]
pub(super) struct Wake {
    due_here: Notify,
    changes_here: Notify,
    tell: Notify,
    tell_due: AtomicBool,
    tell_changes: AtomicBool,
}

impl Wake {
    /// Runs have been made due that any node may take.
    pub(super) fn due(&self) {
        self.tell_due.store(true, Ordering::Relaxed);
        self.tell.notify_one();
    }

    /// Definitions or the like were changed.
    pub(super) fn changed(&self) {
        self.tell_changes.store(true, Ordering::Relaxed);
        self.tell.notify_one();
    }

    /// Waits until runs may be due that another node left.
    pub(super) async fn wait_due(&self) {
        // Late is as good as never: the poll is the promise.
        let _ = tokio::time::timeout(POLL_DUE, self.due_here.notified()).await;
    }

    /// Waits until another node may have changed something.
    pub(super) async fn wait_changes(&self) {
        let _ = tokio::time::timeout(POLL_CHANGES, self.changes_here.notified()).await;
    }

    /// Sends notifications until `stop`.
    pub(super) async fn tell(self: Arc<Self>, options: PgConnectOptions, stop: CancellationToken) {
        let mut link = Link::new(options);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.tell.notified() => {}
            }
            tokio::time::sleep(GATHER).await;
            for (flag, payload) in [(&self.tell_due, "due"), (&self.tell_changes, "changes")] {
                if !flag.swap(false, Ordering::Relaxed) {
                    continue;
                }
                let Ok(conn) = link.get().await else { continue };
                let sent = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(payload).execute(conn).await;
                if let Err(error) = sent {
                    tracing::debug!(%error, "Other nodes were not woken: {error}");
                    drop(link.cut());
                }
            }
        }
        link.close().await;
    }

    /// Listens until `stop`.
    pub(super) async fn listen(self: Arc<Self>, options: PgConnectOptions, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                heard = self.hear(&options) => if let Err(error) = heard {
                    tracing::debug!(%error, "Not listening for other nodes, polling: {error}");
                },
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn hear(&self, options: &PgConnectOptions) -> Result<(), sqlx::Error> {
        let pool = PgPoolOptions::new().max_connections(1).min_connections(0).connect_lazy_with(options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        // What was told before this began to listen.
        self.due_here.notify_one();
        self.changes_here.notify_one();
        loop {
            match listener.recv().await?.payload() {
                "due" => self.due_here.notify_one(),
                "changes" => self.changes_here.notify_one(),
                // A newer node's: nothing that this one waits for.
                _ => {}
            }
        }
    }
}
