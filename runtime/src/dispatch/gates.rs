//! Gates: a trigger's `maxConcurrency` and `rateLimit`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use triggerd_core::definition::Trigger;
use triggerd_core::id::TenantId;

/// Runs of one trigger that wait in memory for its `maxConcurrency`; more go back to the store.
const MAX_WAITING: usize = 256;

/// The gates of every trigger that has one.
#[derive(Default)]
pub struct Gates(DashMap<(TenantId, Arc<str>), Arc<Gate>>);

/// One trigger's gate, made for one version of it.
struct Gate {
    version: u32,
    concurrency: Option<Arc<Semaphore>>,
    rate: Option<DefaultDirectRateLimiter>,
    waiting: AtomicUsize,
}

/// Leave to run; dropping it lets another run in.
#[derive(Default)]
pub struct Pass {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Gates {
    /// Leave to start a run, or how long the run is to wait in the store before asking again.
    pub async fn enter(&self, tenant: &TenantId, trigger: &Trigger) -> Result<Pass, Duration> {
        if trigger.max_concurrency.is_none() && trigger.rate_limit.is_none() {
            return Ok(Pass::default());
        }
        let gate = self.gate(tenant, trigger);
        let permit = match &gate.concurrency {
            Some(semaphore) => Some(gate.wait_for(semaphore).await?),
            None => None,
        };
        if let Some(rate) = &gate.rate {
            rate.check().map_err(|until| until.wait_time_from(DefaultClock::default().now()))?;
        }
        Ok(Pass { _permit: permit })
    }

    fn gate(&self, tenant: &TenantId, trigger: &Trigger) -> Arc<Gate> {
        let key = (tenant.clone(), trigger.tag.clone());
        if let Some(gate) = self.0.get(&key).filter(|gate| gate.version == trigger.version) {
            return gate.clone();
        }
        let gate = Arc::new(Gate::of(trigger));
        self.0.insert(key, gate.clone());
        gate
    }
}

impl Gate {
    fn of(trigger: &Trigger) -> Self {
        let rate = trigger.rate_limit.and_then(|limit| {
            let count = NonZeroU32::new(limit.count)?;
            let period = Duration::try_from_secs_f64(limit.per_seconds / f64::from(limit.count)).ok()?;
            Some(RateLimiter::direct(Quota::with_period(period)?.allow_burst(count)))
        });
        Self {
            version: trigger.version,
            concurrency: trigger.max_concurrency.map(|n| Arc::new(Semaphore::new(n as usize))),
            rate,
            waiting: AtomicUsize::new(0),
        }
    }

    async fn wait_for(&self, semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Duration> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Duration::from_secs(1));
        }
        let permit = semaphore.clone().acquire_owned().await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        permit.map_err(|_| Duration::from_secs(1))
    }
}
