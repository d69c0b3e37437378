//! Who empties a database's outbox waits here, and is told at once where something was put into it through triggerd.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::Notify;

use super::Place;

/// The places that somebody waits for. A nudge that comes while nobody waits is kept, once.
#[derive(Clone, Default, Debug)]
pub struct Nudges(Arc<DashMap<Place, Arc<Notify>>>);

impl Nudges {
    /// What the reader of `place` waits on. From now on nudges are kept for it.
    #[must_use]
    pub fn of(&self, place: &Place) -> Arc<Notify> {
        self.0.entry(place.clone()).or_default().clone()
    }

    /// Nobody reads `place` any more.
    pub fn forget(&self, place: &Place) {
        self.0.remove(place);
    }

    /// Something was put into the outbox of `place`.
    pub fn nudge(&self, place: &Place) {
        if let Some(reader) = self.0.get(place) {
            reader.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use triggerd_core::id::TenantId;

    #[tokio::test]
    async fn a_nudge_is_kept_for_a_reader_that_is_busy_and_for_nobody_else() {
        let place = |tag: &str| Place { tenant: TenantId::new("t"), database: tag.into(), env: "default".into() };
        let nudges = Nudges::default();
        nudges.nudge(&place("unread"));
        assert!(nudges.0.is_empty());
        let waits = nudges.of(&place("shop"));
        nudges.nudge(&place("shop"));
        waits.notified().await;
    }
}
