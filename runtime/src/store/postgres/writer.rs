//! The writers: tasks that commit what is asked for in groups, each on a connection of its own.
//!
//! While a group's commit is on its way the next gathers in the queue; nothing waits for a timer. An answer leaves only after the
//! commit that holds its write. A group is one statement (`group.rs`), or one transaction where it has ordering keys,
//! idempotency keys or two reports on one run.
//!
//! Failure story: where a row is refused, each operation is tried alone. Where the connection is lost during a commit, what
//! became of the group is unknown: callers are told `Unavailable`, and the runs of the group are looked at when the database
//! answers again. While it does not, every group is refused at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use triggerd_core::id::{RunId, TenantId};
use uuid::Uuid;

use super::group::{Batch, Texts, effective};
use super::held::Dropped;
use super::link::{Link, Session};
use super::node::Node;
use super::{fault, idempotency, lanes};
use crate::clock::Clock;
use crate::store::rows::{AppendRow, State, UpdateRow};
use crate::store::{AppendOutcome, Error, Idempotency};

/// Operations of one group, at most.
const GROUP_OPS: usize = 512;
/// Bytes of one group, about.
const GROUP_BYTES: usize = 4 << 20;
/// How long a group's commit may take before the connection counts as dead.
const COMMIT_LIMIT: Duration = Duration::from_secs(20);

/// To whom an operation's result goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What a writer can be asked for.
pub(super) enum Op {
    Append { rows: Vec<AppendRow>, answer: Answer<Vec<AppendOutcome>> },
    Record { rows: Vec<UpdateRow>, answer: Answer<Vec<bool>> },
}

/// An operation's result.
enum Done {
    Appended(Vec<AppendOutcome>),
    Recorded(Vec<bool>),
}

/// Why a group was not kept.
enum Trouble {
    /// The database said no: nothing was kept.
    Refused(sqlx::Error),
    /// This node's lease has ended: nothing was kept.
    Fenced,
    /// There is no connection: nothing was kept.
    Unreachable(Error),
    /// The connection was lost: what was kept is unknown.
    Unknown(Error),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        if fault::is_broken(&error) { Self::Unknown(error.into()) } else { Self::Refused(error) }
    }
}

/// One of the writers.
pub(super) struct Writer {
    pub(super) link: Link,
    pub(super) node: Arc<Node>,
    pub(super) texts: Arc<Texts>,
    pub(super) clock: Clock,
}

impl Writer {
    /// Works until `closing`, and then until the queue is empty.
    pub(super) async fn run(mut self, queue: Arc<Mutex<mpsc::Receiver<Op>>>, closing: CancellationToken) {
        loop {
            let group = {
                let mut queue = queue.lock().await;
                tokio::select! {
                    biased;
                    group = gather(&mut queue) => group,
                    () = closing.cancelled() => {
                        queue.close();
                        gather(&mut queue).await
                    }
                }
            };
            let Some(group) = group else { break };
            self.commit(group).await;
        }
        self.link.close().await;
    }

    /// Keeps a group and answers.
    async fn commit(&mut self, group: Vec<Op>) {
        let refs: Vec<&Op> = group.iter().collect();
        let kept = self.keep(&refs).await;
        match kept {
            Ok(done) => group.into_iter().zip(done).for_each(|(op, done)| op.answer(Ok(done))),
            // Rare: somebody's row was refused. Each on its own then, to find out whose.
            Err(Trouble::Refused(error)) if group.len() > 1 && fault::is_of_one_row(&error) => {
                for op in group {
                    let done = match self.keep(&[&op]).await {
                        Ok(mut done) => done.pop().ok_or_else(super::open::closed),
                        Err(trouble) => Err(self.told(trouble)),
                    };
                    op.answer(done);
                }
            }
            Err(Trouble::Fenced) => {
                let why = self.node.fenced();
                for op in group {
                    // Reports of a dead node change nothing; what it wanted to keep may be tried again.
                    match &op {
                        Op::Record { rows, .. } => {
                            let done = Done::Recorded(vec![false; rows.len()]);
                            op.answer(Ok(done));
                        }
                        Op::Append { .. } => op.answer(Err(why.clone())),
                    }
                }
            }
            Err(trouble) => {
                let why = self.told(trouble);
                group.into_iter().for_each(|op| op.answer(Err(why.clone())));
            }
        }
    }

    fn told(&self, trouble: Trouble) -> Error {
        let why = match trouble {
            Trouble::Refused(error) => error.into(),
            Trouble::Fenced => self.node.fenced(),
            Trouble::Unreachable(error) | Trouble::Unknown(error) => error,
        };
        if matches!(why, Error::Unavailable(_)) {
            tracing::warn!(error = %why, "A group of writes was not kept: {why}");
        }
        why
    }

    async fn keep(&mut self, ops: &[&Op]) -> Result<Vec<Done>, Trouble> {
        let id = self.node.id();
        let conn = match self.link.get().await {
            Ok(conn) => conn,
            Err(error) => {
                self.node.reached(false);
                return Err(Trouble::Unreachable(error));
            }
        };
        let mut group = Group::new(ops, &self.node, &self.texts, id, self.clock.now_ms());
        let limited = tokio::time::timeout(COMMIT_LIMIT, group.keep(conn)).await;
        let result = limited.unwrap_or_else(|_| {
            Err(Trouble::Unknown(Error::Unavailable(format!("no answer within {} s", COMMIT_LIMIT.as_secs()))))
        });
        match &result {
            Ok(_) => {}
            Err(Trouble::Refused(_) | Trouble::Fenced | Trouble::Unreachable(_)) => group.forget_new(),
            Err(Trouble::Unknown(_)) => {
                let session = self.link.cut();
                group.doubt(session);
            }
        }
        result
    }
}

/// The next group: what is waiting, at least one. `None`: nobody will ask any more.
async fn gather(queue: &mut mpsc::Receiver<Op>) -> Option<Vec<Op>> {
    let first = queue.recv().await?;
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while group.len() < GROUP_OPS
        && bytes < GROUP_BYTES
        && let Ok(op) = queue.try_recv()
    {
        bytes += op.bytes();
        group.push(op);
    }
    Some(group)
}

impl Op {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { rows, .. } => rows.iter().map(AppendRow::bytes).sum(),
            Self::Record { rows, .. } => rows.iter().map(UpdateRow::bytes).sum(),
        }
    }

    /// Answers; the caller may have gone, its write stays.
    fn answer(self, done: Result<Done, Error>) {
        match (self, done) {
            (Self::Append { answer, .. }, Ok(Done::Appended(outcomes))) => drop(answer.send(Ok(outcomes))),
            (Self::Record { answer, .. }, Ok(Done::Recorded(held))) => drop(answer.send(Ok(held))),
            (Self::Append { answer, .. }, Err(why)) => drop(answer.send(Err(why))),
            (Self::Record { answer, .. }, Err(why)) => drop(answer.send(Err(why))),
            (Self::Append { .. }, Ok(Done::Recorded(_))) | (Self::Record { .. }, Ok(Done::Appended(_))) => {
                unreachable!("answered as what it was asked as")
            }
        }
    }
}

/// A group on its way.
struct Group<'a> {
    ops: &'a [&'a Op],
    node: &'a Node,
    texts: &'a Texts,
    id: i64,
    now_ms: i64,
}

/// What becomes of a report.
#[derive(Clone, Copy)]
enum Report {
    /// This node does not hold the run: nothing is asked.
    Nobody,
    /// In which round, and at which place of it.
    Asked { round: usize, place: usize },
}

/// The reports of a group: a second one on the same run is in the next round, as one statement changes a row once.
#[derive(Default)]
struct Reports<'a> {
    rounds: Vec<Vec<(&'a UpdateRow, bool)>>,
    /// Lanes whose first run ends.
    lanes: Vec<Uuid>,
    of: Vec<Report>,
}

impl<'a> Group<'a> {
    fn new(ops: &'a [&'a Op], node: &'a Node, texts: &'a Texts, id: i64, now_ms: i64) -> Self {
        Self { ops, node, texts, id, now_ms }
    }

    fn appends(&self) -> impl Iterator<Item = &'a AppendRow> + use<'a> {
        self.ops.iter().flat_map(|op| match op {
            Op::Append { rows, .. } => rows.as_slice(),
            Op::Record { .. } => &[],
        })
    }

    fn updates(&self) -> impl Iterator<Item = &'a UpdateRow> + use<'a> {
        self.ops.iter().flat_map(|op| match op {
            Op::Record { rows, .. } => rows.as_slice(),
            Op::Append { .. } => &[],
        })
    }

    fn reports(&self) -> Reports<'a> {
        let mut reports = Reports::default();
        let mut seen: HashMap<RunId, usize> = HashMap::new();
        for row in self.updates() {
            let Some((queued, lane)) = self.node.held.find(row.id, row.epoch) else {
                reports.of.push(Report::Nobody);
                continue;
            };
            if matches!(row.state, State::Delivered | State::Failed) {
                reports.lanes.extend(lane);
            }
            let round = *seen.entry(row.id).and_modify(|n| *n += 1).or_insert(0);
            if reports.rounds.len() == round {
                reports.rounds.push(Vec::new());
            }
            reports.of.push(Report::Asked { round, place: reports.rounds[round].len() });
            reports.rounds[round].push((row, queued));
        }
        reports
    }

    async fn keep(&mut self, conn: &mut PgConnection) -> Result<Vec<Done>, Trouble> {
        let reports = self.reports();
        let keys: Vec<(&TenantId, &Idempotency)> =
            self.appends().filter_map(|row| row.idempotency.as_ref().map(|answer| (&row.tenant, answer))).collect();
        let has_lanes = self.appends().any(|row| row.runs.iter().any(|run| run.ordering_key.is_some()));
        if keys.is_empty() && !has_lanes && reports.lanes.is_empty() && reports.rounds.len() <= 1 {
            return self.keep_at_once(conn, reports).await;
        }
        sqlx::query("BEGIN").execute(&mut *conn).await?;
        let done = self.keep_in_steps(conn, reports, keys).await;
        if done.is_ok() {
            sqlx::query("COMMIT").execute(&mut *conn).await?;
        } else if !matches!(done, Err(Trouble::Unknown(_))) {
            sqlx::query("ROLLBACK").execute(conn).await?;
        }
        let (done, ended) = done?;
        self.settle(&ended);
        Ok(done)
    }

    /// Everything in one statement.
    async fn keep_at_once(&self, conn: &mut PgConnection, reports: Reports<'a>) -> Result<Vec<Done>, Trouble> {
        let mut batch = Batch::default();
        self.appends().for_each(|row| batch.add(row, self.node, self.id, self.now_ms));
        for (row, queued) in reports.rounds.first().into_iter().flatten() {
            batch.update(row, *queued);
        }
        let mut held = Vec::new();
        if !batch.is_empty() {
            let kept = batch.keep(conn, self.texts, self.node, self.id).await?;
            if !kept.alive {
                return Err(Trouble::Fenced);
            }
            held.push(effective(&batch.updates, &kept));
        }
        if batch.leaves_work() {
            self.node.wake.due();
        }
        self.settle(&Ended { updates: batch.updates.clone(), held: held.first().cloned().unwrap_or_default() });
        Ok(self.done(&reports, &held, &HashMap::new()))
    }

    /// Statement by statement, in a transaction.
    async fn keep_in_steps(
        &self,
        conn: &mut PgConnection,
        reports: Reports<'a>,
        keys: Vec<(&TenantId, &Idempotency)>,
    ) -> Result<(Vec<Done>, Ended<'a>), Trouble> {
        let mut locked = reports.lanes.clone();
        for row in self.appends() {
            let keys = row.runs.iter().filter_map(|run| Some((run, run.ordering_key.as_deref()?)));
            locked.extend(keys.map(|(run, key)| lanes::digest(&row.tenant, &run.trigger, key)));
        }
        if !locked.is_empty() {
            lanes::lock(conn, &locked).await?;
        }
        let mut ended = Ended::default();
        let mut held = Vec::new();
        for round in &reports.rounds {
            let mut batch = Batch::default();
            round.iter().for_each(|(row, queued)| batch.update(row, *queued));
            let kept = batch.keep(conn, self.texts, self.node, self.id).await?;
            if !kept.alive {
                return Err(Trouble::Fenced);
            }
            let effective = effective(&batch.updates, &kept);
            ended.updates.extend(&batch.updates);
            ended.held.extend(&effective);
            held.push(effective);
        }
        if !reports.lanes.is_empty() {
            lanes::unpark(conn, &reports.lanes).await?;
        }
        let known = self.keep_keys(conn, &keys).await?;
        let mut batch = Batch::default();
        for row in self.new_ones(&known) {
            batch.add(row, self.node, self.id, self.now_ms);
        }
        if !batch.is_empty() {
            let kept = batch.keep(conn, self.texts, self.node, self.id).await?;
            if !kept.alive {
                return Err(Trouble::Fenced);
            }
        }
        if batch.leaves_work() || !reports.lanes.is_empty() {
            self.node.wake.due();
        }
        Ok((self.done(&reports, &held, &known), ended))
    }

    /// Keeps the group's keys; answers with those that have an answer already.
    async fn keep_keys(
        &self,
        conn: &mut PgConnection,
        keys: &[(&TenantId, &Idempotency)],
    ) -> Result<HashMap<(TenantId, String), Idempotency>, Trouble> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        // Of equal keys in the group the first counts.
        let mut seen = HashSet::new();
        let first: Vec<_> = keys.iter().copied().filter(|(tenant, i)| seen.insert((*tenant, &i.key))).collect();
        // An answer is forgotten for an event that is accepted after it has expired.
        let accepted_at = self.appends().map(|row| row.accepted_at).max().unwrap_or(self.now_ms);
        Ok(idempotency::keep(conn, &first, accepted_at).await?)
    }

    /// The events that are kept: those whose key has no answer yet, of equal keys the first.
    fn new_ones(&self, known: &HashMap<(TenantId, String), Idempotency>) -> Vec<&'a AppendRow> {
        let mut seen = HashSet::new();
        let is_new = |row: &&AppendRow| {
            row.idempotency.as_ref().is_none_or(|answer| {
                let key = (row.tenant.clone(), answer.key.clone());
                !known.contains_key(&key) && seen.insert(key)
            })
        };
        self.appends().filter(is_new).collect()
    }

    /// The operations' results.
    fn done(
        &self,
        reports: &Reports<'_>,
        held: &[Vec<bool>],
        known: &HashMap<(TenantId, String), Idempotency>,
    ) -> Vec<Done> {
        let mut of = reports.of.iter();
        let mut first: HashMap<(TenantId, String), &Idempotency> = HashMap::new();
        let mut appended = |row: &'a AppendRow| {
            let Some(answer) = &row.idempotency else { return AppendOutcome::Kept };
            let key = (row.tenant.clone(), answer.key.clone());
            if let Some(found) = known.get(&key).or_else(|| first.get(&key).copied()) {
                return AppendOutcome::Replayed(found.clone());
            }
            first.insert(key, answer);
            AppendOutcome::Kept
        };
        let mut recorded = || match of.next() {
            Some(Report::Asked { round, place }) => held[*round][*place],
            Some(Report::Nobody) | None => false,
        };
        self.ops
            .iter()
            .map(|op| match op {
                Op::Append { rows, .. } => Done::Appended(rows.iter().map(&mut appended).collect()),
                Op::Record { rows, .. } => Done::Recorded(rows.iter().map(|_| recorded()).collect()),
            })
            .collect()
    }

    /// After the commit: what has ended, was given back or is another's is not held any more.
    fn settle(&self, ended: &Ended<'_>) {
        for (row, held) in ended.updates.iter().zip(&ended.held) {
            if row.state != State::Running || !held {
                self.node.held.leave(row.id, row.epoch);
            } else if let Some(until) = row.due {
                // Its holder goes on, and holds it that long.
                let lease = Duration::from_millis(u64::try_from(until - self.now_ms).unwrap_or(0));
                self.node.held.renew(row.id, row.epoch, lease);
            }
        }
    }

    fn new_held(&self) -> impl Iterator<Item = RunId> + use<'a> {
        self.appends().flat_map(|row| row.runs.iter().filter(|run| run.lease_until.is_some()).map(|run| run.id))
    }

    /// The group was not kept: its new runs are nobody's.
    fn forget_new(&self) {
        self.new_held().for_each(|id| self.node.held.leave(id, 1));
    }

    /// It is unknown whether the group was kept: its runs are looked at later.
    fn doubt(&self, session: Option<Session>) {
        let node = self.id;
        let reported = self.updates().filter(|row| self.node.held.find(row.id, row.epoch).is_some());
        let doubtful: Vec<Dropped> = self
            .new_held()
            .map(|id| Dropped { id, epoch: 1, node })
            .chain(reported.map(|row| Dropped { id: row.id, epoch: row.epoch, node }))
            .collect();
        self.node.doubt(session, &doubtful);
    }
}

/// Reports that were asked for, and whether each took effect.
#[derive(Default)]
struct Ended<'a> {
    updates: Vec<&'a UpdateRow>,
    held: Vec<bool>,
}
