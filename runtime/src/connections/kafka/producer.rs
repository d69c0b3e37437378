//! A producer and the thread that listens to it.
//!
//! The thread owns the library's handle: ending it blocks until the library's threads have ended, which must not
//! happen on a task. It ends once its [`Producer`] is gone or has long been idle, after everything that is still queued
//! has been purged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::sync::oneshot;

use super::cluster::Cluster;
use super::error::Error;
use super::native::{Delivered, Native, Record, Told};
use crate::egress::{self, Egress};

/// How long the thread waits for the library before it looks whether it is still needed.
const LISTEN: Duration = Duration::from_millis(100);
/// Producers that nobody used for this long are ended.
const IDLE: Duration = Duration::from_secs(300);
/// How long the reports of purged records may take.
const DRAIN: Duration = Duration::from_secs(2);
/// The library looks once a second which records are over their time.
const GRACE: Duration = Duration::from_secs(2);

/// A producer of one resource.
pub(super) struct Producer {
    shared: Weak<Shared>,
    /// Told to the thread when this is dropped.
    ended: Arc<AtomicBool>,
    patience: Duration,
}

struct Shared {
    native: Native,
    /// Who waits for the report about which record.
    waiting: Mutex<HashMap<usize, oneshot::Sender<Result<Delivered, Error>>>>,
    next: AtomicUsize,
    /// When a record was sent last.
    used: Mutex<Instant>,
    /// What went wrong last, until a record is confirmed.
    trouble: Mutex<Option<String>>,
    /// Not to be used for other records.
    spent: AtomicBool,
}

/// A record whose report is waited for; given up where this is dropped before it came.
struct Pending<'a> {
    shared: &'a Weak<Shared>,
    id: usize,
}

impl Producer {
    /// Connects to nothing yet. Blocks while certificates are read.
    pub fn new(egress: Egress, cluster: &Cluster) -> Result<Self, Error> {
        let native = Native::new(egress, &cluster.config()).map_err(|error| Error::of_settings(&error))?;
        let shared = Arc::new(Shared {
            native,
            waiting: Mutex::default(),
            next: AtomicUsize::new(1),
            used: Mutex::new(Instant::now()),
            trouble: Mutex::default(),
            spent: AtomicBool::new(false),
        });
        let ended = Arc::new(AtomicBool::new(false));
        let producer =
            Self { shared: Arc::downgrade(&shared), ended: ended.clone(), patience: cluster.delivery_timeout + GRACE };
        let thread = std::thread::Builder::new().name("kafka".to_owned());
        let started = thread.spawn(move || shared.listen(&ended));
        started.map_err(|error| Error::Unavailable(format!("no thread for the producer: {error}")))?;
        Ok(producer)
    }

    /// Whether a new producer is to be made.
    pub fn is_spent(&self) -> bool {
        self.shared.upgrade().is_none_or(|shared| shared.spent.load(Ordering::Relaxed) || shared.native.is_broken())
    }

    /// Sends; answers with the report.
    pub async fn publish(&self, record: Record) -> Result<Delivered, Error> {
        let (sender, receiver) = oneshot::channel();
        let _pending = self.send(record, sender)?;
        match tokio::time::timeout(self.patience, receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(egress::Error::TimedOut.into()),
        }
    }

    fn send(&self, record: Record, sender: oneshot::Sender<Result<Delivered, Error>>) -> Result<Pending<'_>, Error> {
        let shared = self.shared.upgrade().ok_or_else(gone)?;
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        // Before it is sent: the report may be there first.
        shared.waiting.lock().insert(id, sender);
        *shared.used.lock() = Instant::now();
        if let Err(code) = shared.native.send(&record, id) {
            shared.waiting.lock().remove(&id);
            return Err(shared.error(code));
        }
        Ok(Pending { shared: &self.shared, id })
    }

    /// How many brokers the cluster says it has. Blocks for as long as `wait`.
    pub fn brokers(&self, wait: Duration) -> Result<usize, Error> {
        let shared = self.shared.upgrade().ok_or_else(gone)?;
        shared.native.brokers(wait).map_err(|error| match error {
            KafkaError::MetadataFetch(code) => shared.error(code),
            other => Error::Unavailable(other.to_string()),
        })
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade()
            && shared.waiting.lock().remove(&self.id).is_some()
        {
            shared.spent.store(true, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn listen(&self, ended: &AtomicBool) {
        while !ended.load(Ordering::Acquire) {
            self.native.listen(LISTEN, |told| self.hear(told));
            let given_up = self.spent.load(Ordering::Relaxed) && self.waiting.lock().is_empty();
            if given_up && self.native.waiting() {
                self.native.purge();
            }
            if self.used.lock().elapsed() > IDLE && self.waiting.lock().is_empty() {
                break;
            }
        }
        self.spent.store(true, Ordering::Relaxed);
        self.native.purge();
        let until = Instant::now() + DRAIN;
        while self.native.waiting() && Instant::now() < until {
            self.native.listen(LISTEN, |told| self.hear(told));
        }
    }

    fn hear(&self, told: Told) {
        match told {
            Told::Report { id, outcome } => {
                match outcome {
                    Ok(_) => *self.trouble.lock() = None,
                    // The library would go on to refuse the topic without asking, also once it is permitted.
                    Err(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                        self.spent.store(true, Ordering::Relaxed);
                    }
                    Err(_) => {}
                }
                let waiting = self.waiting.lock().remove(&id);
                if let Some(waiting) = waiting {
                    // Who waited may have just gone.
                    let _ = waiting.send(outcome.map_err(|code| self.error(code)));
                }
            }
            Told::Trouble { code: Code::Authentication, words } => {
                // The library would try for ever, and the records wait for their time-out.
                self.spent.store(true, Ordering::Relaxed);
                *self.trouble.lock() = Some(words.clone());
                for (_, waiting) in self.waiting.lock().drain() {
                    let _ = waiting.send(Err(Error::Refused(words.clone())));
                }
            }
            // It says no more than the brokers' own troubles, which come before it.
            Told::Trouble { code: Code::AllBrokersDown, .. } => {}
            Told::Trouble { words, .. } => *self.trouble.lock() = Some(words),
        }
    }

    fn error(&self, code: Code) -> Error {
        if self.native.met_guard() {
            // The same words as for everything that the guard refuses.
            return Error::of(code, Some(&format!("of a broker that the cluster names: {}", egress::Error::Denied)));
        }
        Error::of(code, self.trouble.lock().as_deref())
    }
}

fn gone() -> Error {
    Error::Unavailable("the producer has ended".to_owned())
}
