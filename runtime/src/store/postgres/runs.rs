//! Runs: how they are looked at, and what is done to them by hand.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use uuid::Uuid;

use super::decode::{self, RUN_COLUMNS};
use super::dialect::RUNS_OF_E;
use super::node::FENCE;
use super::tables::filter::dead;
use super::{Store, lanes, text};
use crate::store::position::no_cursor;
use crate::store::{Error, EventFilter, NewRun, Page, PageRequest, Run};

const WITH_DUE: &str = "LEFT JOIN queue AS q ON q.run_id = r.id";

impl Store {
    pub async fn runs_of(&self, tenant: &TenantId, event: EventId) -> Result<Vec<Run>, Error> {
        let sql = format!(
            "SELECT x.*, q.due_at FROM events AS e CROSS JOIN LATERAL (SELECT {RUN_COLUMNS} FROM {RUNS_OF_E}) AS x \
             LEFT JOIN queue AS q ON q.run_id = x.id WHERE e.id = $1 AND e.tenant = $2 ORDER BY x.id"
        );
        let mut conn = self.reader().await?;
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(event.0).bind(tenant.as_str()).fetch_all(&mut *conn).await?;
        rows.iter().map(|row| decode::run(row, &self.node.skew)).collect()
    }

    pub async fn run(&self, tenant: &TenantId, id: RunId) -> Result<Option<Run>, Error> {
        let sql = format!("SELECT {RUN_COLUMNS}, q.due_at FROM runs AS r {WITH_DUE} WHERE r.id = $1 AND r.tenant = $2");
        let mut conn = self.reader().await?;
        let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).bind(tenant.as_str()).fetch_optional(&mut *conn).await?;
        row.as_ref().map(|row| decode::run(row, &self.node.skew)).transpose()
    }

    pub async fn dead_letters(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<(Run, Arc<Event>)>, Error> {
        let below = match page.cursor.as_deref() {
            None => Uuid::max(),
            Some(text) => Uuid::try_parse(text).map_err(|_| no_cursor())?,
        };
        let limit = page.limit.clamp(1, 1000) as usize;
        let mut conn = self.reader().await?;
        let mut sql = dead(&format!("{RUN_COLUMNS}, NULL::bigint AS due_at, e.crc, e.body"), tenant, filter);
        sql.push(" AND d.run_id < ").push_bind(below);
        sql.push(" ORDER BY d.run_id DESC LIMIT ").push_bind(limit as i64 + 1);
        let mut rows = sql.build().fetch_all(&mut *conn).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last: Option<Uuid> = rows.last().map(|row| row.try_get("id")).transpose()?;
        let item = |row| Ok((decode::run(row, &self.node.skew)?, decode::event(row)?));
        let items = rows.iter().filter_map(|row| decode::sound(item(row))).collect::<Result<_, Error>>()?;
        let row = dead("count(*) AS n", tenant, filter).build().fetch_one(&mut *conn).await?;
        let cursor = last.filter(|_| more).map(|id| id.simple().to_string());
        Ok(Page { items, total: decode::unsigned(&row, "n")?, total_is_exact: true, cursor })
    }

    pub async fn drop_dead_letter(&self, tenant: &TenantId, id: RunId) -> Result<bool, Error> {
        let tenant = tenant.clone();
        self.write(move |conn| {
            Box::pin(async move {
                let gone: i64 = sqlx::query_scalar(
                    "WITH gone AS (DELETE FROM runs WHERE id = $1 AND tenant = $2 AND state = 3 RETURNING id), \
                     letter AS (DELETE FROM dead_letters AS d USING gone WHERE d.tenant = $2 AND d.run_id = gone.id) \
                     SELECT count(*) FROM gone",
                )
                .bind(id.0)
                .bind(tenant.as_str())
                .fetch_one(conn)
                .await?;
                Ok(gone > 0)
            })
        })
        .await
    }

    pub async fn add_runs(&self, tenant: &TenantId, event: EventId, runs: Vec<NewRun>) -> Result<(), Error> {
        let (tenant, node, now) = (tenant.clone(), self.node.clone(), self.clock.now_ms());
        let held: Vec<RunId> = runs.iter().filter(|run| run.lease_until.is_some()).map(|run| run.id).collect();
        let added = self
            .write(move |conn| {
                Box::pin(async move {
                    let found: Option<Uuid> =
                        sqlx::query_scalar("SELECT id FROM events WHERE id = $1 AND tenant = $2 FOR UPDATE")
                            .bind(event.0)
                            .bind(tenant.as_str())
                            .fetch_optional(&mut *conn)
                            .await?;
                    found.ok_or_else(|| Error::Conflict(format!("event {event} is not there any more")))?;
                    let lane = |run: &NewRun| {
                        run.ordering_key.as_deref().map(|key| lanes::digest(&tenant, &run.trigger, key))
                    };
                    let all: Vec<Uuid> = runs.iter().filter_map(lane).collect();
                    lanes::lock(conn, &all).await?;
                    for run in &runs {
                        let (id, lane) = (node.id(), lane(run));
                        if run.lease_until.is_some() {
                            // Named in `queue`: nothing is said of whether its id is a late one.
                            node.held.enter(id, (run.id, 1), node.lease(), true, lane);
                        }
                        let sql = format!(
                            "WITH {FENCE}, \
                             kept AS (INSERT INTO runs (id, event_id, tenant, trigger, version, state, epoch, holder, queue, \
                                 ordering_key, lane_seq, created_at) \
                                 SELECT $2, $3, $4, $5, $6, $7, $7, CASE WHEN $7 = 1 THEN node.id END, $8, $9, \
                                 CASE WHEN $9::text IS NOT NULL THEN nextval('lane_seq') END, $10 FROM node \
                                 RETURNING id, event_id, tenant, holder, lane_seq, created_at), \
                             queued AS (INSERT INTO queue (run_id, event_id, tenant, due_at, holder, parked, lane, lane_seq, created_at) \
                                 SELECT id, event_id, tenant, CASE WHEN holder IS NULL THEN $11::bigint END, holder, \
                                 holder IS NULL AND $12::uuid IS NOT NULL AND EXISTS (SELECT 1 FROM queue AS o WHERE o.lane = $12), \
                                 $12, lane_seq, created_at FROM kept) \
                             SELECT count(*) FROM kept"
                        );
                        let kept: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
                            .bind(id)
                            .bind(run.id.0)
                            .bind(event.0)
                            .bind(tenant.as_str())
                            .bind(&*run.trigger)
                            .bind(i64::from(run.version))
                            .bind(i16::from(run.lease_until.is_some()))
                            .bind(run.queue.as_deref().map(text::kept))
                            .bind(run.ordering_key.as_deref().map(text::kept))
                            .bind(now)
                            .bind(node.skew.in_database(now))
                            .bind(lane)
                            .fetch_one(&mut *conn)
                            .await?;
                        if kept == 0 {
                            return Err(node.fenced());
                        }
                    }
                    let ids = || runs.iter().map(|run| run.id.0);
                    sqlx::query(
                        "UPDATE events SET run_count = run_count + $2, first_run = least(first_run, $3), \
                         last_run = greatest(last_run, $4) WHERE id = $1",
                    )
                    .bind(event.0)
                    .bind(runs.len() as i64)
                    .bind(ids().min())
                    .bind(ids().max())
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await;
        match &added {
            Ok(()) => self.made_due(),
            Err(_) => held.iter().for_each(|id| self.node.held.leave(*id, 1)),
        }
        added
    }

    /// When the next run falls due after `now`. A run that waits for an earlier one of its lane is not counted.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let mut conn = self.reader().await?;
        let due: Option<i64> = sqlx::query_scalar(
            "SELECT least( \
             (SELECT due_at FROM queue WHERE holder IS NULL AND NOT parked AND lane IS NULL AND due_at > $1 ORDER BY due_at LIMIT 1), \
             (SELECT due_at FROM queue WHERE holder IS NULL AND NOT parked AND lane IS NOT NULL AND due_at > $1 ORDER BY due_at LIMIT 1))",
        )
        .bind(self.due_at(now))
        .fetch_one(&mut *conn)
        .await?;
        due.map(|ms| decode::instant(self.node.skew.of_database(ms))).transpose()
    }
}
