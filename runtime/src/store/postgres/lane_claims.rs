//! The next run of a lane, claimed when the one before has ended: those who ask while others are being served are served together.
//!
//! A claim of its own for each took a transaction of four exchanges, and under load more of them waited for a connection than got
//! one.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::oneshot;
use triggerd_core::id::TenantId;
use uuid::Uuid;

use super::claims::{LANE_IS_FREE, claiming};
use super::open::closed;
use super::{Store, lanes};
use crate::carried_on::CarriedOn;
use crate::store::{Claimed, Error};
use crate::turns::Turns;

/// The most lanes of one transaction: it keeps others out of them.
const MOST: usize = 128;

/// Those who wait for the first run of a lane.
pub(super) type LaneClaims = Turns<Asker>;

/// One of them.
pub(super) struct Asker {
    lane: Uuid,
    due: i64,
    lease_until: Timestamp,
    answer: oneshot::Sender<Result<Option<Claimed>, Error>>,
}

impl Store {
    pub async fn claim_lane(
        &self,
        tenant: &TenantId,
        trigger: &str,
        key: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Option<Claimed>, Error> {
        let (answer, told) = oneshot::channel();
        let (lane, due) = (lanes::digest(tenant, trigger, key), self.due_at(now));
        self.lane_claims.ask(Asker { lane, due, lease_until, answer });
        let store = self.clone();
        // What others wait for goes on where this caller goes away.
        CarriedOn::new(async move {
            let _turn = store.lane_claims.take().await;
            let askers = store.lane_claims.next(MOST, |_| true);
            if !askers.is_empty() {
                store.serve(askers).await;
            }
        })
        .await;
        told.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn serve(&self, askers: Vec<Asker>) {
        let Some(due) = askers.iter().map(|asker| asker.due).max() else { return };
        let Some(lease_until) = askers.iter().map(|asker| asker.lease_until).max() else { return };
        let node = self.node.id();
        let mut of: HashMap<Uuid, Vec<Asker>> = HashMap::new();
        askers.into_iter().for_each(|asker| of.entry(asker.lane).or_default().push(asker));
        match self.claim_first(of.keys().copied().collect(), node, due).await {
            Ok(rows) => {
                for row in &rows {
                    let lane: Result<Uuid, _> = row.try_get("lane");
                    let claimed = self.take(std::slice::from_ref(row), node, lease_until).await;
                    // Of several that ask for one lane, one has it.
                    let Some(asker) = lane.ok().and_then(|lane| of.get_mut(&lane)?.pop()) else { continue };
                    if let Err(Ok(Some(left))) = asker.answer.send(claimed.map(|mut claimed| claimed.pop())) {
                        self.hand_back(&left).await;
                    }
                }
                of.into_values().flatten().for_each(|asker| drop(asker.answer.send(Ok(None))));
            }
            Err(error) => of.into_values().flatten().for_each(|asker| drop(asker.answer.send(Err(error.clone())))),
        }
    }

    /// Whoever asked has gone: another is to have the run.
    async fn hand_back(&self, claimed: &Claimed) {
        let (id, epoch) = (claimed.run.id, claimed.run.epoch);
        if let Err(error) = self.renew(vec![(id, epoch)], Timestamp::UNIX_EPOCH).await {
            tracing::debug!(run.id = %id, %error, "Run {id} is left to its lease: {error}");
        }
    }

    /// Claims the first run of each of these lanes, if it is due.
    async fn claim_first(&self, of: Vec<Uuid>, node: i64, due: i64) -> Result<Vec<PgRow>, Error> {
        self.write(move |conn| {
            Box::pin(async move {
                lanes::lock(conn, &of).await?;
                let sql = claiming(&format!(
                    "SELECT q.run_id, q.due_at, q.lost FROM unnest($3::uuid[]) AS l (lane) CROSS JOIN LATERAL \
                     (SELECT f.run_id FROM queue AS f WHERE f.lane = l.lane ORDER BY f.lane_seq LIMIT 1) AS first \
                     JOIN queue AS q ON q.run_id = first.run_id CROSS JOIN node \
                     WHERE q.holder IS NULL AND q.due_at <= $2 AND {LANE_IS_FREE}"
                ));
                Ok(sqlx::query(AssertSqlSafe(sql)).bind(node).bind(due).bind(of).fetch_all(conn).await?)
            })
        })
        .await
    }
}
