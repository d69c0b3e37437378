//! Reading an outbox: its oldest entries become events, and are removed once those are kept.
//!
//! There is no cursor: numbers are given before the commit, so that a lower one may become visible after a higher one.
//! What is visible is committed, and is taken in the order of its numbers; a row's entries are numbered in the order of
//! its changes. An entry that was read and not removed, because the process ended in between, makes the same event again
//! and is recognised by its id.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::beside::BesideOutbox;
use super::closed::{self, Keys};
use super::entry::{self, Entry};
use super::install::{self, Found, State};
use super::names::Names;
use crate::connections::sql::{Engine, Fault, Listener, Session};
use crate::sources::Captured;
use crate::sources::accept::{accept, events};
use crate::sources::backfill::{self, Pace};
use crate::sources::plan::{Plan, TableName};
use crate::sources::task::{End, Task};

/// Entries that are read at once.
const MAX_BATCH: usize = 1000;
const FIRST_BATCH: usize = 128;
/// The pause between looks while changes come.
const BUSY_PAUSE: Duration = Duration::from_millis(15);
/// For how long after the last change that is.
const BUSY: Duration = Duration::from_secs(1);
/// The longest pause where nobody wakes the reader.
const IDLE_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause where somebody does: a waking can be missed.
const WOKEN_PAUSE: Duration = Duration::from_millis(500);
/// How often what is installed is compared with what should be.
const LOOK: Duration = Duration::from_secs(30);
/// The same for MySQL, where a column that is gone fails every write to its table.
const LOOK_MYSQL: Duration = Duration::from_secs(5);

/// A reader with its connection.
struct Reading<'r> {
    with: &'r Task<'r>,
    session: Session,
    names: Names,
    listener: Option<Listener>,
    /// The tables that there are.
    tables: Vec<TableName>,
    /// The keys of some of them.
    keys: Keys,
    /// How fast backfills go.
    pace: Pace,
    /// Entries that are asked for at once.
    limit: usize,
    /// The entries that are there may have been read before.
    doubtful: bool,
    /// When the last entry came.
    busy: Option<Instant>,
    /// The lock is held that has writers wake this side.
    sleeps: bool,
    pause: Duration,
}

/// Installs what the plan says and reads until something ends it; a fault means that the connection is of no more use.
pub async fn run(task: &Task<'_>, plans: &mut watch::Receiver<Arc<Plan>>) -> Result<End, Fault> {
    let plan = plans.borrow_and_update().clone();
    let mut reading = Reading::open(task, &plan).await?;
    reading.carry_out(plan, plans).await
}

/// Takes what triggers wrote, and the triggers away, where the log is read instead; whether there were any.
pub async fn leave(task: &Task<'_>, plan: &Plan) -> Result<bool, Fault> {
    let pool = &task.app.services.resources.connections().sql;
    let mut session = pool.single(&plan.server).await?;
    let names = install::names(&mut session, &plan.capture.outbox).await?;
    if install::installed(&mut session, &names, plan.capture.always).await?.is_empty() {
        return Ok(false);
    }
    session.close().await;
    let nothing = Plan { triggers: Vec::new(), explicit: false, ..plan.clone() };
    let mut reading = Reading::open(task, &nothing).await?;
    reading.take_away(&nothing).await?;
    Ok(true)
}

impl<'r> Reading<'r> {
    async fn open(task: &'r Task<'r>, plan: &Plan) -> Result<Self, Fault> {
        let pool = &task.app.services.resources.connections().sql;
        let mut session = pool.single(&plan.server).await?;
        if session.engine() == Engine::Postgres {
            // An entry whose removal is lost is read again, and recognised.
            session.control("SET synchronous_commit = off").await?;
        }
        let names = install::names(&mut session, &plan.capture.outbox).await?;
        install::outbox(&mut session, &names, task.owner).await?;
        let listener = match session.engine() {
            // Behind some poolers nobody can listen: looking again and again does as well.
            Engine::Postgres => pool.listen(&plan.server, names.channel()).await.ok(),
            _ => None,
        };
        Ok(Self {
            with: task,
            session,
            names,
            listener,
            tables: Vec::new(),
            keys: Keys::default(),
            pace: Pace::default(),
            limit: FIRST_BATCH,
            doubtful: true,
            busy: None,
            sleeps: false,
            pause: BUSY_PAUSE,
        })
    }

    /// Takes the triggers away, then what they wrote.
    async fn take_away(&mut self, plan: &Plan) -> Result<(), Fault> {
        let none = std::collections::BTreeMap::new();
        for state in install::reconcile(&mut self.session, &self.names, false, &none).await? {
            self.tell(&state);
        }
        while self.read(plan).await? > 0 {}
        Ok(())
    }

    async fn carry_out(&mut self, mut plan: Arc<Plan>, plans: &mut watch::Receiver<Arc<Plan>>) -> Result<End, Fault> {
        loop {
            self.set_up(&plan).await?;
            let look = if self.session.engine() == Engine::Mysql { LOOK_MYSQL } else { LOOK };
            let looked = Instant::now();
            loop {
                let read = self.read(&plan).await?;
                if self.with.stop.is_cancelled() {
                    return Ok(End::Stopped);
                }
                if plans.has_changed().unwrap_or(true) {
                    let next = plans.borrow_and_update().clone();
                    if next.server != plan.server || next.capture != plan.capture {
                        return Ok(End::Changed);
                    }
                    plan = next;
                    break;
                }
                let more = self.backfill(&plan).await?;
                if read == 0 && !more {
                    if plan.is_idle() {
                        return Ok(End::Nothing);
                    }
                    if looked.elapsed() >= look {
                        break;
                    }
                    self.wait(plans).await?;
                } else if looked.elapsed() >= look {
                    break;
                }
            }
        }
    }

    async fn set_up(&mut self, plan: &Plan) -> Result<(), Fault> {
        let tables = install::tables(&mut self.session, &self.names).await?;
        let wanted = plan.wanted(self.with.place, &tables);
        let mut states = install::reconcile(&mut self.session, &self.names, plan.capture.always, &wanted).await?;
        let stuck = states.iter().find_map(|state| match &state.found {
            Found::Problem(problem) if plan.is_idle() => Some(format!("{}: {problem}", state.table)),
            _ => None,
        });
        if let Some(problem) = stuck {
            // Forgotten only once nothing is left of it.
            return Err(Fault::unavailable(format!("the capture of table {problem} cannot be taken away")));
        }
        states.extend(install::missing(plan, &tables));
        self.tables = tables;
        self.keys.clear();
        for state in &states {
            self.tell(state);
        }
        self.with.status.runs(plan.generation, states);
        Ok(())
    }

    fn tell(&self, state: &State) {
        let (database, table) = (&self.with.place.database, &state.table);
        match &state.found {
            Found::Good => {}
            Found::Installed => tracing::info!(database, table, "Changes of {database}/{table} are captured"),
            Found::Repaired => {
                tracing::info!(database, table, "The capture of {database}/{table} was brought up to date")
            }
            Found::Removed => {
                tracing::info!(database, table, "Changes of {database}/{table} are not captured any more")
            }
            Found::Problem(problem) => {
                tracing::warn!(database, table, "Changes of {database}/{table} are not captured: {problem}");
            }
        }
    }

    /// Reads some of the rows that exist, for the triggers that are run over them; whether there is more to be read at once.
    async fn backfill(&mut self, plan: &Plan) -> Result<bool, Fault> {
        let Self { with, session, names, keys, pace, doubtful, .. } = self;
        let mut beside = BesideOutbox { task: with, names, keys, doubtful };
        backfill::step(with, plan, session, &mut beside, pace).await
    }

    /// Takes the oldest entries; 0 where there are none.
    async fn read(&mut self, plan: &Plan) -> Result<usize, Fault> {
        backfill::prepare(self.with, plan, &self.tables, &mut self.session).await?;
        let engine = self.session.engine();
        let select = entry::select(engine, &self.names, self.limit);
        let found = self.session.batch(&select, &[], self.limit).await?;
        let mut entries: Vec<Entry> = found.rows.iter().filter_map(|row| entry::read(row)).collect();
        if entries.is_empty() {
            return Ok(0);
        }
        // What did not fit is asked for again: the next time for no more than fits.
        self.limit = if found.cut { entries.len() } else { (self.limit * 2).min(MAX_BATCH) };
        entries.truncate(closed::prefix(&mut self.session, &self.names, &mut self.keys, &entries).await?);
        let count = entries.len();
        if count == 0 {
            // One that comes before all of them has come just now.
            return Ok(1);
        }
        let ids: Vec<i64> = entries.iter().map(|entry| entry.id).collect();
        let changes: Vec<Captured> = entries.into_iter().map(|entry| entry.captured).collect();
        let last = changes.last().map(|change| change.at).unwrap_or_default();
        let Task { app, place, stop, status, .. } = self.with;
        backfill::note(self.with, &changes).await?;
        // One whose trigger comes while these are kept may be told of them.
        let again = app.sources.backfills.is_fresh(place).then(|| changes.clone());
        if !accept(app, place, events(app, place, changes), self.doubtful, None, stop).await? {
            return Ok(0);
        }
        if let Some(changes) = again
            && backfill::prepare(self.with, plan, &self.tables, &mut self.session).await?
        {
            backfill::note(self.with, &changes).await?;
        }
        let (delete, args) = entry::delete(engine, &self.names, &ids);
        self.doubtful = true;
        self.session.execute(&delete, &args).await?;
        self.doubtful = false;
        let now = app.clock.now();
        status.captured(&place.database, count, last, now);
        self.busy = Some(Instant::now());
        self.pause = BUSY_PAUSE;
        Ok(count)
    }

    /// Waits until it is time to look again.
    async fn wait(&mut self, plans: &mut watch::Receiver<Arc<Plan>>) -> Result<(), Fault> {
        let busy = self.busy.is_some_and(|at| at.elapsed() < BUSY);
        let (stop, nudge) = (self.with.stop, self.with.nudge);
        if busy && self.sleeps {
            self.lock("pg_advisory_unlock").await?;
            self.sleeps = false;
        }
        if !busy && self.listener.is_some() && !self.sleeps {
            // Said first, then looked once more: what was written in between is seen, or wakes. Not while a writer is in the
            // middle of it.
            self.sleeps = self.lock("pg_try_advisory_lock").await?;
            if self.sleeps {
                return Ok(());
            }
        }
        let pause = if busy {
            BUSY_PAUSE
        } else if self.sleeps {
            WOKEN_PAUSE
        } else {
            self.pause = (self.pause * 2).min(IDLE_PAUSE);
            self.pause
        };
        let heard = async {
            match &mut self.listener {
                Some(listener) if !busy => listener.heard().await,
                _ => std::future::pending().await,
            }
        };
        let woken = tokio::select! {
            () = stop.cancelled() => None,
            // Left for the loop around this one.
            _ = plans.changed() => {
                plans.mark_changed();
                None
            }
            () = nudge.notified() => None,
            heard = heard => Some(heard),
            () = tokio::time::sleep(pause) => None,
        };
        match woken {
            None => {}
            Some(Err(_)) => self.listener = None,
            Some(Ok(())) => {
                self.busy = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Takes or gives back the lock that says that this side sleeps; whether that was done.
    async fn lock(&mut self, function: &str) -> Result<bool, Fault> {
        let found = self.session.rows(&format!("SELECT {function}({})::text", self.names.lock()), &[], 1).await?;
        Ok(found.text() == Some("true"))
    }
}
