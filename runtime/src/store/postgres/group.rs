//! What a group does in the database, and what becomes of the runs that this node holds.
//!
//! A group is one statement (`statement.rs`), or one transaction where it has ordering keys, idempotency keys or two reports on one
//! run.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use triggerd_core::id::{RunId, TenantId};
use uuid::Uuid;

use super::held::Dropped;
use super::link::Session;
use super::node::Node;
use super::statement::{Batch, Texts};
use super::writer::{Done, Op, Trouble};
use super::{idempotency, lanes};
use crate::seeded::Fault;
use crate::store::rows::{AppendRow, State, UpdateRow};
use crate::store::{AppendOutcome, Idempotency};

/// A group on its way.
pub(super) struct Group<'a> {
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

/// Answers that are there already, by whose they are and their keys.
type Known = HashMap<(TenantId, String), Idempotency>;

/// What was kept of a group.
struct Kept {
    /// Of each round: whether each report took effect.
    held: Vec<Vec<bool>>,
    known: Known,
    /// Runs are due that any node may take.
    leaves_work: bool,
}

impl<'a> Group<'a> {
    pub(super) fn new(ops: &'a [&'a Op], node: &'a Node, texts: &'a Texts, id: i64, now_ms: i64) -> Self {
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
            let held = self.node.held.find(row.id, row.epoch);
            let Some((queued, lane)) = held.or_else(|| Fault::NoFence.is_ordered().then_some((true, None))) else {
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

    /// Keeps the group and settles what it says of the runs that this node holds.
    pub(super) async fn keep(&self, conn: &mut PgConnection) -> Result<Vec<Done>, Trouble> {
        let reports = self.reports();
        let keys: Vec<(&TenantId, &Idempotency)> =
            self.appends().filter_map(|row| row.idempotency.as_ref().map(|answer| (&row.tenant, answer))).collect();
        let has_lanes = self.appends().any(|row| row.runs.iter().any(|run| run.ordering_key.is_some()));
        let is_simple = keys.is_empty() && !has_lanes && reports.lanes.is_empty() && reports.rounds.len() <= 1;
        let kept = if is_simple {
            self.keep_at_once(conn, &reports).await?
        } else {
            sqlx::query("BEGIN").execute(&mut *conn).await?;
            let kept = self.keep_in_steps(conn, &reports, &keys).await;
            let end = match &kept {
                Ok(_) => Some("COMMIT"),
                Err(Trouble::Unknown(_)) => None,
                Err(_) => Some("ROLLBACK"),
            };
            if let Some(end) = end {
                sqlx::query(end).execute(conn).await?;
            }
            kept?
        };
        if kept.leaves_work {
            self.node.wake.due();
        }
        self.settle(&reports, &kept.held);
        Ok(self.done(&reports, &kept))
    }

    /// Everything in one statement.
    async fn keep_at_once(&self, conn: &mut PgConnection, reports: &Reports<'a>) -> Result<Kept, Trouble> {
        let mut batch = Batch::default();
        self.appends().for_each(|row| batch.add(row, self.node, self.id, self.now_ms));
        reports.rounds.iter().flatten().for_each(|(row, queued)| batch.update(row, *queued));
        let held = vec![self.write(conn, &batch).await?];
        Ok(Kept { held, known: Known::new(), leaves_work: batch.leaves_work() })
    }

    /// Statement by statement, in a transaction.
    async fn keep_in_steps(
        &self,
        conn: &mut PgConnection,
        reports: &Reports<'a>,
        keys: &[(&TenantId, &Idempotency)],
    ) -> Result<Kept, Trouble> {
        let mut locked = reports.lanes.clone();
        for row in self.appends() {
            let keys = row.runs.iter().filter_map(|run| Some((run, run.ordering_key.as_deref()?)));
            locked.extend(keys.map(|(run, key)| lanes::digest(&row.tenant, &run.trigger, key)));
        }
        if !locked.is_empty() {
            lanes::lock(conn, &locked).await?;
        }
        let mut held = Vec::with_capacity(reports.rounds.len());
        for round in &reports.rounds {
            let mut batch = Batch::default();
            round.iter().for_each(|(row, queued)| batch.update(row, *queued));
            held.push(self.write(conn, &batch).await?);
        }
        if !reports.lanes.is_empty() {
            lanes::unpark(conn, &reports.lanes).await?;
        }
        let known = self.keep_keys(conn, keys).await?;
        let mut batch = Batch::default();
        for row in self.new_ones(&known) {
            batch.add(row, self.node, self.id, self.now_ms);
        }
        self.write(conn, &batch).await?;
        Ok(Kept { held, known, leaves_work: batch.leaves_work() || !reports.lanes.is_empty() })
    }

    /// Writes what there is of a batch; whether each of its reports took effect.
    async fn write(&self, conn: &mut PgConnection, batch: &Batch<'a>) -> Result<Vec<bool>, Trouble> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        batch.keep(conn, self.texts, self.node, self.id).await?.ok_or(Trouble::Fenced)
    }

    /// Keeps the group's keys; answers with those that have an answer already.
    async fn keep_keys(&self, conn: &mut PgConnection, keys: &[(&TenantId, &Idempotency)]) -> Result<Known, Trouble> {
        if keys.is_empty() {
            return Ok(Known::new());
        }
        // Of equal keys in the group the first counts.
        let mut seen = HashSet::new();
        let first: Vec<_> = keys.iter().copied().filter(|(tenant, i)| seen.insert((*tenant, &i.key))).collect();
        // An answer is forgotten for an event that is accepted after it has expired.
        let accepted_at = self.appends().map(|row| row.accepted_at).max().unwrap_or(self.now_ms);
        Ok(idempotency::keep(conn, &first, accepted_at).await?)
    }

    /// The events that are kept: those whose key has no answer yet, of equal keys the first, and what follows them.
    fn new_ones(&self, known: &Known) -> Vec<&'a AppendRow> {
        let mut seen = HashSet::new();
        let mut is_kept = true;
        let is_new = |row: &&AppendRow| {
            is_kept = (is_kept || !row.follows)
                && row.idempotency.as_ref().is_none_or(|answer| {
                    let key = (row.tenant.clone(), answer.key.clone());
                    !known.contains_key(&key) && seen.insert(key)
                });
            is_kept
        };
        self.appends().filter(is_new).collect()
    }

    /// The operations' results.
    fn done(&self, reports: &Reports<'_>, kept: &Kept) -> Vec<Done> {
        let mut of = reports.of.iter();
        let mut first: HashMap<(TenantId, String), &Idempotency> = HashMap::new();
        let mut is_kept = true;
        let mut appended = |row: &'a AppendRow| {
            if row.follows && !is_kept {
                return AppendOutcome::Left;
            }
            is_kept = true;
            let Some(answer) = &row.idempotency else { return AppendOutcome::Kept };
            let key = (row.tenant.clone(), answer.key.clone());
            if let Some(found) = kept.known.get(&key).or_else(|| first.get(&key).copied()) {
                is_kept = false;
                return AppendOutcome::Replayed(found.clone());
            }
            first.insert(key, answer);
            AppendOutcome::Kept
        };
        let mut recorded = || match of.next() {
            Some(Report::Asked { round, place }) => kept.held[*round][*place],
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
    fn settle(&self, reports: &Reports<'_>, held: &[Vec<bool>]) {
        for ((row, _), held) in reports.rounds.iter().flatten().zip(held.iter().flatten()) {
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
    pub(super) fn forget_new(&self) {
        self.new_held().for_each(|id| self.node.held.leave(id, 1));
    }

    /// It is unknown whether the group was kept: its runs are looked at later.
    pub(super) fn doubt(&self, session: Option<Session>) {
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
