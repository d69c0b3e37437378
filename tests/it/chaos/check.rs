//! The questions that are asked after every fault.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::load::Told;
use crate::harness::{Receiver, Seen};

/// How long no run may end before nothing counts as going on any more: several leases, and the pauses between tries.
const IDLE: Duration = Duration::from_secs(20);

/// What became of a load.
#[derive(Debug, Default)]
pub struct Findings {
    pub acknowledged: usize,
    /// Events, not deliveries.
    pub delivered: usize,
    /// Acknowledged, and neither delivered nor a dead letter.
    pub lost: Vec<String>,
    pub dead: usize,
    /// Acknowledged, and not in the store.
    pub missing: usize,
    /// Deliveries beyond an event's first.
    pub duplicates: usize,
    /// Events that were delivered under more than one id.
    pub rekeyed: Vec<String>,
    /// Events that were delivered again although no run of theirs was taken up a second time.
    pub unexplained: Vec<String>,
    /// Events in the store.
    pub kept: usize,
    /// Runs in the store.
    pub runs: usize,
    pub unfinished: usize,
}

impl Findings {
    /// Looks at a PostgreSQL store once everything in it has ended, or nothing goes on any more.
    pub async fn of(url: &str, told: &Told, receiver: &Receiver) -> Self {
        settle(url).await;
        let (acknowledged, by_event) = (told.acknowledged(), by_event(receiver.seen_at("/in")));
        let mut store = PgConnection::connect(url).await.unwrap();
        let events: Vec<String> = sqlx::query_scalar("SELECT id::text FROM triggerd.events WHERE type = 'chaos'")
            .fetch_all(&mut store)
            .await
            .unwrap();
        let kept: BTreeSet<String> = events.into_iter().collect();
        let rows = sqlx::query(
            "SELECT event_id::text, state::int, epoch, attempts FROM triggerd.runs WHERE trigger = 'chaos'",
        )
        .fetch_all(&mut store)
        .await
        .unwrap();
        let mut found =
            Self { acknowledged: acknowledged.len(), kept: kept.len(), runs: rows.len(), ..Self::default() };
        let mut again = HashMap::new();
        let mut dead = BTreeSet::new();
        for row in rows {
            let (event, state): (String, i32) = (row.get(0), row.get(1));
            let (epoch, attempts): (i64, i64) = (row.get(2), row.get(3));
            found.unfinished += usize::from(state < 2);
            if state == 3 {
                dead.insert(event.clone());
            }
            again.insert(event, epoch > 1 || attempts > 1);
        }
        found.dead = dead.len();
        found.missing = acknowledged.difference(&kept).count();
        found.delivered = by_event.len();
        found.lost = acknowledged.difference(&dead).filter(|id| !by_event.contains_key(*id)).cloned().collect();
        for (event, seen) in by_event {
            found.duplicates += seen.len() - 1;
            let ids: BTreeSet<&str> = seen.iter().map(|one| one.header("idempotency-key")).collect();
            if ids.len() > 1 {
                found.rekeyed.push(event.clone());
            }
            if seen.len() > 1 && !again.get(&event).copied().unwrap_or(false) {
                found.unexplained.push(event);
            }
        }
        found
    }

    /// Nothing is lost, and nothing is double without a reason.
    #[track_caller]
    pub fn hold(&self) {
        let some = |list: &[String]| list.iter().take(10).cloned().collect::<Vec<_>>();
        assert!(self.acknowledged >= 50, "{} events are no load", self.acknowledged);
        assert!(self.lost.is_empty(), "{} of {} are lost: {:?}", self.lost.len(), self.acknowledged, some(&self.lost));
        assert_eq!(self.missing, 0, "acknowledged events are not in the store");
        assert!(self.rekeyed.is_empty(), "delivered under another id: {:?}", some(&self.rekeyed));
        assert!(self.unexplained.is_empty(), "delivered again without a reason: {:?}", some(&self.unexplained));
        assert_eq!(self.unfinished, 0, "runs are left over");
        assert_eq!(self.kept, self.runs, "each event matches one trigger");
        assert!(self.kept >= self.acknowledged, "{} are kept of {}", self.kept, self.acknowledged);
        assert_eq!(self.delivered + self.dead, self.kept, "what is kept and what is done differ");
    }

    pub fn figures(&self) -> Value {
        json!({
            "acknowledged": self.acknowledged, "kept": self.kept, "delivered": self.delivered, "lost": self.lost.len(),
            "missing": self.missing,
            "dead": self.dead, "duplicates": self.duplicates, "rekeyed": self.rekeyed.len(),
            "unexplained": self.unexplained.len(),
        })
    }
}

/// Adds figures to others.
pub fn and(mut figures: Value, more: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut figures, more) {
        all.extend(more);
    }
    figures
}

pub fn by_event(seen: Vec<Seen>) -> BTreeMap<String, Vec<Seen>> {
    let mut found: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for one in seen {
        found.entry(one.header("triggerd-event").to_owned()).or_default().push(one);
    }
    found
}

/// Waits until every run has ended. As long as they become fewer, it is no loss but work.
pub async fn settle(url: &str) {
    let (mut least, mut since) = (i64::MAX, Instant::now());
    let mut store = PgConnection::connect(url).await.unwrap();
    while since.elapsed() < IDLE {
        let sql = "SELECT count(*) FROM triggerd.runs WHERE state < 2";
        let left: i64 = sqlx::query_scalar(sql).fetch_one(&mut store).await.unwrap();
        if left == 0 {
            return;
        }
        if left < least {
            (least, since) = (left, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How long after its end what a node had acknowledged before was done, of what was not, or was done again.
pub fn recovery(told: &Told, receiver: &Receiver, node: usize, ended: Instant) -> Vec<Duration> {
    let by_event = by_event(receiver.seen_at("/in"));
    let acks = told.acks.lock().unwrap();
    let before = acks.iter().filter(|ack| ack.node == node && ack.at < ended);
    let after = before.filter_map(|ack| by_event.get(&ack.event)?.iter().map(|seen| seen.at).find(|at| *at > ended));
    after.map(|at| at - ended).collect()
}
