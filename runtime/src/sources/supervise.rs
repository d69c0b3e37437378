//! One task for each captured database: started when a trigger wants it, told when wants change, ended when nothing does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use triggerd_core::id::TenantId;
use triggerd_core::index::Index;

use super::plan::{self, Plan};
use super::status::{Status, Told};
use super::task::{End, Task};
use super::{Place, Sources, outbox, told, wal};
use crate::app::App;
use crate::connections::sql::Fault;
use crate::resources::{CaptureFrom, Mark};
use crate::store;

/// How often definitions and resources are looked at for changes.
const LOOK: Duration = Duration::from_millis(200);
/// The first and the longest pause before a database that fails is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a node asks whether the captured databases are its to read.
const DUTY: Duration = Duration::from_secs(1);
/// What sources remember of captured databases, by `DATABASE/ENV`.
const KIND: &str = "capture";

/// The captured databases.
#[derive(Default)]
pub(super) struct Workers {
    by_place: Mutex<BTreeMap<Place, Worker>>,
    /// Asks for a look now.
    wake: Notify,
    /// How often a look was asked for.
    asked: AtomicU64,
    /// Which of those was the last to be followed.
    looked: watch::Sender<u64>,
    /// What is to be captured has changed otherwise than by definitions and resources.
    stale: AtomicBool,
    /// Whether this node reads them; nothing until it is known.
    reading: watch::Sender<Option<bool>>,
    /// Databases whose outbox this program writes into itself.
    written: Mutex<BTreeSet<Place>>,
}

struct Worker {
    plan: watch::Sender<Arc<Plan>>,
    status: Arc<Status>,
}

impl Sources {
    /// What is told of the tenant's captured databases.
    #[must_use]
    pub fn told(&self, tenant: &TenantId, database: &str) -> Vec<(Place, Told)> {
        let workers = self.workers.by_place.lock();
        let own = workers.iter().filter(|(place, _)| place.tenant == *tenant && place.database == database);
        own.map(|(place, worker)| (place.clone(), worker.status.told())).collect()
    }

    /// What is told of all captured databases, as JSON, by tenant and `DATABASE/ENV`.
    pub(super) fn all_told(&self) -> BTreeMap<(TenantId, String), Value> {
        let workers = self.workers.by_place.lock();
        let one = |(place, worker): (&Place, &Worker)| {
            ((place.tenant.clone(), key_of(place)), worker.status.told().shown(&place.env))
        };
        workers.iter().map(one).collect()
    }

    /// Whether this node reads the captured databases.
    pub(super) fn reads(&self) -> bool {
        *self.workers.reading.borrow() == Some(true)
    }

    /// Whether it does, once that is known.
    pub(super) async fn knows_whether_it_reads(&self) -> bool {
        let mut reading = self.workers.reading.subscribe();
        // The sender is this struct's own: it is not dropped before.
        reading.wait_for(Option::is_some).await.is_ok_and(|reads| *reads == Some(true))
    }

    /// Sees to it that the outbox of a database is read, into which this program is about to write itself: before it does,
    /// so that nothing is forgotten in between.
    pub async fn read(&self, app: &App, place: &Place) -> Result<(), store::Error> {
        if self.workers.written.lock().contains(place) {
            return Ok(());
        }
        let value = json!({ "written": true });
        app.store.put_source_state(&place.tenant, KIND, &key_of(place), &value, app.clock.now()).await?;
        self.workers.written.lock().insert(place.clone());
        self.workers.stale.store(true, Ordering::SeqCst);
        self.workers.wake.notify_one();
        Ok(())
    }

    /// Has what is installed in a database compared with what should be, now.
    pub(super) fn look_again(&self, tenant: &TenantId, database: &str) {
        let workers = self.workers.by_place.lock();
        for (_, worker) in workers.iter().filter(|(place, _)| place.tenant == *tenant && place.database == database) {
            // A plan of another number, which is waited for.
            worker
                .plan
                .send_modify(|plan| *plan = Arc::new(Plan { generation: plan.generation + 1, ..Plan::clone(plan) }));
        }
    }

    /// Waits until this node, which reads, has carried out what definitions and resources say by now in the tenant's databases,
    /// or could not.
    pub(super) async fn settle_here(&self, tenant: &TenantId) {
        let workers = &self.workers;
        let asked = workers.asked.fetch_add(1, Ordering::SeqCst) + 1;
        workers.wake.notify_one();
        let _ = workers.looked.subscribe().wait_for(|looked| *looked >= asked).await;
        let own: Vec<_> = {
            let workers = workers.by_place.lock();
            let own = workers.iter().filter(|(place, _)| place.tenant == *tenant);
            own.map(|(_, worker)| (worker.status.clone(), worker.plan.borrow().generation)).collect()
        };
        for (status, generation) in own {
            status.settled(generation).await;
        }
    }
}

/// Reads the captured databases while that is this node's duty, until `stop`: of several nodes one does.
pub async fn supervise(app: Arc<App>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let is_ours = has_duty(&app).await;
        if is_ours {
            let until = stop.child_token();
            let reading = read_all(app.clone(), until.clone());
            tokio::pin!(reading);
            loop {
                tokio::select! {
                    () = &mut reading => break,
                    () = tokio::time::sleep(DUTY), if app.store.is_shared() => {}
                }
                if !has_duty(&app).await {
                    until.cancel();
                }
            }
            app.sources.workers.by_place.lock().clear();
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(DUTY) => {}
        }
    }
}

/// A node that cannot ask goes on for as long as its lease lasts.
async fn has_duty(app: &App) -> bool {
    let reading = &app.sources.workers.reading;
    let has = match app.store.take_duty("sources").await {
        Ok(has) => has,
        Err(_) => app.sources.reads() && app.store.holds_its_runs(),
    };
    reading.send_replace(Some(has));
    has
}

/// Keeps every captured database's task, until `stop`.
async fn read_all(app: Arc<App>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let owner = loop {
        let started = async {
            // Rows that a backfill leaves out are noted from the first change on.
            app.sources.backfills.load(&app).await?;
            installation(&app).await
        };
        match started.await {
            Ok(owner) => break owner,
            Err(error) => {
                tracing::error!("Databases are not captured yet: {error}");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(FIRST_PAUSE) => {}
                }
            }
        }
    };
    tasks.spawn(told::keep(app.clone(), stop.clone()));
    let mut known = remembered(&app).await;
    // Between two of them a look may be asked for.
    let (mut generation, mut seen): (u64, Option<(Arc<Index>, Mark)>) = (0, None);
    while !stop.is_cancelled() {
        let asked = app.sources.workers.asked.load(Ordering::SeqCst);
        let now = (Arc::clone(&app.definitions.index()), app.services.resources.mark());
        // What was seen is kept: something new cannot come to lie where it did.
        let same = seen.as_ref().is_some_and(|(index, mark)| Arc::ptr_eq(index, &now.0) && *mark == now.1);
        if app.sources.workers.stale.swap(false, Ordering::SeqCst) || !same {
            generation += 1 << 20;
            seen = Some(now);
            let written = app.sources.workers.written.lock().clone();
            let plans = plan::all(&app, generation, &known, &written);
            follow(&app, plans, &mut known, &owner, &tasks, &stop).await;
        }
        app.sources.workers.looked.send_replace(asked);
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.sources.workers.wake.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        known.retain(|place| !app.sources.workers.is_over(place));
    }
    tasks.close();
    tasks.wait().await;
}

impl Workers {
    /// Whether its task came to an end because nothing is left to capture.
    fn is_over(&self, place: &Place) -> bool {
        !self.by_place.lock().contains_key(place)
    }
}

/// Hands new plans to the tasks, and starts those that there are none of.
async fn follow(
    app: &Arc<App>,
    plans: BTreeMap<Place, Plan>,
    known: &mut BTreeSet<Place>,
    owner: &str,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    for (place, plan) in plans {
        let is_known = !known.insert(place.clone());
        if !is_known && !app.sources.workers.written.lock().contains(&place) {
            remember(app, &place).await;
        }
        let plan = Arc::new(plan);
        let mut workers = app.sources.workers.by_place.lock();
        if let Some(worker) = workers.get(&place) {
            worker.plan.send_if_modified(|old| {
                let other = !old.is_like(&plan);
                if other {
                    *old = plan.clone();
                }
                other
            });
            continue;
        }
        let (sender, receiver) = watch::channel(plan);
        let status = Arc::new(Status::default());
        workers.insert(place.clone(), Worker { plan: sender, status: status.clone() });
        drop(workers);
        let work = work(app.clone(), place, receiver, status, owner.to_owned(), is_known, stop.clone());
        tasks.spawn(work);
    }
}

/// Captures one database, through faults and restarts of it.
async fn work(
    app: Arc<App>,
    place: Place,
    mut plans: watch::Receiver<Arc<Plan>>,
    status: Arc<Status>,
    owner: String,
    known: bool,
    stop: CancellationToken,
) {
    let nudge = app.sources.nudges.of(&place);
    let mut pause = FIRST_PAUSE;
    let (mut told, mut ran) = (None, false);
    while !stop.is_cancelled() {
        let generation = plans.borrow().generation;
        let began = std::time::Instant::now();
        let task = Task {
            app: &app,
            place: &place,
            status: &status,
            nudge: &nudge,
            stop: &stop,
            owner: &owner,
            known: known || ran,
        };
        let end = capture(&task, &mut plans).await;
        ran |= status.told().running;
        match end {
            Ok(End::Stopped) => return,
            Ok(End::Changed) => {}
            Ok(End::Nothing) => {
                forget(&app, &place).await;
                app.sources.workers.by_place.lock().remove(&place);
                app.sources.nudges.forget(&place);
                return;
            }
            Err(fault) => {
                let generation = generation.max(plans.borrow().generation);
                // What stays the same is told once.
                if told.as_ref() != Some(&fault.message) {
                    tracing::warn!(
                        tenant = %place.tenant, database = place.database, env = place.env, code = fault.code,
                        "Changes of database {} are not captured just now: {fault}", place.database
                    );
                    told = Some(fault.message.clone());
                }
                status.fails(generation, fault.message);
                pause = if began.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = plans.changed() => plans.mark_changed(),
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

async fn capture(task: &Task<'_>, plans: &mut watch::Receiver<Arc<Plan>>) -> Result<End, Fault> {
    let plan = plans.borrow().clone();
    match plan.capture.from {
        CaptureFrom::Outbox => {
            // It may have been captured from the log before.
            if task.known && plan.server.url.starts_with("postgres") {
                let mut session = task.app.services.resources.connections().sql.single(&plan.server).await?;
                wal::remove(&mut session, &wal::names(task.owner, task.place)).await?;
                session.close().await;
            }
            outbox::run(task, plans).await
        }
        CaptureFrom::Log => wal::run(task, plans).await,
    }
}

/// Names this installation among all that may read a database: made once, kept in the store.
async fn installation(app: &App) -> Result<String, store::Error> {
    let (tenant, key) = (TenantId::new(TenantId::DEFAULT), "id");
    if let Some(known) = app.store.source_state(&tenant, "installation", key).await? {
        return Ok(known.as_str().unwrap_or_default().to_owned());
    }
    let id = format!("triggerd {}", hex::encode(app.clock.id_bits()));
    app.store.put_source_state(&tenant, "installation", key, &json!(id), app.clock.now()).await?;
    Ok(id)
}

/// The databases that something may be installed in.
async fn remembered(app: &App) -> BTreeSet<Place> {
    match app.store.source_states(KIND).await {
        Ok(known) => {
            let mut places = BTreeSet::new();
            for (tenant, key, value) in known {
                let Some(place) = place_of(tenant, &key) else { continue };
                if value["written"] == json!(true) {
                    app.sources.workers.written.lock().insert(place.clone());
                }
                places.insert(place);
            }
            places
        }
        Err(error) => {
            tracing::error!("Databases that were captured and are not to be any more stay as they are: {error}");
            BTreeSet::new()
        }
    }
}

async fn remember(app: &App, place: &Place) {
    if let Err(error) =
        app.store.put_source_state(&place.tenant, KIND, &key_of(place), &json!({}), app.clock.now()).await
    {
        tracing::error!("That database {} is captured is not remembered: {error}", place.database);
    }
}

async fn forget(app: &App, place: &Place) {
    if let Err(error) = app.store.delete_source_state(&place.tenant, KIND, &key_of(place)).await {
        tracing::error!("That database {} is not captured any more is not remembered: {error}", place.database);
    }
}

/// Tags hold no slash.
fn key_of(place: &Place) -> String {
    format!("{}/{}", place.database, place.env)
}

fn place_of(tenant: TenantId, key: &str) -> Option<Place> {
    let (database, env) = key.split_once('/')?;
    Some(Place { tenant, database: database.to_owned(), env: env.to_owned() })
}
