//! Clients that send events as fast as they are answered, or at a rate, and write down what they were told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::harness::{Api, Ledger};

/// How events are sent.
#[derive(Clone)]
pub struct Plan {
    pub clients: usize,
    /// Events a second, all clients together; what could not be sent in time is sent later.
    pub rate: Option<f64>,
    /// Under an `Idempotency-Key` of its own, each is sent again, to the next node, until it is accepted. Without, each is
    /// sent once, and what becomes of one without an answer is unknown.
    pub keyed: bool,
    /// How many, where that is not until the load is ended.
    pub total: Option<u64>,
    /// After an answer that is no acceptance.
    pub pause: Duration,
    /// What is added to each event, in bytes.
    pub ballast: usize,
}

impl Plan {
    pub fn of(clients: usize) -> Self {
        Self { clients, rate: None, keyed: false, total: None, pause: Duration::from_millis(5), ballast: 0 }
    }
}

/// An event that was acknowledged.
pub struct Ack {
    pub event: String,
    /// By which node.
    pub node: usize,
    pub at: Instant,
}

/// An answer that is no acceptance.
pub struct Refusal {
    pub at: Instant,
    pub took: Duration,
    pub status: u16,
    pub has_retry_after: bool,
}

/// What the clients were told.
pub struct Told {
    ledger: Ledger,
    pub acks: Mutex<Vec<Ack>>,
    pub refusals: Mutex<Vec<Refusal>>,
    /// Requests without an answer.
    pub unanswered: AtomicU64,
    /// Events that were begun with.
    pub begun: AtomicU64,
}

/// A load that is under way.
pub struct Load {
    pub told: Arc<Told>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(nodes: Vec<Api>, plan: Plan) -> Self {
        let told = Arc::new(Told {
            ledger: Ledger::new(),
            acks: Mutex::default(),
            refusals: Mutex::default(),
            unanswered: AtomicU64::new(0),
            begun: AtomicU64::new(0),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let (nodes, began) = (Arc::new(nodes), Instant::now());
        let client = |_| tokio::spawn(send(nodes.clone(), plan.clone(), told.clone(), stop.clone(), began));
        let clients = (0..plan.clients).map(client).collect();
        Self { told, stop, clients }
    }

    /// Ends the load, once what was begun is accepted where it has a key; what the clients were told.
    pub async fn end(self) -> Arc<Told> {
        self.stop.store(true, Ordering::Relaxed);
        self.all_sent().await
    }

    /// Waits until as many are sent as were planned.
    pub async fn all_sent(self) -> Arc<Told> {
        for client in self.clients {
            client.await.unwrap();
        }
        self.told
    }
}

impl Told {
    pub fn acknowledged(&self) -> std::collections::BTreeSet<String> {
        self.ledger.acknowledged()
    }

    /// How many were acknowledged so far.
    pub fn count(&self) -> usize {
        self.acks.lock().unwrap().len()
    }
}

async fn send(nodes: Arc<Vec<Api>>, plan: Plan, told: Arc<Told>, stop: Arc<AtomicBool>, began: Instant) {
    while !stop.load(Ordering::Relaxed) {
        let n = told.begun.fetch_add(1, Ordering::Relaxed);
        if plan.total.is_some_and(|total| n >= total) {
            told.begun.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        if let Some(rate) = plan.rate {
            let due = began + Duration::from_secs_f64(n as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
        send_one(&nodes, &plan, &told, n).await;
    }
}

async fn send_one(nodes: &[Api], plan: &Plan, told: &Told, n: u64) {
    let body = json!({"type": "chaos", "payload": {"n": n, "ballast": ballast(n, plan.ballast)}});
    let mut node = n as usize % nodes.len();
    loop {
        let mut request = nodes[node].request(Method::POST, "/api/v1/events").json(&body);
        if plan.keyed {
            request = request.header("Idempotency-Key", format!("key-{n}"));
        }
        let sent = Instant::now();
        match nodes[node].try_send(request).await {
            Ok(answer) if answer.status == 202 => {
                let event = answer.body["event_id"].as_str().unwrap().to_owned();
                told.ledger.write(&[&event]);
                told.acks.lock().unwrap().push(Ack { event, node, at: Instant::now() });
                return;
            }
            Ok(answer) => {
                // Under a key: the first request with it is still in progress.
                let expected = answer.status == 503 || plan.keyed && answer.status == 409;
                assert!(expected, "{answer:#?}");
                let has_retry_after = !answer.header("retry-after").is_empty();
                let refusal = Refusal { at: sent, took: sent.elapsed(), status: answer.status, has_retry_after };
                told.refusals.lock().unwrap().push(refusal);
            }
            Err(_) => drop(told.unanswered.fetch_add(1, Ordering::Relaxed)),
        }
        tokio::time::sleep(plan.pause).await;
        if !plan.keyed {
            return;
        }
        node = (node + 1) % nodes.len();
    }
}

/// Text that does not become smaller by compression.
fn ballast(n: u64, bytes: usize) -> String {
    let mut state = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}
