//! The SQL of the hot path: everything that a group keeps in one statement, which is its own transaction.
//!
//! Rows travel as arrays, one for each column, so that the text is the same for any number of them and is prepared once. A text has
//! only the parts that its group needs. Groups with ordering keys or idempotency keys need several statements
//! (`group.rs`); they use the same texts.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Arguments as _, AssertSqlSafe, Encode, Postgres, Row as _, Type};
use triggerd_core::id::TenantId;
use uuid::Uuid;

use super::lanes;
use super::node::{FENCE, Node};
use super::text::kept;
use crate::seeded::Fault;
use crate::store::NewRun;
use crate::store::rows::{AppendRow, State, UpdateRow};

/// Which parts a text has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
struct Parts {
    events: bool,
    runs: bool,
    /// Some of the runs wait in `queue`.
    waiting: bool,
    updates: bool,
    /// Some of the reported runs may be named in `queue`, and have ended.
    ended: bool,
    /// Some are given back.
    released: bool,
    /// Some have failed.
    failed: bool,
}

/// The texts made so far.
#[derive(Default)]
pub(super) struct Texts(DashMap<Parts, Arc<str>>);

/// What one statement keeps.
#[derive(Default)]
pub(super) struct Batch<'a> {
    events: Vec<&'a AppendRow>,
    runs: Vec<PlacedRun<'a>>,
    updates: Vec<&'a UpdateRow>,
    /// Of each update: whether `queue` may name its run.
    queued: Vec<bool>,
    /// Lanes that runs are added to.
    lanes: HashSet<Uuid>,
}

/// A new run, and where it goes.
struct PlacedRun<'a> {
    run: &'a NewRun,
    tenant: &'a TenantId,
    event: Uuid,
    accepted_at: i64,
    /// `queue` names it from the beginning: it waits, or nobody would find it.
    queued: bool,
    lane: Option<Uuid>,
    /// Another run of its lane is before it in this batch.
    later: bool,
}

impl<'a> Batch<'a> {
    /// Adds an event. Those of its runs that this node holds from the start are entered among the held.
    pub(super) fn add(&mut self, row: &'a AppendRow, node: &Node, id: i64, now_ms: i64) {
        self.events.push(row);
        for run in &row.runs {
            let lane = run.ordering_key.as_deref().map(|key| lanes::digest(&row.tenant, &run.trigger, key));
            let queued = match run.lease_until {
                Some(until) => {
                    let lease = u64::try_from(until.as_millisecond() - now_ms).unwrap_or(0);
                    let lease = Duration::from_millis(lease);
                    node.held.enter(id, (run.id, 1), lease, lane.is_some(), lane)
                }
                None => true,
            };
            let later = lane.is_some_and(|lane| !self.lanes.insert(lane));
            self.runs.push(PlacedRun {
                run,
                tenant: &row.tenant,
                event: row.id.0,
                accepted_at: row.accepted_at,
                queued,
                lane,
                later,
            });
        }
    }

    /// Adds a report on a run that this node holds.
    pub(super) fn update(&mut self, row: &'a UpdateRow, queued: bool) {
        self.updates.push(row);
        self.queued.push(queued);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.updates.is_empty()
    }

    fn parts(&self) -> Parts {
        let updates = || self.updates.iter().zip(&self.queued);
        Parts {
            events: !self.events.is_empty(),
            runs: !self.runs.is_empty(),
            waiting: self.runs.iter().any(|placed| placed.queued),
            updates: !self.updates.is_empty(),
            ended: updates().any(|(row, queued)| *queued && matches!(row.state, State::Delivered | State::Failed)),
            released: updates().any(|(row, _)| row.state == State::Pending),
            failed: updates().any(|(row, _)| row.state == State::Failed),
        }
    }

    /// Whether any of it is to be told to other nodes: runs that any may take.
    pub(super) fn leaves_work(&self) -> bool {
        self.runs.iter().any(|placed| placed.queued && placed.run.lease_until.is_none())
    }

    /// Keeps all of it; whether each report took effect, in their order. `None` where the node is dead: nothing was kept.
    pub(super) async fn keep(
        &self,
        conn: &mut PgConnection,
        texts: &Texts,
        node: &Node,
        id: i64,
    ) -> Result<Option<Vec<bool>>, sqlx::Error> {
        let parts = self.parts();
        let text = texts.of(parts);
        let mut arguments = PgArguments::default();
        push(&mut arguments, id)?;
        if parts.events {
            self.bind_events(&mut arguments)?;
        }
        if parts.runs {
            self.bind_runs(&mut arguments, node)?;
        }
        if parts.updates {
            self.bind_updates(&mut arguments, node)?;
        }
        let row = sqlx::query_with(AssertSqlSafe(text), arguments).fetch_one(conn).await?;
        if row.try_get::<i64, _>(0)? == 0 {
            return Ok(None);
        }
        let updated: Vec<Uuid> = row.try_get(1)?;
        if updated.len() == self.updates.len() {
            return Ok(Some(vec![true; updated.len()]));
        }
        let updated: HashSet<Uuid> = updated.into_iter().collect();
        Ok(Some(self.updates.iter().map(|row| updated.contains(&row.id.0)).collect()))
    }

    fn bind_events(&self, out: &mut PgArguments) -> Result<(), sqlx::Error> {
        let rows = &self.events;
        push(out, rows.iter().map(|row| row.id.0).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|row| row.tenant.as_str()).collect::<Vec<_>>())?;
        push(out, texts_of(rows.iter().map(|row| Some(&*row.event_type))))?;
        push(out, texts_of(rows.iter().map(|row| row.source.as_deref())))?;
        push(out, texts_of(rows.iter().map(|row| row.table.as_deref())))?;
        push(out, rows.iter().map(|row| row.accepted_at).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|row| row.runs.len() as i64).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|row| row.runs.iter().map(|run| run.id.0).min()).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|row| row.runs.iter().map(|run| run.id.0).max()).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|row| i64::from(row.crc)).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|row| &*row.body).collect::<Vec<&str>>())
    }

    fn bind_runs(&self, out: &mut PgArguments, node: &Node) -> Result<(), sqlx::Error> {
        let rows = &self.runs;
        push(out, rows.iter().map(|placed| placed.run.id.0).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|placed| placed.event).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|placed| placed.tenant.as_str()).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|placed| &*placed.run.trigger).collect::<Vec<&str>>())?;
        push(out, rows.iter().map(|placed| i64::from(placed.run.version)).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|placed| placed.run.lease_until.is_some()).collect::<Vec<_>>())?;
        push(out, texts_of(rows.iter().map(|placed| placed.run.queue.as_deref())))?;
        push(out, texts_of(rows.iter().map(|placed| placed.run.ordering_key.as_deref())))?;
        push(out, rows.iter().map(|placed| placed.accepted_at).collect::<Vec<_>>())?;
        if rows.iter().any(|placed| placed.queued) {
            let due = |placed: &PlacedRun<'_>| node.skew.in_database(placed.accepted_at);
            push(out, rows.iter().map(|placed| placed.queued).collect::<Vec<_>>())?;
            push(out, rows.iter().map(due).collect::<Vec<_>>())?;
            push(out, rows.iter().map(|placed| placed.lane).collect::<Vec<_>>())?;
            push(out, rows.iter().map(|placed| placed.later).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn bind_updates(&self, out: &mut PgArguments, node: &Node) -> Result<(), sqlx::Error> {
        let rows = &self.updates;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id.0).collect();
        push(out, ids.iter().min().copied())?;
        push(out, ids.iter().max().copied())?;
        push(out, ids)?;
        push(out, rows.iter().map(|row| row.epoch).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|row| row.state as i16).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|row| row.due.map(|due| node.skew.in_database(due))).collect::<Vec<_>>())?;
        push(out, texts_of(rows.iter().map(|row| row.queue.as_deref())))?;
        push(out, rows.iter().map(|row| &*row.progress).collect::<Vec<&str>>())?;
        push(out, rows.iter().map(|row| row.attempts).collect::<Vec<_>>())?;
        push(out, rows.iter().map(|row| row.last_attempt).collect::<Vec<_>>())?;
        push(out, texts_of(rows.iter().map(|row| row.error.as_ref().map(|(code, _)| code.as_str()))))?;
        push(out, texts_of(rows.iter().map(|row| row.error.as_ref().map(|(_, message)| message.as_str()))))?;
        push(out, rows.iter().map(|row| row.finished).collect::<Vec<_>>())
    }
}

fn texts_of<'t>(texts: impl Iterator<Item = Option<&'t str>>) -> Vec<Option<Cow<'t, str>>> {
    texts.map(|text| text.map(kept)).collect()
}

fn push<'t, T: Encode<'t, Postgres> + Type<Postgres> + 't>(out: &mut PgArguments, value: T) -> Result<(), sqlx::Error> {
    out.add(value).map_err(sqlx::Error::Encode)
}

impl Texts {
    fn of(&self, parts: Parts) -> Arc<str> {
        if let Some(text) = self.0.get(&parts) {
            return text.clone();
        }
        let text: Arc<str> = write(parts).into();
        self.0.insert(parts, text.clone());
        text
    }
}

/// Columns with their array types, as `unnest` takes them, from parameter `$next` on.
fn unnest(next: &mut usize, columns: &[(&str, &str)]) -> String {
    let arrays: Vec<String> = columns
        .iter()
        .map(|(_, of)| {
            let text = format!("${next}::{of}[]");
            *next += 1;
            text
        })
        .collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    format!("unnest({}) AS u ({})", arrays.join(", "), names.join(", "))
}

const EVENT: [(&str, &str); 11] = [
    ("id", "uuid"),
    ("tenant", "text"),
    ("type", "text"),
    ("source", "text"),
    ("tbl", "text"),
    ("accepted_at", "bigint"),
    ("run_count", "bigint"),
    ("first_run", "uuid"),
    ("last_run", "uuid"),
    ("crc", "bigint"),
    ("body", "text"),
];

const RUN: [(&str, &str); 9] = [
    ("id", "uuid"),
    ("event_id", "uuid"),
    ("tenant", "text"),
    ("trigger", "text"),
    ("version", "bigint"),
    ("held", "boolean"),
    ("queue", "text"),
    ("ordering_key", "text"),
    ("created_at", "bigint"),
];

const PLACE: [(&str, &str); 4] = [("queued", "boolean"), ("due_at", "bigint"), ("lane", "uuid"), ("later", "boolean")];

const UPDATE: [(&str, &str); 11] = [
    ("id", "uuid"),
    ("epoch", "bigint"),
    ("state", "smallint"),
    ("due_at", "bigint"),
    ("queue", "text"),
    ("progress", "text"),
    ("attempts", "bigint"),
    ("last_attempt_at", "bigint"),
    ("error_code", "text"),
    ("error", "text"),
    ("finished_at", "bigint"),
];

/// What a report has to agree with to take effect.
const STILL_HELD: &str = "AND r.epoch = u.epoch AND r.holder = node.id AND r.state = 1";

/// The parts of a text that keep out a node whose lease has ended.
fn fence() -> (&'static str, &'static str) {
    if Fault::NoFence.is_ordered() {
        return ("node AS MATERIALIZED (SELECT $1::bigint AS id)", "");
    }
    (FENCE, STILL_HELD)
}

fn write(parts: Parts) -> String {
    let mut next = 2;
    let (fence, still_held) = fence();
    let mut with = vec![fence.to_owned()];
    if parts.events {
        with.push(format!(
            "events_kept AS (INSERT INTO events (id, tenant, type, source, tbl, accepted_at, run_count, first_run, last_run, crc, body) \
             SELECT u.* FROM node, {})",
            unnest(&mut next, &EVENT)
        ));
    }
    if parts.runs {
        let columns = if parts.waiting { [&RUN[..], &PLACE[..]].concat() } else { RUN.to_vec() };
        let rows = unnest(&mut next, &columns);
        with.push(format!("planned AS MATERIALIZED (SELECT u.*, node.id AS node FROM node, {rows})"));
        with.push(
            "runs_kept AS (INSERT INTO runs (id, event_id, tenant, trigger, version, state, epoch, holder, queue, ordering_key, \
             lane_seq, created_at) SELECT id, event_id, tenant, trigger, version, held::int, held::int, \
             CASE WHEN held THEN node END, queue, ordering_key, CASE WHEN ordering_key IS NOT NULL THEN nextval('lane_seq') END, \
             created_at FROM planned RETURNING id, lane_seq)"
                .to_owned(),
        );
        if parts.waiting {
            with.push(
                "waiting AS (INSERT INTO queue (run_id, event_id, tenant, due_at, holder, parked, lane, lane_seq, created_at) \
                 SELECT p.id, p.event_id, p.tenant, CASE WHEN NOT p.held THEN p.due_at END, CASE WHEN p.held THEN p.node END, \
                 p.lane IS NOT NULL AND NOT p.held AND (p.later OR EXISTS (SELECT 1 FROM queue AS o WHERE o.lane = p.lane)), \
                 p.lane, k.lane_seq, p.created_at FROM planned AS p JOIN runs_kept AS k ON k.id = p.id WHERE p.queued)"
                    .to_owned(),
            );
        }
    }
    let mut updated = "'{}'::uuid[]".to_owned();
    if parts.updates {
        let (low, high) = (next, next + 1);
        next += 2;
        let rows = unnest(&mut next, &UPDATE);
        with.push(format!(
            "reported AS (UPDATE runs AS r SET state = u.state, holder = CASE WHEN u.state = 1 THEN r.holder END, \
             queue = CASE WHEN u.state = 0 THEN u.queue ELSE r.queue END, progress = u.progress, attempts = u.attempts, \
             last_attempt_at = u.last_attempt_at, error_code = u.error_code, error = u.error, finished_at = u.finished_at \
             FROM node, {rows} WHERE r.id = u.id AND r.id BETWEEN ${low} AND ${high} {still_held} \
             RETURNING r.id, r.state, r.event_id, r.tenant, r.created_at, u.due_at)"
        ));
        if parts.ended {
            with.push(
                "ended AS (DELETE FROM queue AS q USING reported AS d WHERE q.run_id = d.id AND d.state >= 2)"
                    .to_owned(),
            );
        }
        if parts.released {
            with.push(
                "released AS (INSERT INTO queue (run_id, event_id, tenant, due_at, created_at) \
                 SELECT id, event_id, tenant, due_at, created_at FROM reported WHERE state = 0 \
                 ON CONFLICT (run_id) DO UPDATE SET holder = NULL, due_at = excluded.due_at, lost = false)"
                    .to_owned(),
            );
        }
        if parts.failed {
            with.push(
                "failed AS (INSERT INTO dead_letters (tenant, run_id) SELECT tenant, id FROM reported WHERE state = 3 \
                 ON CONFLICT DO NOTHING)"
                    .to_owned(),
            );
        }
        updated = "ARRAY(SELECT id FROM reported)".to_owned();
    }
    format!("WITH {} SELECT (SELECT count(*) FROM node), {updated}", with.join(", "))
}
