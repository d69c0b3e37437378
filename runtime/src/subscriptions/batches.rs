//! Several events in one request.
//!
//! An attempt joins the batch of its subscription that is being gathered, or begins one; the batch is sent once it is full or
//! its first event has waited long enough, and every attempt in it ends as the request did. So each event is kept, tried
//! again and dead-lettered by itself, and what a crash interrupts is sent again. Batches are each node's own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use triggerd_core::id::{DeliveryId, TenantId};
use triggerd_core::outcome::Outcome;

use crate::actions::{Context, Excerpt};
use crate::resources::Batch;

/// The bytes of events past which a batch is not waited for.
const MAX_BYTES: usize = 1 << 20;

/// What came of a request, for each attempt whose event was in it.
#[derive(Clone)]
pub enum Sent {
    /// How it ended, and what is kept of it.
    Ended(Outcome, Excerpt),
    /// It was not made: its destination is left alone for this long, or has no place. It does not count as an attempt.
    NotMade(Duration),
}

/// Makes the request of a batch: with the context of one of its attempts, its delivery id and its events.
pub type Sender = Arc<dyn Fn(Context, DeliveryId, Vec<Value>) -> BoxFuture<'static, Sent> + Send + Sync>;

/// The batches that are being gathered.
#[derive(Default)]
pub struct Batches(Mutex<HashMap<(TenantId, String), Gathering>>);

struct Gathering {
    /// Tells it from the batches before it.
    number: u64,
    members: Vec<Member>,
    bytes: usize,
    full: Arc<Notify>,
}

struct Member {
    cx: Context,
    event: Value,
    answer: oneshot::Sender<Sent>,
}

impl Batches {
    /// Sends an event together with others of its subscription; answers what came of it.
    pub async fn send(self: &Arc<Self>, cx: Context, id: &str, batch: Batch, event: Value, send: Sender) -> Sent {
        let key = (cx.tenant().clone(), id.to_owned());
        let (answer, answered) = oneshot::channel();
        self.join(key, batch, Member { cx, event, answer }, send);
        answered.await.unwrap_or_else(|_| {
            Sent::Ended(Outcome::retry("INTERNAL", "the batch that the event was in was not sent"), Excerpt::default())
        })
    }

    fn join(self: &Arc<Self>, key: (TenantId, String), batch: Batch, member: Member, send: Sender) {
        let bytes = member.event.to_string().len();
        let mut all = self.0.lock();
        let gathering = all.entry(key.clone()).or_insert_with(|| Gathering {
            number: rand::random(),
            members: Vec::new(),
            bytes: 0,
            full: Arc::default(),
        });
        gathering.members.push(member);
        gathering.bytes += bytes;
        if gathering.members.len() == 1 {
            let (number, full) = (gathering.number, gathering.full.clone());
            let batches = self.clone();
            let place = key.clone();
            tokio::spawn(async move {
                // Woken early where it is full.
                let _ = tokio::time::timeout(Duration::from_millis(batch.max_wait), full.notified()).await;
                let members = batches.take(&place, number);
                deliver(members, send).await;
            });
        }
        if gathering.members.len() >= batch.max_size as usize || gathering.bytes >= MAX_BYTES {
            gathering.full.notify_one();
            // Whoever comes next begins another one; this one is taken by its task.
            if let Some(gathered) = all.remove(&key) {
                all.insert((key.0, taken(&key.1, gathered.number)), gathered);
            }
        }
    }

    fn take(&self, key: &(TenantId, String), number: u64) -> Vec<Member> {
        let mut all = self.0.lock();
        let full = (key.0.clone(), taken(&key.1, number));
        let gathered = match all.remove(&full) {
            Some(gathered) => Some(gathered),
            None if all.get(key).is_some_and(|gathering| gathering.number == number) => all.remove(key),
            None => None,
        };
        gathered.map(|gathered| gathered.members).unwrap_or_default()
    }
}

/// Where a batch is that is full: ids hold no slash.
fn taken(id: &str, number: u64) -> String {
    format!("{id}/{number}")
}

async fn deliver(members: Vec<Member>, send: Sender) {
    // Attempts that were given up meanwhile are made again elsewhere.
    let mut members: Vec<Member> = members.into_iter().filter(|member| !member.answer.is_closed()).collect();
    let Some(first) = members.first() else { return };
    let (cx, id) = (first.cx.clone(), delivery_id(&members));
    let events = members.iter_mut().map(|member| member.event.take()).collect();
    let sent = send(cx, id, events).await;
    for member in members {
        // Whoever has gone is not told.
        let _ = member.answer.send(sent.clone());
    }
}

/// The id of the request: its only event's; of several, one that is the same for the same events.
fn delivery_id(members: &[Member]) -> DeliveryId {
    let mut ids: Vec<DeliveryId> = members.iter().map(|member| member.cx.delivery_id).collect();
    ids.sort_by_key(|id| id.0);
    match ids.as_slice() {
        [only] => *only,
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            triggerd_core::id::RunId(several[0].0).delivery(&names.join(" "))
        }
    }
}
