//! How much CPU time the guests of a tenant may use in a minute, where it has such a quota.
//!
//! What was used is counted in memory, minute by minute of the clock; nodes tell each other through the store once a second. Nothing is
//! ended for it: a call that is under way goes on, and the next one waits for the next minute.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use triggerd_core::id::TenantId;

use crate::clock::Clock;

const MINUTE_MS: i64 = 60_000;

/// The quotas of those who have one.
pub struct CpuQuotas {
    clock: Clock,
    tenants: DashMap<TenantId, Used>,
    /// Nearly nobody has one: then there is nothing to look up.
    any: AtomicBool,
}

struct Used {
    quota: Duration,
    /// Since 1970.
    minute: i64,
    /// In this minute, by all nodes as far as this one knows.
    used: Duration,
    /// Of these, what other nodes have not been told yet.
    untold: Duration,
}

/// What this node has used and others are to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Untold {
    /// Whose.
    pub tenant: TenantId,
    /// In which minute, since 1970.
    pub minute: i64,
    /// How much.
    pub used: Duration,
}

impl Used {
    fn roll(&mut self, minute: i64) {
        if self.minute != minute {
            *self = Self { quota: self.quota, minute, used: Duration::ZERO, untold: Duration::ZERO };
        }
    }
}

impl CpuQuotas {
    /// Nobody has one.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, tenants: DashMap::new(), any: AtomicBool::new(false) }
    }

    /// These tenants have a quota, and no others.
    pub fn set(&self, quotas: &[(TenantId, Duration)]) {
        self.tenants.retain(|tenant, _| quotas.iter().any(|(known, _)| known == tenant));
        let minute = self.minute();
        for (tenant, quota) in quotas {
            let fresh = Used { quota: *quota, minute, used: Duration::ZERO, untold: Duration::ZERO };
            self.tenants.entry(tenant.clone()).or_insert(fresh).quota = *quota;
        }
        self.any.store(!quotas.is_empty(), Ordering::Relaxed);
    }

    /// How long the tenant's guests have to wait; `None` where they may run.
    #[must_use]
    pub fn wait(&self, tenant: &TenantId) -> Option<Duration> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut used = self.tenants.get_mut(tenant)?;
        used.roll(self.minute());
        let left = MINUTE_MS - self.clock.now_ms().rem_euclid(MINUTE_MS);
        (used.used >= used.quota).then(|| Duration::from_millis(left.unsigned_abs()))
    }

    /// Counts what a call has used.
    pub fn charge(&self, tenant: &TenantId, cpu: Duration) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        if let Some(mut used) = self.tenants.get_mut(tenant) {
            used.roll(self.minute());
            used.used += cpu;
            used.untold += cpu;
        }
    }

    /// What is to be told of every tenant with a quota.
    #[must_use]
    pub fn untold(&self) -> Vec<Untold> {
        let minute = self.minute();
        let told = self.tenants.iter_mut().map(|mut entry| {
            entry.roll(minute);
            let used = std::mem::take(&mut entry.untold);
            Untold { tenant: entry.key().clone(), minute, used }
        });
        told.collect()
    }

    /// What all nodes have used after that was told.
    pub fn told(&self, told: &Untold, total: Duration) {
        if let Some(mut used) = self.tenants.get_mut(&told.tenant)
            && used.minute == told.minute
        {
            used.used = total + used.untold;
        }
    }

    /// It could not be told: another time.
    pub fn not_told(&self, told: &Untold) {
        if let Some(mut used) = self.tenants.get_mut(&told.tenant)
            && used.minute == told.minute
        {
            used.untold += told.used;
        }
    }

    fn minute(&self) -> i64 {
        self.clock.now_ms().div_euclid(MINUTE_MS)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    use jiff::Timestamp;

    use super::*;
    use crate::clock::Source;

    struct At(AtomicI64);

    impl Source for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
        }
        fn chance(&self) -> f64 {
            0.5
        }
        fn id_bits(&self) -> [u8; 10] {
            [0; 10]
        }
    }

    #[test]
    fn a_minute_s_worth_is_used_and_the_next_minute_begins_anew() {
        let at = Arc::new(At(AtomicI64::new(120_000)));
        let quotas = CpuQuotas::new(Clock::of(at.clone()));
        let (me, other) = (TenantId::new("me"), TenantId::new("other"));
        let ms = Duration::from_millis;
        quotas.charge(&me, ms(500));
        quotas.set(&[(me.clone(), ms(100))]);
        assert_eq!(quotas.wait(&me), None, "nobody counted before");
        quotas.charge(&me, ms(60));
        assert_eq!(quotas.wait(&me), None);
        quotas.charge(&me, ms(60));
        at.0.store(140_000, Ordering::Relaxed);
        assert_eq!((quotas.wait(&me), quotas.wait(&other)), (Some(ms(40_000)), None));
        let untold = quotas.untold();
        assert_eq!(untold, [Untold { tenant: me.clone(), minute: 2, used: ms(120) }]);
        quotas.set(&[(me.clone(), ms(200))]);
        assert_eq!(quotas.wait(&me), None);
        quotas.told(&untold[0], ms(300));
        assert!(quotas.wait(&me).is_some(), "others have used more");
        at.0.store(180_000, Ordering::Relaxed);
        assert_eq!(quotas.wait(&me), None);
        quotas.told(&untold[0], ms(999));
        assert_eq!(quotas.wait(&me), None, "of the minute before");
        quotas.set(&[]);
        quotas.charge(&me, ms(999));
        assert_eq!(quotas.wait(&me), None);
    }
}
