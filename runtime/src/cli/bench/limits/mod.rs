//! What this machine can do at most, measured beside the server in the same run: each a part of the work alone, without the
//! server around it. A machine that drifts moves both.

mod calls;
mod deliveries;
mod inserts;
mod requests;

use std::path::Path;
use std::time::Duration;

use super::receiver::Receiver;
use super::store::Used;

/// A raw limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Limit {
    /// Requests that axum answers a second, their JSON read and nothing done with it.
    Requests,
    /// Rows of the same bytes that the store's database commits a second, in groups.
    Inserts,
    /// Requests that hyper sends a second to the receiver.
    Deliveries,
    /// Calls of the small guest a second, each on a fresh instance.
    Calls,
}

/// What limits are measured with.
pub struct Bare<'b> {
    /// Where SQLite's file goes.
    pub dir: &'b Path,
    /// The store.
    pub store: &'b Used,
    /// Connections, as of the load.
    pub connections: usize,
    /// Events in a request, as of the load.
    pub batch: usize,
    /// How long each is measured.
    pub time: Duration,
}

impl Limit {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "axum_posts",
            Self::Inserts => "group_committed_inserts",
            Self::Deliveries => "hyper_posts",
            Self::Calls => "guest_calls",
        }
    }

    /// Measures it: how many a second.
    pub async fn measure(self, with: &Bare<'_>, receiver: &Receiver) -> anyhow::Result<f64> {
        match self {
            Self::Requests => requests::measure(with.connections, with.time).await,
            Self::Inserts => inserts::measure(with).await,
            Self::Deliveries => deliveries::measure(receiver.address(), with.connections, with.time).await,
            Self::Calls => {
                let time = with.time;
                tokio::task::spawn_blocking(move || calls::measure(time)).await?
            }
        }
    }
}
