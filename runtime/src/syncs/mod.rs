//! Syncs: a table of two databases, or of a database and an HTTP API, kept equal.
//!
//! A captured change says which row to look at, and nothing else of it is believed: the row is read on both sides, and
//! `triggerd_core::sync` decides by what they held when they last agreed. So events may come late, twice or in any order.
//!
//! What holds at every moment, also between two of a killed process:
//!
//! - A row is written only if it still is what was read, in the transaction that writes it.
//! - Before that transaction is committed, the store knows of it (`intent`), with the value that it loses. Whether it was
//!   committed is seen in the row itself, the next time that anybody looks at it.
//! - A row's two directions never work at once: one lock for each row, which other nodes share.
//! - A write carries the mark `sync:TAG`; what is captured with it is not looked at by that sync again.

mod apply;
mod audit;
mod guests;
mod http;
mod intent;
mod mapping;
mod plan;
mod restore;
mod row;
mod status;
mod told;
mod triggers;
mod truncated;
mod values;
mod verify;
mod write;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use triggerd_core::event::DEFAULT_ENV;
use triggerd_core::id::TenantId;
use triggerd_core::outcome::Failure;

pub use apply::changed;
pub use plan::Plan;
pub use restore::restore;
pub use status::{problems, status};
pub use told::Applied;
pub use triggers::{ACTION, TYPE, install, is_abandoned, sync_of};
pub use truncated::truncated;
pub use verify::{Report, verify};

use crate::actions::Services;
use crate::failed::Failed;
use crate::resources::{Mark, SyncSettings};
use crate::store::open::Hold;
use crate::store::{self, Store, SyncOverflow};
use told::Told;

/// Rows share locks by their digest: more than there are attempts at once.
const LOCKS: usize = 4096;
/// How long what databases said of their tables is taken for true.
const PLAN_AGE: Duration = Duration::from_secs(60);

/// The syncs of all tenants.
pub struct Syncs {
    locks: Vec<tokio::sync::Mutex<()>>,
    plans: Mutex<HashMap<(TenantId, String), Made>>,
    told: Mutex<HashMap<(TenantId, String), Told>>,
}

struct Made {
    plan: Arc<Plan>,
    /// The resources that it was made of.
    mark: Mark,
    at: Instant,
}

/// Nobody else looks after the row.
struct Alone<'a> {
    _here: tokio::sync::MutexGuard<'a, ()>,
    _elsewhere: Hold,
}

/// What a sync's own writes are marked with.
#[must_use]
pub fn origin(tag: &str) -> String {
    format!("sync:{tag}")
}

impl Default for Syncs {
    fn default() -> Self {
        let locks = (0..LOCKS).map(|_| tokio::sync::Mutex::default()).collect();
        Self { locks, plans: Mutex::default(), told: Mutex::default() }
    }
}

impl Syncs {
    /// Keeps everybody else from the row, on other nodes too.
    async fn alone(&self, store: &Store, plan: &Plan, key: &str) -> Result<Alone<'_>, store::Error> {
        let mut hash = DefaultHasher::new();
        (plan.tenant.as_str(), &plan.tag, key).hash(&mut hash);
        let place = usize::try_from(hash.finish() % LOCKS as u64).unwrap_or(0);
        let here = self.locks[place].lock().await;
        let elsewhere = store.hold(format!("{}{key}", held(plan))).await?;
        Ok(Alone { _here: here, _elsewhere: elsewhere })
    }

    /// Waits for everybody who looks after a row of the sync by now, on other nodes too. Whoever begins later reads what holds
    /// later.
    async fn settled(&self, store: &Store, plan: &Plan) -> Result<(), store::Error> {
        for lock in &self.locks {
            drop(lock.lock().await);
        }
        store.until_released(&held(plan)).await
    }

    fn forget(&self, plan: &Plan) {
        self.plans.lock().remove(&(plan.tenant.clone(), plan.tag.clone()));
    }

    fn tell(&self, plan: &Plan, tell: impl FnOnce(&mut Told)) {
        tell(self.told.lock().entry((plan.tenant.clone(), plan.tag.clone())).or_default());
    }
}

/// What the names begin with under which its rows are held. Tags hold no slash.
fn held(plan: &Plan) -> String {
    format!("sync:{}/{}/", plan.tenant, plan.tag)
}

/// The sync of that tag, ready to work; `None` where there is no such resource.
pub async fn plan(services: &Services, tenant: &TenantId, tag: &str) -> Option<Result<Arc<Plan>, Failed>> {
    let mark = services.resources.mark();
    let key = (tenant.clone(), tag.to_owned());
    let known = services
        .syncs
        .plans
        .lock()
        .get(&key)
        .filter(|made| made.mark == mark && made.at.elapsed() < PLAN_AGE)
        .map(|made| made.plan.clone());
    if let Some(known) = known {
        return Some(Ok(known));
    }
    let settings = services.resources.resolve::<SyncSettings>(tenant, "syncs", tag, DEFAULT_ENV)?;
    let made = async {
        let plan = Arc::new(Plan::make(services, tenant, tag, settings?).await?);
        services.syncs.plans.lock().insert(key, Made { plan: plan.clone(), mark, at: Instant::now() });
        Ok(plan)
    };
    Some(made.await)
}

/// Counts what became of a row. `at` is when the change was made.
fn count(services: &Services, plan: &Plan, applied: &Applied, at: jiff::Timestamp) {
    let now = services.clock.now();
    let lag = now.duration_since(at).as_secs_f64().max(0.0);
    services.syncs.tell(plan, |told| told.applied(applied, lag, now));
    let direction = applied.to.map_or_else(String::new, |to| plan.direction(to));
    let labels =
        [("sync", plan.tag.clone()), ("direction", direction.clone()), ("outcome", applied.outcome().to_owned())];
    metrics::counter!("triggerd_sync_changes_total", &labels).increment(1);
    if !applied.same {
        metrics::histogram!("triggerd_sync_lag_seconds", "sync" => plan.tag.clone(), "direction" => direction)
            .record(lag);
    }
    // From nothing on: the first conflict is an increase as well.
    let lost = u64::from(applied.lost.is_some());
    metrics::counter!("triggerd_sync_conflicts_total", "sync" => plan.tag.clone()).increment(lost);
}

/// Forgets all that is known of a sync that is gone, or of one of that name before it.
pub async fn forget(services: &Services, tenant: &TenantId, tag: &str) -> Result<(), store::Error> {
    let key = (tenant.clone(), tag.to_owned());
    services.syncs.told.lock().remove(&key);
    services.syncs.plans.lock().remove(&key);
    services.store.sync_forget(tenant, tag).await
}

/// Lets the oldest conflicts go where a sync has more than `most`.
pub async fn bound_conflicts(store: &Store, most: u32) -> Result<(), store::Error> {
    for SyncOverflow { tenant, sync, unresolved } in store.sync_conflicts_bound(most).await? {
        metrics::counter!("triggerd_sync_conflicts_dropped_total", "sync" => sync.clone()).increment(unresolved);
        if unresolved > 0 {
            tracing::warn!(
                %tenant, sync, unresolved,
                "Sync {sync} has more than {most} conflicts: {unresolved} that nobody resolved, the oldest, were dropped"
            );
        }
    }
    Ok(())
}

/// Counts a failed attempt.
fn count_failure(services: &Services, plan: &Plan, failure: &Failure) {
    services.syncs.tell(plan, |told| told.failed(failure, services.clock.now()));
    let labels = [("sync", plan.tag.clone()), ("direction", String::new()), ("outcome", "failed".to_owned())];
    metrics::counter!("triggerd_sync_changes_total", &labels).increment(1);
}
