//! Events, runs and instants of the conformance suite.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use sqlx::Connection as _;
use triggerd::store::{Append, Error, Idempotency, NewRun, PageRequest, RunNext, RunUpdate, Store};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::run::{ActionProgress, ActionState, Attempt, AttemptOutcome, Progress};

/// A store, and how leases end in it.
pub struct Place {
    pub store: Store,
    pub leases: Leases,
}

/// How leases end.
pub enum Leases {
    /// When a claim comes later than they last.
    ByTime,
    /// With the node that took them: the database of the store, where nodes are.
    WithTheNode(String),
}

impl Place {
    /// From here on, the leases taken so far have ended for claims that come later than they last.
    pub async fn end_leases(&self) {
        let Leases::WithTheNode(url) = &self.leases else { return };
        let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::query("UPDATE triggerd.nodes SET lease_until = clock_timestamp() - interval '1 ms'")
            .execute(&mut conn)
            .await
            .unwrap();
        // The store notices by itself, joins anew, and takes over what it held before.
        for _ in 0..500 {
            let held: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM triggerd.nodes WHERE lease_until < clock_timestamp() + interval '100 ms'",
            )
            .fetch_one(&mut conn)
            .await
            .unwrap();
            if held == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the dead node's runs are not taken over");
    }
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// Bits that no other id has.
pub fn bits() -> [u8; 10] {
    let mut bits = [0; 10];
    bits[2..].copy_from_slice(&NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bits
}

/// `seconds` after the beginning of the suite's time.
pub fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub fn ms(n: i64) -> SignedDuration {
    SignedDuration::from_millis(n)
}

pub fn tenant() -> TenantId {
    TenantId::new("default")
}

pub fn event_at(tenant: &TenantId, event_type: &str, at: Timestamp) -> Event {
    Event {
        id: EventId::new(u64::try_from(at.as_millisecond()).unwrap(), bits()),
        tenant: tenant.clone(),
        event_type: event_type.to_owned(),
        source: Some("suite".to_owned()),
        change: None,
        record: json!({"event_type": event_type, "big": serde_json::from_str::<Value>("123456789012345678901234567890").unwrap()}),
        previous_record: Value::Null,
        env: "default".to_owned(),
        user: Value::Null,
        metadata: Map::new(),
        attributes: Map::new(),
        timestamp: at,
        accepted_at: at,
        traceparent: None,
        tracestate: None,
        causation: Vec::new(),
        erased_at: None,
    }
}

/// A pending run, due at once.
pub fn new_run() -> NewRun {
    let id = RunId::new(1_800_000_000_000, bits());
    NewRun { id, trigger: Arc::from("welcome"), version: 1, ordering_key: None, queue: None, lease_until: None }
}

/// A run that its accepter holds until then.
pub fn held_run(until: Timestamp) -> NewRun {
    NewRun { lease_until: Some(until), ..new_run() }
}

/// A pending run of a lane.
pub fn lane_run(key: &str) -> NewRun {
    NewRun { ordering_key: Some(key.to_owned()), ..new_run() }
}

pub fn append(event: Event, runs: Vec<NewRun>) -> Append {
    Append { event: Arc::new(event), runs, idempotency: None, follows: false }
}

/// Keeps an event of `default` accepted at `t(second)` with these runs.
pub async fn keep(store: &Store, second: i64, runs: Vec<NewRun>) -> Arc<Event> {
    keep_of(store, &tenant(), "user.created", second, runs).await
}

pub async fn keep_of(store: &Store, tenant: &TenantId, event_type: &str, second: i64, runs: Vec<NewRun>) -> Arc<Event> {
    let append = append(event_at(tenant, event_type, t(second)), runs);
    let event = append.event.clone();
    store.append(append).await.unwrap();
    event
}

pub fn answer(key: &str, fingerprint: u8, expires_at: Timestamp) -> Idempotency {
    Idempotency {
        key: key.to_owned(),
        fingerprint: [fingerprint; 32],
        status: 202,
        body: r#"{"a":1}"#.to_owned(),
        expires_at,
    }
}

/// The progress of one action after `attempts` tries.
pub fn progress(id: RunId, attempts: u32, status: ActionState) -> Arc<Progress> {
    let attempt = |n: u32| Attempt {
        attempt: n,
        started_at: t(i64::from(n)),
        duration_ms: 250,
        outcome: if status == ActionState::Delivered { AttemptOutcome::Delivered } else { AttemptOutcome::Failed },
        error_code: None,
        error: None,
        request: None,
        response: None,
    };
    Arc::new(Progress {
        rounds: Vec::new(),
        actions: vec![ActionProgress {
            effect: None,
            name: "send".to_owned(),
            kind: "http.post".to_owned(),
            status,
            delivery_id: id.delivery("send"),
            reason: None,
            output: Value::Null,
            first_of_round: 1,
            attempts: (1..=attempts).map(attempt).collect(),
        }],
    })
}

pub fn delivered(id: RunId, epoch: i64) -> RunUpdate {
    RunUpdate { id, epoch, progress: progress(id, 1, ActionState::Delivered), next: RunNext::Delivered }
}

pub fn failed(id: RunId, epoch: i64) -> RunUpdate {
    let next = RunNext::Failed { code: "HTTP_400".to_owned(), message: "it said no".to_owned() };
    RunUpdate { id, epoch, progress: progress(id, 2, ActionState::Failed), next }
}

pub fn released(id: RunId, epoch: i64, due: Timestamp) -> RunUpdate {
    let next = RunNext::Release { due, queue: Some("slow".to_owned()) };
    RunUpdate { id, epoch, progress: progress(id, 1, ActionState::Pending), next }
}

pub fn page(limit: u32, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}

/// Claims everything that is due at `now`, until `now` + 30 s; answers with the ids.
pub async fn claim_ids(store: &Store, now: Timestamp) -> Vec<RunId> {
    store.claim(now, 100, now + ms(30_000)).await.unwrap().into_iter().map(|c| c.run.id).collect()
}

pub fn is_conflict<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Conflict(_)))
}
