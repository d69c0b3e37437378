//! The audit log: who asked for which change, when, and what came of it.
//!
//! An entry goes `made → kept → answered`. It is kept in the transaction of the change it tells of, where other nodes are to learn of
//! that change (`store/witness.rs`); else by [`keep`], at once after the change and before its answer. What cannot be kept just now
//! waits in memory and is tried again; the log of the process has it too then, so that nothing is lost without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::store::{self, AuditEntry, AuditOutcome};

/// How long an answer waits for its entry.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is tried again when the server stops.
const LAST_TRIES: u32 = 6;
/// Entries of one commit.
const GROUP: usize = 256;
/// Entries that wait in memory at most.
const MOST: usize = 10_000;
/// Entries that are let go in one transaction.
const SLICE: u32 = 1000;

/// Entries on their way.
pub struct Log {
    sender: mpsc::UnboundedSender<Waiting>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Waiting>>>,
    waiting: AtomicUsize,
}

struct Waiting {
    what: What,
    kept: oneshot::Sender<()>,
}

enum What {
    Entry(Box<AuditEntry>),
    Correction(Uuid, AuditOutcome, u16),
}

impl Default for Log {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: Mutex::new(Some(receiver)), waiting: AtomicUsize::new(0) }
    }
}

impl Log {
    /// Keeps an entry; returns once it is kept, or has waited so long that the process' log has it.
    pub async fn keep(&self, entry: AuditEntry) {
        let told = shown(&entry).to_string();
        wait(self.send(What::Entry(Box::new(entry))), &told).await;
    }

    /// Keeps an entry that nobody waits for.
    pub fn leave(&self, entry: AuditEntry) {
        drop(self.send(What::Entry(Box::new(entry))));
    }

    /// Says of an entry that was kept with its change what came of the request after all.
    pub async fn correct(&self, id: Uuid, outcome: AuditOutcome, status: u16) {
        let told = json!({"id": id, "outcome": outcome.as_str(), "status": status}).to_string();
        wait(self.send(What::Correction(id, outcome, status)), &told).await;
    }

    fn send(&self, what: What) -> Option<oneshot::Receiver<()>> {
        if self.waiting.load(Ordering::Relaxed) >= MOST {
            lost(&what);
            return None;
        }
        let (kept, done) = oneshot::channel();
        match self.sender.send(Waiting { what, kept }) {
            Ok(()) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                Some(done)
            }
            Err(mpsc::error::SendError(waiting)) => {
                lost(&waiting.what);
                None
            }
        }
    }
}

async fn wait(done: Option<oneshot::Receiver<()>>, told: &str) {
    let Some(done) = done else { return };
    if !matches!(tokio::time::timeout(PATIENCE, done).await, Ok(Ok(()))) {
        tracing::error!(entry = told, "An entry of the audit log is not kept yet: {told}");
    }
}

fn lost(what: &What) {
    metrics::counter!("triggerd_audit_lost_total").increment(1);
    let told = match what {
        What::Entry(entry) => shown(entry).to_string(),
        What::Correction(id, outcome, status) => {
            json!({"id": id, "outcome": outcome.as_str(), "status": status}).to_string()
        }
    };
    tracing::error!(entry = %told, "An entry of the audit log cannot be kept: {told}");
}

/// Keeps what waits, until `stop` and nothing waits any more.
pub async fn keep(app: Arc<App>, stop: CancellationToken) {
    let Some(mut receiver) = app.audit.receiver.lock().take() else { return };
    let mut group = Vec::with_capacity(GROUP);
    loop {
        let count = tokio::select! {
            biased;
            count = receiver.recv_many(&mut group, GROUP) => count,
            () = stop.cancelled() => break,
        };
        if count == 0 || !commit(&app, &mut group, &stop).await {
            break;
        }
    }
    // Requests have ended by now; what comes in all the same is told of as lost.
    receiver.close();
    while let Ok(waiting) = receiver.try_recv() {
        group.push(waiting);
    }
    if !group.is_empty() {
        commit(&app, &mut group, &stop).await;
    }
    group.iter().for_each(|waiting| lost(&waiting.what));
}

/// Commits a group, however often it has to be tried while the server runs; `false` where it was given up.
async fn commit(app: &App, group: &mut Vec<Waiting>, stop: &CancellationToken) -> bool {
    let mut tries = 0;
    loop {
        let Err(error) = write(app, group).await else {
            app.audit.waiting.fetch_sub(group.len(), Ordering::Relaxed);
            for waiting in group.drain(..) {
                // Nobody may wait any more.
                let _ = waiting.kept.send(());
            }
            return true;
        };
        tracing::warn!(%error, "{} entries of the audit log wait: {error}", app.audit.waiting.load(Ordering::Relaxed));
        if stop.is_cancelled() {
            tries += 1;
            if tries == LAST_TRIES {
                return false;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn write(app: &App, group: &[Waiting]) -> Result<(), store::Error> {
    let entries: Vec<AuditEntry> = group
        .iter()
        .filter_map(|waiting| match &waiting.what {
            What::Entry(entry) => Some(AuditEntry::clone(entry)),
            What::Correction(..) => None,
        })
        .collect();
    if !entries.is_empty() {
        app.store.audit(entries).await?;
    }
    for waiting in group {
        if let What::Correction(id, outcome, status) = waiting.what {
            app.store.audit_correct(id, outcome, status).await?;
        }
    }
    Ok(())
}

/// Lets entries go that are older than they are to be kept.
pub async fn retire(app: &App, now: Timestamp, stop: &CancellationToken) -> Result<(), store::Error> {
    let Some(retention) = app.config.store.audit_retention else { return Ok(()) };
    while !stop.is_cancelled() && app.store.audit_retire(now - retention, SLICE).await? == u64::from(SLICE) {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// An entry as the API shows it.
#[must_use]
pub fn shown(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id.to_string(),
        "at": format!("{:.3}", entry.at),
        "tenant": entry.tenant.as_str(),
        "key": entry.key,
        "peer": entry.peer,
        "method": entry.method,
        "route": entry.route,
        "path": entry.path,
        "outcome": entry.outcome.as_str(),
        "status": entry.status,
        "before": entry.before,
        "after": entry.after,
    })
}
