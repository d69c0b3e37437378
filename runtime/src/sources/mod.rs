//! Where events come from by themselves: the tenants' databases, whose changed rows are captured.

mod accept;
mod change;
mod outbox;
mod plan;
mod status;
mod supervise;
mod task;
pub mod wal;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

pub use change::{Captured, Change, Place};
pub use outbox::{Found, Names, State};
pub use plan::{Plan, TableName};
pub use status::{Status, Told};
pub use supervise::supervise;

/// The captured databases of all tenants.
#[derive(Default)]
pub struct Sources {
    workers: supervise::Workers,
    nudges: Mutex<HashMap<Place, Arc<Notify>>>,
}

impl Sources {
    /// Something was written there by this program: what captures it need not wait for its next look.
    pub fn changed(&self, place: &Place) {
        if let Some(nudge) = self.nudges.lock().get(place) {
            nudge.notify_one();
        }
    }

    fn nudge(&self, place: &Place) -> Arc<Notify> {
        self.nudges.lock().entry(place.clone()).or_default().clone()
    }
}
