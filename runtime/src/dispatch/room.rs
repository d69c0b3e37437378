//! Room in memory for runs, which tenants share.
//!
//! A tenant may hold at most as many runs as there are places free (dynamic thresholds; Choudhury and Hahne, IEEE/ACM Transactions on
//! Networking 6, 1998): one alone half of them, and whoever comes next always finds some, however many the others want. What has waited in the
//! store takes half of the places at most, so that a long backlog leaves room for what is just accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use triggerd_core::id::TenantId;

/// The places of this process.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    taken: AtomicUsize,
    /// Of these, by runs that have waited in the store.
    claimed: AtomicUsize,
    tenants: DashMap<TenantId, usize>,
}

/// A place; dropping it frees it.
#[derive(Debug)]
pub struct Place {
    room: Arc<Room>,
    /// Whose run has it; `None` until it is known what was claimed.
    tenant: Option<TenantId>,
    claimed: bool,
}

impl Room {
    /// Of so many places, all of them free.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0), claimed: AtomicUsize::new(0), tenants: DashMap::new() })
    }

    /// A place for a run of the tenant, unless it has its share. Those who ask at the same moment may get one more each.
    pub fn enter(self: &Arc<Self>, tenant: &TenantId) -> Option<Place> {
        let free = self.most.saturating_sub(self.taken.load(Ordering::Relaxed));
        match self.tenants.get_mut(tenant) {
            Some(held) if *held >= free => return None,
            Some(mut held) => *held += 1,
            None if free == 0 => return None,
            None => *self.tenants.entry(tenant.clone()).or_insert(0) += 1,
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Place { room: self.clone(), tenant: Some(tenant.clone()), claimed: false })
    }

    /// At most `wanted` places for runs that have waited in the store, whose tenants are not known yet.
    pub fn for_claims(self: &Arc<Self>, wanted: usize) -> Vec<Place> {
        let share = (self.most / 2).saturating_sub(self.claimed.load(Ordering::Relaxed));
        let free = self.most.saturating_sub(self.taken.load(Ordering::Relaxed));
        let count = wanted.min(share).min(free);
        self.claimed.fetch_add(count, Ordering::Relaxed);
        self.taken.fetch_add(count, Ordering::Relaxed);
        (0..count).map(|_| Place { room: self.clone(), tenant: None, claimed: true }).collect()
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Place {
    /// The place as one of a tenant.
    #[must_use]
    pub fn of(mut self, tenant: &TenantId) -> Self {
        if self.tenant.is_none() {
            *self.room.tenants.entry(tenant.clone()).or_insert(0) += 1;
            self.tenant = Some(tenant.clone());
        }
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(1, Ordering::Relaxed);
        if self.claimed {
            self.room.claimed.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(tenant) = &self.tenant else { return };
        if let dashmap::Entry::Occupied(mut held) = self.room.tenants.entry(tenant.clone()) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(room: &Arc<Room>, tenant: &TenantId) -> Vec<Place> {
        std::iter::from_fn(|| room.enter(tenant)).collect()
    }

    #[test]
    fn one_tenant_has_half_and_the_next_always_finds_some() {
        let room = Room::new(1024);
        let (a, b, c) = (TenantId::new("a"), TenantId::new("b"), TenantId::new("c"));
        let of_a = fill(&room, &a);
        let of_b = fill(&room, &b);
        let of_c = fill(&room, &c);
        assert_eq!((of_a.len(), of_b.len(), of_c.len()), (512, 256, 128));
        drop(of_a);
        assert_eq!(fill(&room, &c).len(), (1024 - 256 - 128 - 128) / 2, "as many as are free then");
        drop((of_b, of_c));
        assert!(room.taken() == 0 && room.tenants.is_empty());
    }

    #[test]
    fn what_has_waited_has_half_of_the_places_at_most() {
        let room = Room::new(100);
        let a = TenantId::new("a");
        let claimed: Vec<Place> = room.for_claims(80).into_iter().map(|place| place.of(&a)).collect();
        assert_eq!((claimed.len(), room.for_claims(1).len(), room.taken()), (50, 0, 50));
        assert!(room.enter(&a).is_none(), "it has its share");
        assert!(room.enter(&TenantId::new("b")).is_some());
        drop(claimed);
        assert_eq!(room.for_claims(10).len(), 10);
        assert_eq!(room.taken(), 0);
    }
}
