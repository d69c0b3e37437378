//! The sweeper: takes up what is due in the store (retries, queues, overflow, lost leases), renews leases, and lets
//! old events go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::audit;
use crate::dispatch::{Job, Place};
use crate::installed;
use crate::retention::Passes;
use crate::store::{self, Claimed};
use crate::syncs;

/// Runs claimed at a time.
const BATCH: usize = 256;
/// The longest sleep: leases of other nodes run out without anybody telling.
const IDLE: Duration = Duration::from_secs(5);
/// How long the store may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How often leases are looked at and waiters tidied.
const TEND: Duration = Duration::from_secs(2);
/// A difference between the clocks that is none of slow machines and small corrections.
const SET_MS: i64 = 500;
/// How often retention is looked at.
const RETIRE: Duration = Duration::from_secs(60);
/// How often the inbox's index is brought up to date.
const INDEX: Duration = Duration::from_secs(1);

/// Claims what is due until `stop`.
pub async fn claim_due(app: Arc<App>, stop: CancellationToken) {
    let mut clocks = Clocks::read(&app);
    while !stop.is_cancelled() {
        if clocks.have_parted(&app) {
            // What this process is executing would seem to be nobody's any more, and be claimed.
            renew_aging(&app).await;
        }
        // What is made due from here on wakes this loop, also while the store is being asked.
        app.dispatch.looks_at(Timestamp::MAX);
        let sleep = match claim_batch(&app).await {
            Ok(Some(again)) => again,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(%error, "Claiming due runs failed, trying again: {error}");
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.dispatch.woken.notified() => {}
            () = app.store.due_elsewhere() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// The two clocks of this machine, read together: the one that can be set, and the one that cannot.
struct Clocks(Instant, Timestamp);

impl Clocks {
    fn read(app: &App) -> Self {
        Self(Instant::now(), app.clock.now())
    }

    /// Whether the clock was set since it was read last, by more than anybody would wait.
    fn have_parted(&mut self, app: &App) -> bool {
        let before = std::mem::replace(self, Self::read(app));
        let passed = self.1.as_millisecond() - before.1.as_millisecond();
        let steady = i64::try_from((self.0 - before.0).as_millis()).unwrap_or(i64::MAX);
        // A clock that a test drives has nothing to do with the steady one.
        app.clock.is_system() && (passed - steady).abs() > SET_MS
    }
}

/// Claims one batch and starts it; `None` where there may be more at once, else how long to sleep.
async fn claim_batch(app: &Arc<App>) -> Result<Option<Duration>, store::Error> {
    let mut places = app.dispatch.room_for_claims(BATCH);
    let reserved = places.len();
    if reserved == 0 {
        return Ok(Some(Duration::from_millis(100)));
    }
    let now = app.clock.now();
    let began = Instant::now();
    let claim = app.store.claim(now, reserved as u32, app.dispatch.lease_until(app));
    // A connection that is dead without saying so must not stop this loop.
    let claimed = tokio::time::timeout(ANSWER, claim).await.unwrap_or_else(|_| Err(no_answer()));
    metrics::histogram!("triggerd_claim_duration_seconds").record(began.elapsed().as_secs_f64());
    let count = claimed.as_ref().map_or(0, Vec::len);
    places.truncate(count);
    for (run, place) in claimed?.into_iter().zip(places) {
        start(app, run, place).await;
    }
    if count == reserved {
        return Ok(None);
    }
    let due = tokio::time::timeout(ANSWER, app.store.next_due(now)).await.unwrap_or_else(|_| Err(no_answer()))?;
    Ok(Some(due.map_or(IDLE, |due| until(app, due))))
}

fn no_answer() -> store::Error {
    store::Error::Unavailable(format!("no answer within {} s", ANSWER.as_secs()))
}

fn until(app: &App, due: Timestamp) -> Duration {
    let ms = due.as_millisecond().saturating_sub(app.clock.now_ms());
    // Never zero: a run that is due but whose lane is taken must not make this loop spin.
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).clamp(Duration::from_millis(5), IDLE)
}

/// Starts a claimed run whose place is reserved, in the version of its trigger that it began with.
pub(crate) async fn start(app: &Arc<App>, claimed: Claimed, place: Place) {
    if claimed.event.erased_at.is_some() {
        return skip_erased(app, claimed).await;
    }
    let (tenant, trigger, version) = (claimed.run.tenant.clone(), claimed.run.trigger.clone(), claimed.run.version);
    let mut found = app.definitions.version(&tenant, &trigger, version).await;
    if matches!(found, Ok(None)) && app.store.is_shared() {
        // Another node may have made it a moment ago.
        found = match crate::follow::catch_up_with(app, &tenant, &trigger).await {
            Ok(()) => app.definitions.version(&tenant, &trigger, version).await,
            Err(error) => Err(error),
        };
    }
    match found {
        Ok(Some(definition)) => app.dispatch.start_claimed(app, Job::of_claimed(claimed, definition, place)),
        Ok(None) if installed::is_abandoned(&app.services.resources, &tenant, &trigger) => {
            abandon(app, claimed).await;
        }
        Ok(None) => {
            give_up(app, claimed, format!("version {version} of trigger `{trigger}` is gone or no longer compiles"))
                .await
        }
        Err(error) => {
            tracing::error!(run.id = %claimed.run.id, %error, "Run {} is left to its lease: {error}", claimed.run.id);
        }
    }
}

/// Dead-letters a run whose definition cannot be had.
async fn give_up(app: &Arc<App>, claimed: Claimed, message: String) {
    tracing::error!(run.id = %claimed.run.id, "Dead-lettered run {}: {message}", claimed.run.id);
    end(app, claimed.run, store::RunNext::Failed { code: "DEFINITION_GONE".into(), message }).await;
}

/// Ends a run of a sync or a subscription that was deleted since: it has nothing to do any more, and nobody has to look at it.
async fn abandon(app: &Arc<App>, claimed: Claimed) {
    let mut run = claimed.run;
    installed::skip(&mut run);
    tracing::info!(run.id = %run.id, "Run {} is skipped: what {} stood for is gone", run.id, run.trigger);
    end(app, run, store::RunNext::Delivered).await;
}

/// Ends a replay of an event that has nothing left to be done anything with.
async fn skip_erased(app: &Arc<App>, claimed: Claimed) {
    let mut run = claimed.run;
    run.progress.erase(true);
    tracing::info!(run.id = %run.id, "Run {} is skipped: its event was erased", run.id);
    end(app, run, store::RunNext::Delivered).await;
}

/// Ends a run that was claimed and not begun.
async fn end(app: &Arc<App>, run: store::Run, next: store::RunNext) {
    let update = store::RunUpdate { id: run.id, epoch: run.epoch, progress: Arc::new(run.progress), next };
    if let Err(error) = app.store.record(update).await {
        tracing::error!(run.id = %run.id, %error, "Run {} is left to its lease: {error}", run.id);
    }
}

/// Renews leases and forgets abandoned waiters until `stop`.
pub async fn tend_leases(app: Arc<App>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TEND);
    while tick(&mut ticks, &stop).await {
        app.dispatch.tidy();
        renew_aging(&app).await;
    }
}

async fn renew_aging(app: &App) {
    let aging = app.dispatch.aging_leases(app.clock.now());
    if aging.is_empty() {
        return;
    }
    let until = app.dispatch.lease_until(app);
    match app.store.renew(aging.clone(), until).await {
        Ok(kept) => {
            aging.iter().zip(kept).filter(|(_, kept)| *kept).for_each(|((run, _), _)| app.dispatch.renewed(*run, until))
        }
        Err(error) => tracing::error!(%error, "Renewing {} leases failed: {error}", aging.len()),
    }
}

/// Lets events past their retention go, with their runs, and what else has expired, until `stop`.
pub async fn retire(app: Arc<App>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(RETIRE);
    let mut passes = Passes::default();
    while tick(&mut ticks, &stop).await {
        if let Err(error) = retire_once(&app, &mut passes, &stop).await {
            tracing::error!(%error, "Letting old events go failed: {error}");
        }
    }
}

async fn retire_once(app: &App, passes: &mut Passes, stop: &CancellationToken) -> Result<(), store::Error> {
    let now = app.clock.now();
    app.store.delete_expired(now).await?;
    audit::retire(app, now, stop).await?;
    let before = app.config.store.retention.map(|retention| now - retention);
    if let Some(before) = before {
        app.store.sync_conflicts_retire(before).await?;
    }
    syncs::bound_conflicts(&app.store, app.config.store.max_sync_conflicts).await?;
    passes.pass(app, stop).await
}

/// Keeps what the inbox finds events by up to date, until `stop`.
pub async fn index_events(app: Arc<App>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INDEX);
    while tick(&mut ticks, &stop).await {
        loop {
            match app.store.index_events().await {
                // Between the steps the writer serves everybody else.
                Ok(true) if !stop.is_cancelled() => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(%error, "The inbox's index is left as it is, trying again: {error}");
                    break;
                }
            }
        }
    }
}

async fn tick(ticks: &mut tokio::time::Interval, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        _ = ticks.tick() => true,
    }
}
