//! Gates: a trigger's `maxConcurrency` and `rateLimit`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use triggerd_core::definition::Trigger;
use triggerd_core::id::TenantId;

use crate::store::open::Hold;
use crate::store::{self, Store};

/// Runs of one trigger that wait in memory for its `maxConcurrency`; more go back to the store.
const MAX_WAITING: usize = 256;

/// How long a run waits in memory for a place that another node has; then it goes back to the store for a while.
const PATIENCE: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_millis(500);

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
    /// One of the places of all nodes.
    _slot: Option<Hold>,
}

/// The same limits, for all nodes together.
async fn enter_shared(store: &Store, tenant: &TenantId, trigger: &Trigger) -> Result<Option<Hold>, Duration> {
    let name = format!("{tenant}/{}", trigger.tag);
    let failed = |error: store::Error| {
        tracing::warn!(%error, trigger = %trigger.tag, "A run waits, as its trigger's limits cannot be asked for: {error}");
        Duration::from_secs(1)
    };
    let slot = match trigger.max_concurrency {
        Some(of) => Some(wait_for_slot(store, &name, of).await.map_err(failed)?.ok_or(LATER)?),
        None => None,
    };
    if let Some(limit) = trigger.rate_limit {
        let period = Duration::try_from_secs_f64(limit.per_seconds).unwrap_or(Duration::MAX);
        let cost = period / limit.count.max(1);
        if let Some(wait) = store.take_rate(&format!("trigger/{name}"), 1, cost, period).await.map_err(failed)? {
            return Err(wait);
        }
    }
    Ok(slot)
}

async fn wait_for_slot(store: &Store, name: &str, of: u32) -> Result<Option<Hold>, store::Error> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        let slot = store.take_slot(name, of).await?;
        if slot.is_some() || began.elapsed() > PATIENCE {
            return Ok(slot);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

impl Gates {
    /// Leave to start a run, or how long the run is to wait in the store before asking again.
    pub async fn enter(&self, store: &Store, tenant: &TenantId, trigger: &Trigger) -> Result<Pass, Duration> {
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
        let slot = if store.is_shared() { enter_shared(store, tenant, trigger).await? } else { None };
        Ok(Pass { _permit: permit, _slot: slot })
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
