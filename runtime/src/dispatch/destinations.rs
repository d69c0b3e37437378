//! In-flight caps per destination and per tenant, so that endpoints that hang do not stop the healthy ones.
//!
//! A destination that finishes attempts gets its full share. One that has finished none for [`STUCK_AFTER`] is
//! stuck: the fuller the node, the fewer attempts it may hold, down to one. One that has not answered at all yet may
//! hold one where its tenant is busy: a thousand that hang take a thousand places in their first second, not all of
//! them. An attempt that gets no place is not
//! counted as an attempt: it waits in memory for a healthy destination, and goes back to the store for a stuck one.
//!
//! A destination that fails again and again is left alone for a while: its [`Breaker`] says when. It is kept for as
//! long as it has something to say, also while nothing is in flight.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use triggerd_core::breaker::{Admission, Breaker, Pass, State as Circuit, Verdict};
use triggerd_core::id::TenantId;

use super::pace::Pace;

/// How long a destination may finish nothing before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Idle destinations of one tenant whose failures are remembered.
const MAX_REMEMBERED: usize = 1000;

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
    /// What breakers count their milliseconds from.
    began: Instant,
    /// Where breakers that open and close are told, for other nodes.
    told: Mutex<Option<UnboundedSender<Told>>>,
}

/// What other nodes are told: that a destination is left alone for a while, or answers again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub destination: String,
    /// For how long it is left alone; `None` where it answers again.
    pub open_for: Option<Duration>,
}

#[derive(Default)]
struct State {
    total: usize,
    tenants: HashMap<TenantId, usize>,
    /// Those that may have fewer than all others.
    caps: HashMap<TenantId, Cap>,
    destinations: HashMap<(TenantId, String), Destination>,
}

/// What a tenant may have by its own quota.
struct Cap {
    most: usize,
    freed: Arc<Notify>,
}

struct Destination {
    in_flight: usize,
    /// It has finished an attempt since it was last idle.
    answers: bool,
    /// When it last finished an attempt, or began its first.
    moved: Instant,
    freed: Arc<Notify>,
    breaker: Breaker,
    pace: Pace,
}

/// A destination as it may be shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its name: `https://host:port`.
    pub destination: String,
    /// Attempts under way.
    pub in_flight: usize,
    /// The most attempts at once that it has taken without getting too much.
    pub limit: usize,
    /// What its breaker lets pass.
    pub circuit: Circuit,
    /// Failures since it last answered.
    pub failures: u32,
    /// How long it has been open.
    pub open_for: Option<Duration>,
    /// When the next attempt may be made.
    pub probe_in: Option<Duration>,
}

/// Why there is no place.
#[derive(Debug)]
pub enum Full {
    /// The destination works but is at its share, or the tenant is at its own quota: wait for this.
    Busy(Arc<Notify>),
    /// The destination is stuck, or the tenant or the node is at its cap: come back later.
    Later,
    /// The destination has failed too often: come back after this.
    Open(Duration),
}

/// A place; dropping it frees it. One that is dropped without a verdict says nothing about its destination.
pub struct Place {
    destinations: Arc<Destinations>,
    key: (TenantId, String),
    pass: Pass,
    /// When it was taken.
    begun: u64,
    verdict: Verdict,
    pressed: bool,
}

/// A place of a tenant's quota alone; dropping it frees it.
pub struct Alone {
    destinations: Arc<Destinations>,
    tenant: TenantId,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.destinations.state.lock().leave(&self.tenant);
    }
}

impl State {
    fn leave(&mut self, tenant: &TenantId) {
        self.total = self.total.saturating_sub(1);
        if let Some(of_tenant) = self.tenants.get_mut(tenant) {
            *of_tenant = of_tenant.saturating_sub(1);
            if *of_tenant == 0 {
                self.tenants.remove(tenant);
            }
        }
        if let Some(cap) = self.caps.get(tenant) {
            cap.freed.notify_one();
        }
    }
}

impl Place {
    /// Frees the place and says how its destination has done, and whether it has too much to do.
    pub fn settle(mut self, verdict: Verdict, pressed: bool) {
        (self.verdict, self.pressed) = (verdict, pressed);
    }
}

impl Destinations {
    /// No attempts in flight.
    #[must_use]
    pub fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Self { caps, state: Mutex::default(), began: Instant::now(), told: Mutex::default() })
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
        if let Some(cap) = state.caps.get(tenant).filter(|cap| of_tenant >= cap.most) {
            return Err(Full::Busy(cap.freed.clone()));
        }
        let key = (tenant.clone(), destination.to_owned());
        let entry = state.destinations.entry(key.clone()).or_insert_with(|| Destination::idle(now, &self.caps));
        let stuck = entry.in_flight > 0 && now.duration_since(entry.moved) > STUCK_AFTER;
        if entry.in_flight >= self.share(stuck, entry, of_tenant) {
            return Err(if stuck { Full::Later } else { Full::Busy(entry.freed.clone()) });
        }
        let (admission, turned) = entry.breaker.admit(self.ms(now));
        tell(turned, destination);
        let pass = match admission {
            Admission::Pass(pass) => pass,
            Admission::Refused(wait) => return Err(Full::Open(wait)),
        };
        if entry.in_flight == 0 {
            entry.moved = now;
        }
        entry.in_flight += 1;
        state.total += 1;
        *state.tenants.entry(tenant.clone()).or_insert(0) += 1;
        Ok(Place {
            destinations: self.clone(),
            key,
            pass,
            begun: self.ms(now),
            verdict: Verdict::Nothing,
            pressed: false,
        })
    }

    /// Takes a place for an attempt that goes to no destination, where its tenant may have only so many.
    pub fn enter_alone(self: &Arc<Self>, tenant: &TenantId) -> Result<Option<Alone>, Arc<Notify>> {
        let mut state = self.state.lock();
        let of_tenant = state.tenants.get(tenant).copied().unwrap_or(0);
        match state.caps.get(tenant) {
            None => return Ok(None),
            Some(cap) if of_tenant >= cap.most => return Err(cap.freed.clone()),
            Some(_) => {}
        }
        state.total += 1;
        *state.tenants.entry(tenant.clone()).or_insert(0) += 1;
        Ok(Some(Alone { destinations: self.clone(), tenant: tenant.clone() }))
    }

    /// These tenants may have so many attempts in flight, and all others as many as there are.
    pub fn cap(&self, caps: &HashMap<TenantId, usize>) {
        let mut state = self.state.lock();
        if caps.is_empty() && state.caps.is_empty() {
            return;
        }
        // Whoever waits looks again: there may be more places now.
        state.caps.values().for_each(|cap| cap.freed.notify_waiters());
        state.caps.retain(|tenant, _| caps.contains_key(tenant));
        for (tenant, most) in caps {
            state.caps.entry(tenant.clone()).or_insert_with(|| Cap { most: *most, freed: Arc::default() }).most = *most;
        }
    }

    /// What is to be told other nodes from now on.
    pub fn listen(&self) -> UnboundedReceiver<Told> {
        let (sender, receiver) = unbounded_channel();
        *self.told.lock() = Some(sender);
        receiver
    }

    /// Takes note of what another node told.
    pub fn hear(&self, told: &Told) {
        let now = Instant::now();
        let key = (told.tenant.clone(), told.destination.clone());
        let mut state = self.state.lock();
        let turned = match (told.open_for, state.destinations.get_mut(&key)) {
            (Some(wait), Some(entry)) => entry.breaker.hear_open(self.ms(now), wait),
            (Some(wait), None) => {
                let mut entry = Destination::idle(now, &self.caps);
                let turned = entry.breaker.hear_open(self.ms(now), wait);
                state.destinations.insert(key, entry);
                turned
            }
            (None, Some(entry)) => entry.breaker.hear_closed(self.ms(now)),
            (None, None) => None,
        };
        tell(turned, &told.destination);
    }

    fn tell_others(&self, turned: Option<Circuit>, key: &(TenantId, String), breaker: &Breaker, now: u64) {
        let open_for = match turned {
            Some(Circuit::Open) => breaker.next_probe().map(|at| Duration::from_millis(at.saturating_sub(now))),
            Some(Circuit::Closed) => None,
            Some(Circuit::HalfOpen) | None => return,
        };
        if let Some(told) = &*self.told.lock() {
            // Nobody listens any more when the process ends.
            let _ = told.send(Told { tenant: key.0.clone(), destination: key.1.clone(), open_for });
        }
    }

    /// The tenant's destinations that are being called or have failed lately, by name.
    #[must_use]
    pub fn shown(&self, tenant: &TenantId) -> Vec<Shown> {
        let now = self.ms(Instant::now());
        let state = self.state.lock();
        let of_tenant = state.destinations.iter().filter(|((of, _), _)| of == tenant);
        let mut shown: Vec<Shown> = of_tenant
            .map(|((_, name), entry)| Shown {
                destination: name.clone(),
                in_flight: entry.in_flight,
                limit: entry.pace.limit(),
                circuit: entry.breaker.state(),
                failures: entry.breaker.failures(),
                open_for: entry.breaker.opened_at().map(|at| Duration::from_millis(now.saturating_sub(at))),
                probe_in: entry.breaker.next_probe().map(|at| Duration::from_millis(at.saturating_sub(now))),
            })
            .collect();
        shown.sort_by(|a, b| a.destination.cmp(&b.destination));
        shown
    }

    /// Forgets idle destinations whose breakers have nothing to say any more, and those of a tenant that are too many:
    /// whoever calls a new name with every event does not fill the memory with them.
    pub fn tidy(&self) {
        let now = self.ms(Instant::now());
        let mut remembered: HashMap<TenantId, usize> = HashMap::new();
        self.state.lock().destinations.retain(|(tenant, _), entry| {
            if !entry.is_idle() {
                return true;
            }
            if entry.is_forgettable(now) {
                return false;
            }
            let count = remembered.entry(tenant.clone()).or_insert(0);
            *count += 1;
            *count <= MAX_REMEMBERED
        });
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// How many attempts a destination may hold, given how full its tenant is.
    fn share(&self, stuck: bool, entry: &Destination, of_tenant: usize) -> usize {
        let full = entry.pace.limit();
        let is_busy = of_tenant * 4 >= self.caps.per_tenant;
        match (stuck, is_busy) {
            (false, true) if !entry.answers => 1,
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

impl Destination {
    fn idle(now: Instant, caps: &Caps) -> Self {
        let pace = Pace::new(caps.per_destination);
        Self { in_flight: 0, answers: false, moved: now, freed: Arc::default(), breaker: Breaker::default(), pace }
    }

    /// Whether neither its failures nor its pace are worth remembering.
    fn is_forgettable(&self, now: u64) -> bool {
        self.breaker.is_forgettable(now) && self.pace.is_forgettable(now)
    }

    /// Who waits holds the Notify (clones are made under the lock only): it must find this entry again.
    fn is_idle(&self) -> bool {
        self.in_flight == 0 && Arc::strong_count(&self.freed) == 1
    }
}

/// Counts and logs a change of state.
fn tell(turned: Option<Circuit>, destination: &str) {
    let Some(to) = turned else { return };
    metrics::counter!("triggerd_circuit_state_changes_total", "to" => name(to)).increment(1);
    match to {
        Circuit::Open => tracing::warn!(destination, "Destination {destination} keeps failing and is left alone"),
        Circuit::HalfOpen => tracing::info!(destination, "Destination {destination} is tried again"),
        Circuit::Closed => tracing::info!(destination, "Destination {destination} answers again"),
    }
}

/// What a state is called in the API and in metrics.
#[must_use]
pub fn name(circuit: Circuit) -> &'static str {
    match circuit {
        Circuit::Closed => "closed",
        Circuit::Open => "open",
        Circuit::HalfOpen => "half_open",
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.destinations.ms(Instant::now());
        let mut state = self.destinations.state.lock();
        let state = &mut *state;
        state.leave(&self.key.0);
        if let Some(entry) = state.destinations.get_mut(&self.key) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
            entry.moved = Instant::now();
            entry.answers = true;
            match (self.pressed, self.verdict) {
                (true, _) => entry.pace.pressed(self.begun, now),
                (false, Verdict::Answered) => entry.pace.answered(),
                (false, _) => {}
            }
            let turned = entry.breaker.enter(now, self.pass, self.verdict);
            tell(turned, &self.key.1);
            self.destinations.tell_others(turned, &self.key, &entry.breaker, now);
            entry.freed.notify_one();
            if entry.is_idle() {
                // What is remembered of it are its failures alone.
                entry.answers = false;
                if entry.is_forgettable(now) {
                    state.destinations.remove(&self.key);
                }
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
    fn a_destination_that_keeps_failing_is_left_alone_and_the_others_are_not() {
        let destinations = caps();
        let tenant = TenantId::new("t");
        for _ in 0..triggerd_core::breaker::IN_A_ROW {
            destinations.enter(&tenant, "down").ok().unwrap().settle(Verdict::Failed, false);
        }
        assert!(matches!(destinations.enter(&tenant, "down"), Err(Full::Open(_))));
        assert!(destinations.enter(&tenant, "up").is_ok() && destinations.enter(&TenantId::new("u"), "down").is_ok());
        destinations.tidy();
        let shown = destinations.shown(&tenant);
        assert_eq!((shown.len(), shown[0].destination.as_str(), shown[0].in_flight), (1, "down", 0));
        assert_eq!((shown[0].circuit, shown[0].failures), (Circuit::Open, 10));
        assert!(shown[0].probe_in.is_some() && destinations.in_flight() == 0);
    }

    #[test]
    fn a_destination_that_has_too_much_to_do_gets_fewer_attempts_at_once() {
        let destinations = caps();
        let tenant = TenantId::new("t");
        let held: Vec<Place> = (0..4).map(|_| destinations.enter(&tenant, "a").ok().unwrap()).collect();
        std::thread::sleep(Duration::from_millis(2));
        held.into_iter().for_each(|place| place.settle(Verdict::Answered, true));
        assert_eq!(destinations.shown(&tenant)[0].limit, 2, "it is remembered while nothing is in flight");
        let _two = [(); 2].map(|()| destinations.enter(&tenant, "a").ok().unwrap());
        assert!(matches!(destinations.enter(&tenant, "a"), Err(Full::Busy(_))));
    }

    #[test]
    fn no_more_than_so_many_failing_names_of_a_tenant_are_remembered() {
        let destinations = caps();
        let (many, few) = (TenantId::new("many"), TenantId::new("few"));
        for i in 0..3 * MAX_REMEMBERED {
            destinations.enter(&many, &i.to_string()).ok().unwrap().settle(Verdict::Failed, false);
        }
        destinations.enter(&few, "a").ok().unwrap().settle(Verdict::Failed, false);
        destinations.tidy();
        assert_eq!((destinations.shown(&many).len(), destinations.shown(&few).len()), (MAX_REMEMBERED, 1));
    }

    #[test]
    fn places_are_given_back_and_nothing_is_kept_of_idle_destinations() {
        let destinations = caps();
        drop(destinations.enter(&TenantId::new("t"), "a").ok().unwrap());
        assert_eq!(destinations.in_flight(), 0);
        assert!(destinations.state.lock().destinations.is_empty() && destinations.state.lock().tenants.is_empty());
    }
}
