//! Who may run now: so many calls at once, and not too many of one tenant.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots of all calls. Waiting is first come, first served, within a tenant and then among tenants.
pub(super) struct Slots {
    all: Arc<Semaphore>,
    per_tenant: usize,
    /// One for each tenant that has called; a few words each.
    tenants: DashMap<String, Arc<Semaphore>>,
}

/// A place among the running calls; given back when dropped.
pub(super) struct Slot {
    _all: OwnedSemaphorePermit,
    _tenant: OwnedSemaphorePermit,
}

impl Slots {
    pub(super) fn new(all: u32, per_tenant: u32) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all as usize)),
            per_tenant: per_tenant.clamp(1, all.max(1)) as usize,
            tenants: DashMap::new(),
        }
    }

    /// Waits for a slot. The tenant's own share comes first: while it is used up, no slot of others is held.
    pub(super) async fn take(&self, tenant: &str) -> Slot {
        let known = self.tenants.get(tenant).map(|share| Arc::clone(&share));
        let share = known.unwrap_or_else(|| {
            let new = || Arc::new(Semaphore::new(self.per_tenant));
            Arc::clone(&self.tenants.entry(tenant.to_owned()).or_insert_with(new))
        });
        let never = "the semaphores are never closed";
        Slot {
            _tenant: share.acquire_owned().await.expect(never),
            _all: Arc::clone(&self.all).acquire_owned().await.expect(never),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_tenant_that_waits_holds_nobody_up() {
        let slots = Slots::new(3, 2);
        let (_first, second) = (slots.take("a").await, slots.take("a").await);
        assert!(slots.take("a").now_or_never().is_none());
        let other = slots.take("b").now_or_never();
        assert!(other.is_some() && slots.take("b").now_or_never().is_none());
        drop((second, other));
        assert!(slots.take("a").now_or_never().is_some());
    }
}
