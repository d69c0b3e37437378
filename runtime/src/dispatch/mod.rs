//! Dispatch: runs that this process holds are walked; what cannot be held stays in the store until it is claimed.
//!
//! Invariants:
//! - A held run has a lease under its epoch; whoever claims it later has a higher epoch, and writes under the old
//!   one change nothing.
//! - At most [`Limits::held`] runs are in memory, of each tenant no more than its share (`room.rs`); an event's runs beyond that
//!   are kept `pending` and claimed by the sweeper when there is room.
//! - No transaction or lock is held while an action runs.
//! - Runs of one event begin in order of priority: those of a lower number have ended their first pass, or have had
//!   [`HEAD_START`], before those of a higher one begin. Runs of equal priority begin together.
//!
//! Failure story: a crash leaves leases behind; at the next start the store gives them up at once, on other nodes
//! when they run out. A store error leaves the run to its lease.

mod attempt;
mod destinations;
mod gates;
mod job;
mod lanes;
mod pace;
mod places;
mod room;
pub(crate) mod verdict;
mod walk;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::future::{BoxFuture, join_all};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use triggerd_core::definition::Timing;
use triggerd_core::event::Event;
use triggerd_core::id::{RunId, TenantId};
use triggerd_core::plan::PlannedRun;
use triggerd_core::run::Progress;

use crate::app::App;
use crate::feed::FeedStatus;
use crate::spans;
use crate::store::{NewRun, RunNext};

pub(crate) use attempt::{Tried, attempt};
pub use destinations::{Caps, Destinations, Shown, Told, name as circuit_name};
pub use job::{Job, last_failure, push_attempt};
pub use lanes::{Lane, Lanes};
pub use places::Places;
pub(crate) use places::Unavailable;
pub use room::Place;
pub use watch::Waiter;

/// How long runs of a lower priority number may keep the others of their event waiting.
const HEAD_START: Duration = Duration::from_secs(5);

/// What the dispatcher may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Runs in memory.
    pub held: usize,
    /// How long a lease lasts.
    pub lease: Duration,
    /// Attempts in flight.
    pub caps: Caps,
}

/// Walks the runs that this process holds.
pub struct Dispatch {
    limits: Limits,
    /// Where runs are walked: apart from the API's threads, so that guests' CPU work cannot hold it up.
    engine: tokio::runtime::Handle,
    tasks: TaskTracker,
    held: DashMap<RunId, Held>,
    room: Arc<room::Room>,
    draining: AtomicBool,
    /// Something in the store may be due.
    pub(crate) woken: Notify,
    /// When the sweeper looks next, in milliseconds since 1970.
    next_look: AtomicI64,
    pub(crate) lanes: Lanes,
    gates: gates::Gates,
    watches: watch::SharedWatches,
    pub(crate) destinations: Arc<Destinations>,
}

/// A lease.
#[derive(Clone, Copy)]
struct Held {
    epoch: i64,
    until: Timestamp,
}

impl Dispatch {
    /// A dispatcher that walks its runs on `engine`.
    #[must_use]
    pub fn new(limits: Limits, engine: tokio::runtime::Handle) -> Self {
        Self {
            limits,
            engine,
            tasks: TaskTracker::new(),
            held: DashMap::new(),
            room: room::Room::new(limits.held),
            draining: AtomicBool::new(false),
            woken: Notify::new(),
            next_look: AtomicI64::new(i64::MAX),
            lanes: Lanes::default(),
            gates: gates::Gates::default(),
            watches: Arc::default(),
            destinations: Destinations::new(limits.caps),
        }
    }

    /// Turns an event's planned runs into rows to keep and jobs to start after the commit. A run is held at once
    /// where there is room, its lane is free, and it does not begin in a queue.
    pub(crate) fn admit(
        &self,
        app: &App,
        event: &Arc<Event>,
        planned: Vec<PlannedRun>,
        wait: bool,
    ) -> (Vec<NewRun>, Vec<Job>, Waiter) {
        let mut rows = Vec::with_capacity(planned.len());
        let mut jobs = Vec::with_capacity(planned.len());
        let mut watched = Vec::new();
        let mut has_sync = false;
        let lease_until = self.lease_until(app);
        // Whether a lane is free only the store knows that all nodes share.
        let shared = app.store.is_shared();
        for run in planned {
            let sync = run.trigger.actions.iter().any(|a| a.timing == Timing::Sync);
            if wait || sync {
                watched.push(self.watches.watch(run.id));
                // A run that begins in a queue is nothing to wait for.
                self.watches.reached(run.id, &run.trigger, 0);
                has_sync |= sync;
            }
            let lane = run.ordering_key.clone().map(|key| Lane {
                tenant: event.tenant.clone(),
                trigger: run.trigger.tag.clone(),
                key,
            });
            let first = match &lane {
                None => true,
                Some(_) if shared => false,
                Some(lane) => self.lanes.enter(lane.clone()),
            };
            let place = if first && run.queue.is_none() { self.reserve(&event.tenant) } else { None };
            let held = place.is_some();
            rows.push(NewRun {
                id: run.id,
                trigger: run.trigger.tag.clone(),
                version: run.trigger.version,
                ordering_key: run.ordering_key,
                queue: run.queue,
                lease_until: held.then_some(lease_until),
            });
            jobs.push((
                held,
                Job {
                    run: run.id,
                    epoch: 1,
                    event: event.clone(),
                    trigger: run.trigger,
                    lane,
                    place,
                    queue: None,
                    replay: false,
                    holder_lost: false,
                    progress: Progress::default(),
                },
            ));
        }
        let jobs = jobs.into_iter().map(|(held, job)| if held { job } else { job.waiting() }).collect();
        (rows, jobs, Waiter::new(watched, has_sync))
    }

    /// Undoes [`Self::admit`] for runs that were not kept; their places are free once the jobs are dropped.
    pub(crate) fn withdraw(&self, jobs: &[Job]) {
        for job in jobs {
            if let Some(lane) = &job.lane {
                self.lanes.leave(lane);
            }
            self.watches.ended(job.run);
        }
    }

    /// Starts the held ones of an event's kept runs; the others are claimed when it is their turn.
    pub(crate) fn start(&self, app: &Arc<App>, jobs: Vec<Job>) {
        let (held, waiting): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(Job::is_held);
        if !waiting.is_empty() {
            self.woken.notify_one();
        }
        if app.store.is_shared() {
            self.start_lanes_of(app, &waiting);
        }
        let until = self.lease_until(app);
        for job in &held {
            self.held.insert(job.run, Held { epoch: job.epoch, until });
        }
        let one_priority = held.windows(2).all(|pair| pair[0].trigger.priority == pair[1].trigger.priority);
        if one_priority {
            held.into_iter().for_each(|job| self.spawn(app, job));
        } else {
            self.spawn_by_priority(app, held);
        }
    }

    /// Starts a run that was claimed from the store; its place was reserved before.
    pub(crate) fn start_claimed(&self, app: &Arc<App>, job: Job) {
        self.held.insert(job.run, Held { epoch: job.epoch, until: self.lease_until(app) });
        self.spawn(app, job);
    }

    fn spawn(&self, app: &Arc<App>, job: Job) {
        self.tasks.spawn_on(walked(app, job), &self.engine);
    }

    fn spawn_by_priority(&self, app: &Arc<App>, jobs: Vec<Job>) {
        let app = app.clone();
        let engine = self.engine.clone();
        let tasks = self.tasks.clone();
        self.tasks.spawn_on(
            async move {
                let mut rest = jobs.into_iter().peekable();
                while let Some(first) = rest.next() {
                    let priority = first.trigger.priority;
                    let mut group = vec![first];
                    while let Some(job) = rest.next_if(|job| job.trigger.priority == priority) {
                        group.push(job);
                    }
                    let walks = group.into_iter().map(|job| tasks.spawn_on(walked(&app, job), &engine));
                    // Past the head start the others begin although these are still on their way.
                    let _ = tokio::time::timeout(HEAD_START, join_all(walks)).await;
                }
            },
            &self.engine,
        );
    }

    /// Reserves places for runs that are to be claimed, at most `wanted`.
    pub(crate) fn room_for_claims(&self, wanted: usize) -> Vec<Place> {
        if self.is_draining() { Vec::new() } else { self.room.for_claims(wanted) }
    }

    /// Reserves a place for one run of the tenant.
    fn reserve(&self, tenant: &TenantId) -> Option<Place> {
        if self.is_draining() { None } else { self.room.enter(tenant) }
    }

    /// Something in the store was made due: claim soon.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// A run was made due at `due`: the sweeper looks no later than that.
    fn look_by(&self, due: Timestamp) {
        let due = due.as_millisecond();
        if self.next_look.fetch_min(due, Ordering::Relaxed) > due {
            self.woken.notify_one();
        }
    }

    /// The sweeper looks next at `at`.
    pub(crate) fn looks_at(&self, at: Timestamp) {
        self.next_look.store(at.as_millisecond(), Ordering::Relaxed);
    }

    /// When a lease taken now runs out.
    pub(crate) fn lease_until(&self, app: &App) -> Timestamp {
        app.clock.now() + self.limits.lease
    }

    /// The leases that have used up a third of their time, with their epochs: to be renewed. One that lasts longer than any can
    /// is of before the clock was set back: how much of it is left nobody knows.
    pub(crate) fn aging_leases(&self, now: Timestamp) -> Vec<(RunId, i64)> {
        let fresh = now + self.limits.lease.mul_f64(2.0 / 3.0)..=now + self.limits.lease;
        let aging = self.held.iter().filter(|held| !fresh.contains(&held.until));
        aging.map(|held| (*held.key(), held.epoch)).collect()
    }

    /// A lease now lasts until `until`.
    pub(crate) fn renewed(&self, run: RunId, until: Timestamp) {
        if let Some(mut held) = self.held.get_mut(&run) {
            held.until = until;
        }
    }

    /// The run's end or release is stored: lets go of it, and lets its lane's next run in.
    async fn settled(&self, app: &Arc<App>, mut job: Job, next: RunNext) {
        self.let_go(&mut job);
        let status = match &next {
            RunNext::Hold(_) => return,
            RunNext::Release { due, .. } => {
                self.look_by(*due);
                FeedStatus::Pending
            }
            RunNext::Delivered => FeedStatus::Delivered,
            RunNext::Failed { code, .. } => {
                tracing::warn!(
                    run.id = %job.run, trigger = %job.trigger.tag, code,
                    "Dead-lettered run {} of trigger {} with {code}", job.run, job.trigger.tag
                );
                metrics::counter!("triggerd_dead_letters_total", "code" => code.clone()).increment(1);
                FeedStatus::Failed
            }
        };
        app.feed.tell(&job.event, Some((job.run, &job.trigger.tag)), status, app.clock.now());
        if matches!(next, RunNext::Release { .. }) {
            return;
        }
        self.watches.ended(job.run);
        metrics::histogram!("triggerd_event_lag_seconds").record(lag_seconds(app, &job));
        if let Some(lane) = &job.lane {
            // Of a shared store's lanes nothing is counted here.
            if app.store.is_shared() || self.lanes.leave(lane) {
                Box::pin(self.start_next_of(app, lane)).await;
            }
        }
    }

    /// The run is not to be written any more: another holder has it, or the store failed.
    fn lost(&self, mut job: Job, why: &'static str) {
        metrics::counter!("triggerd_runs_let_go_total", "why" => why).increment(1);
        self.let_go(&mut job);
        self.woken.notify_one();
    }

    fn let_go(&self, job: &mut Job) {
        self.held.remove(&job.run);
        job.place = None;
    }

    /// Starts the first runs of the lanes that these runs, kept in a shared store, have come to.
    fn start_lanes_of(&self, app: &Arc<App>, waiting: &[Job]) {
        let mut lanes: Vec<&Lane> = waiting.iter().filter_map(|job| job.lane.as_ref()).collect();
        lanes.dedup();
        for lane in lanes {
            let (app, lane) = (app.clone(), lane.clone());
            self.tasks.spawn_on(async move { app.dispatch.start_next_of(&app, &lane).await }, &self.engine);
        }
    }

    async fn start_next_of(&self, app: &Arc<App>, lane: &Lane) {
        let Some(place) = self.reserve(&lane.tenant) else {
            // The sweeper claims it when there is room.
            self.woken.notify_one();
            return;
        };
        let now = app.clock.now();
        match app.store.claim_lane(&lane.tenant, &lane.trigger, &lane.key, now, self.lease_until(app)).await {
            Ok(Some(claimed)) => crate::sweep::start(app, claimed, place).await,
            // In a shared store another run of the lane is on its way, and whoever has it goes on when it ends.
            Ok(None) if app.store.is_shared() => {}
            Ok(None) => self.woken.notify_one(),
            Err(error) => {
                self.woken.notify_one();
                tracing::error!(%error, "The next run of a lane could not be claimed; the sweeper tries again: {error}");
            }
        }
    }

    /// Forgets what nobody waits for any more.
    pub(crate) fn tidy(&self) {
        self.watches.forget_abandoned();
        self.destinations.tidy();
    }

    /// Gives places to actions whose requests are not one attempt each.
    #[must_use]
    pub fn places(&self) -> Places {
        Places(self.destinations.clone())
    }

    /// Runs in memory.
    #[must_use]
    pub fn held(&self) -> usize {
        self.room.taken()
    }

    /// Whether new work is refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Refuses new work from now on.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Waits for the runs on their way until `deadline`; what is left then is told to the caller, to be handed back.
    pub(crate) async fn drained(&self, deadline: tokio::time::Instant) -> Vec<(RunId, i64)> {
        self.begin_drain();
        self.tasks.close();
        let _ = tokio::time::timeout_at(deadline, self.tasks.wait()).await;
        self.held.iter().map(|held| (*held.key(), held.epoch)).collect()
    }

    /// The tenant's run was made pending again by a replay: its lane counts it.
    pub(crate) fn replayed(&self, app: &App, tenant: &TenantId, trigger: &Arc<str>, key: Option<&str>) {
        if let Some(key) = key.filter(|_| !app.store.is_shared()) {
            self.lanes.enter(Lane { tenant: tenant.clone(), trigger: trigger.clone(), key: key.to_owned() });
        }
        self.wake();
    }
}

/// A run's walk. Boxed: a task is aligned to 128 bytes, which costs an allocator much more where it is large.
fn walked(app: &Arc<App>, job: Job) -> BoxFuture<'static, ()> {
    let app = app.clone();
    let span = spans::run(&job.event, &job.trigger.tag, job.run);
    let walk = async move { walk::walk(&app, job).await };
    match span {
        None => Box::pin(walk),
        Some(span) => Box::pin(walk.instrument(span)),
    }
}

fn lag_seconds(app: &App, job: &Job) -> f64 {
    let lag = app.clock.now().as_millisecond() - job.event.accepted_at.as_millisecond();
    lag.max(0) as f64 / 1000.0
}
