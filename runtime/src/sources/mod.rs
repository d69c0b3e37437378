//! Where events come from by themselves: the tenants' databases, whose changed rows are captured.

mod accept;
pub mod backfill;
mod change;
mod nudge;
mod outbox;
mod plan;
mod settle;
mod status;
mod supervise;
mod task;
mod told;
mod unread;
pub mod wal;

pub use change::{Captured, Change, Place};
pub use outbox::{Found, Names, State};
pub use plan::{Plan, TableName, place_of, places, shown};
pub use status::{Status, Told};
pub use supervise::supervise;

use triggerd_core::id::TenantId;

use crate::app::App;
use crate::store;

/// The captured databases of all tenants.
#[derive(Default)]
pub struct Sources {
    workers: supervise::Workers,
    nudges: nudge::Nudges,
    questions: settle::Questions,
    /// Triggers that are run over the rows that exist.
    pub backfills: backfill::Backfills,
}

impl Sources {
    /// Takes up what another node has made of what sources remember, by `kind/key`.
    pub async fn refresh(&self, app: &App, tenant: &TenantId, key: &str) -> Result<(), store::Error> {
        let Some((backfill::KIND, key)) = key.split_once('/') else { return Ok(()) };
        if let Some(place) = self.backfills.refresh(app, tenant, key).await? {
            self.changed(&place);
        }
        Ok(())
    }

    /// Something was written there by this program: what captures it need not wait for its next look.
    pub fn changed(&self, place: &Place) {
        self.nudges.nudge(place);
    }
}
