//! In-flight caps per destination and per tenant, so that endpoints that hang do not stop the healthy ones.
//!
//! A destination that finishes attempts gets its full share. One that has finished none for [`STUCK_AFTER`] is
//! stuck: the fuller the node, the fewer attempts it may hold, down to one. One that has not answered at all yet may
//! hold one where its tenant is busy: a thousand that hang take a thousand places in their first second, not all of
//! them. An attempt that gets no place is not
//! counted as an attempt: it waits in memory for a healthy destination, and goes back to the store for a stuck one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use triggerd_core::id::TenantId;

/// How long a destination may finish nothing before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// How many attempts may be in flight.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// In all.
    pub total: usize,
    /// Of one tenant.
    pub per_tenant: usize,
    /// To one destination of one tenant.
    pub per_destination: usize,
}

/// The attempts in flight.
pub struct Destinations {
    caps: Caps,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    total: usize,
    tenants: HashMap<TenantId, usize>,
    destinations: HashMap<(TenantId, String), Destination>,
}

struct Destination {
    in_flight: usize,
    /// It has finished an attempt since it was last idle.
    answers: bool,
    /// When it last finished an attempt, or began its first.
    moved: Instant,
    freed: Arc<Notify>,
}

/// Why there is no place.
#[derive(Debug)]
pub enum Full {
    /// The destination works but is at its share: wait for this.
    Busy(Arc<Notify>),
    /// The destination is stuck, or the tenant or the node is at its cap: come back later.
    Later,
}

/// A place; dropping it frees it.
pub struct Place {
    destinations: Arc<Destinations>,
    key: (TenantId, String),
}

impl Destinations {
    /// No attempts in flight.
    #[must_use]
    pub fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Self { caps, state: Mutex::default() })
    }

    /// Takes a place for an attempt of `tenant` to `destination`.
    pub fn enter(self: &Arc<Self>, tenant: &TenantId, destination: &str) -> Result<Place, Full> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let state = &mut *state;
        let of_tenant = state.tenants.get(tenant).copied().unwrap_or(0);
        if state.total >= self.caps.total || of_tenant >= self.caps.per_tenant {
            return Err(Full::Later);
        }
        let key = (tenant.clone(), destination.to_owned());
        let entry = state.destinations.entry(key.clone()).or_insert_with(|| Destination {
            in_flight: 0,
            answers: false,
            moved: now,
            freed: Arc::default(),
        });
        let stuck = entry.in_flight > 0 && now.duration_since(entry.moved) > STUCK_AFTER;
        if entry.in_flight >= self.share(stuck, entry.answers, of_tenant) {
            return Err(if stuck { Full::Later } else { Full::Busy(entry.freed.clone()) });
        }
        if entry.in_flight == 0 {
            entry.moved = now;
        }
        entry.in_flight += 1;
        state.total += 1;
        *state.tenants.entry(tenant.clone()).or_insert(0) += 1;
        Ok(Place { destinations: self.clone(), key })
    }

    /// How many attempts a destination may hold, given how full its tenant is.
    fn share(&self, stuck: bool, answers: bool, of_tenant: usize) -> usize {
        let full = self.caps.per_destination;
        let is_busy = of_tenant * 4 >= self.caps.per_tenant;
        match (stuck, is_busy) {
            (false, true) if !answers => 1,
            (false, _) => full,
            (true, false) => full.div_ceil(4),
            (true, true) => 1,
        }
    }

    /// How many attempts are in flight to guarded destinations.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.state.lock().total
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.destinations.state.lock();
        let state = &mut *state;
        state.total = state.total.saturating_sub(1);
        if let Some(of_tenant) = state.tenants.get_mut(&self.key.0) {
            *of_tenant = of_tenant.saturating_sub(1);
            if *of_tenant == 0 {
                state.tenants.remove(&self.key.0);
            }
        }
        if let Some(entry) = state.destinations.get_mut(&self.key) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
            entry.moved = Instant::now();
            entry.answers = true;
            entry.freed.notify_one();
            // Who waits holds the Notify (clones are made under this lock only): it must find this entry again.
            if entry.in_flight == 0 && Arc::strong_count(&entry.freed) == 1 {
                state.destinations.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps() -> Arc<Destinations> {
        Destinations::new(Caps { total: 100, per_tenant: 80, per_destination: 4 })
    }

    #[test]
    fn a_destination_at_its_share_is_busy_until_a_place_is_free() {
        let destinations = caps();
        let tenant = TenantId::new("t");
        let mut held: Vec<Place> = (0..4).map(|_| destinations.enter(&tenant, "a").ok().unwrap()).collect();
        assert!(matches!(destinations.enter(&tenant, "a"), Err(Full::Busy(_))));
        assert!(destinations.enter(&tenant, "b").is_ok(), "another destination is not held up");
        held.pop();
        assert!(destinations.enter(&tenant, "a").is_ok());
    }

    #[test]
    fn a_tenant_at_its_cap_does_not_stop_another() {
        let destinations = caps();
        let (a, b) = (TenantId::new("a"), TenantId::new("b"));
        let _held: Vec<Place> = (0..80).map(|i| destinations.enter(&a, &i.to_string()).ok().unwrap()).collect();
        assert!(matches!(destinations.enter(&a, "x"), Err(Full::Later)));
        assert!(destinations.enter(&b, "x").is_ok());
    }

    #[test]
    fn destinations_that_have_not_answered_yet_hold_one_place_each_of_a_busy_tenant() {
        let destinations = caps();
        let tenant = TenantId::new("t");
        let mut held: Vec<Place> = (0..20).map(|i| destinations.enter(&tenant, &i.to_string()).ok().unwrap()).collect();
        held.push(destinations.enter(&tenant, "new").ok().unwrap());
        assert!(matches!(destinations.enter(&tenant, "new"), Err(Full::Busy(_))));
        // Two places while there was room; once one of them has ended, it answers.
        let idle = caps();
        let (one, two) = (idle.enter(&tenant, "works").ok().unwrap(), idle.enter(&tenant, "works").ok().unwrap());
        drop(one);
        let _others: Vec<Place> = (0..20).map(|i| idle.enter(&tenant, &i.to_string()).ok().unwrap()).collect();
        assert!(idle.enter(&tenant, "works").is_ok());
        drop(two);
    }

    #[test]
    fn places_are_given_back_and_nothing_is_kept_of_idle_destinations() {
        let destinations = caps();
        drop(destinations.enter(&TenantId::new("t"), "a").ok().unwrap());
        assert_eq!(destinations.in_flight(), 0);
        assert!(destinations.state.lock().destinations.is_empty() && destinations.state.lock().tenants.is_empty());
    }
}
