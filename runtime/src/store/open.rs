//! Opening a store: which one, and how.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use triggerd_core::id::TenantId;

use super::{Append, AppendOutcome, Error, RunUpdate, Store, postgres, sqlite};
use crate::clock::Clock;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Where the time of writes comes from that do not bring their own.
    pub clock: Clock,
    /// How many reads go on at once; on PostgreSQL also what is seldom written.
    pub readers: u32,
    /// SQLite: how large the database file may grow; writes beyond are refused like on a full disk.
    pub max_bytes: Option<u64>,
    /// PostgreSQL: what of it is used.
    pub shared: Shared,
}

/// How a database that several nodes share is used.
#[derive(Clone, Debug)]
pub struct Shared {
    /// A name that no other process has while this one is running, on any machine, and that this one's successor will have: what a
    /// former process under it held is taken over at once, rather than when its lease ends.
    pub home: Option<String>,
    /// How long a node that is not heard of keeps its runs.
    pub lease: Duration,
    /// Connections that commit groups.
    pub writers: u32,
    /// Whether nodes wake each other with `NOTIFY`; without, they poll, as through a pooler that shares connections.
    pub notify: bool,
    /// Whether a server is taken that may lose what it has committed.
    pub allow_degraded: bool,
    /// How long events are kept, which decides how large a partition is.
    pub retention: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        let shared = Shared {
            home: None,
            lease: Duration::from_secs(30),
            writers: 2,
            notify: true,
            allow_degraded: false,
            retention: Some(Duration::from_secs(90 * 86_400)),
        };
        Self { clock: Clock::system(), readers: 4, max_bytes: None, shared }
    }
}

/// Whether what is committed outlives a loss of power.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Durability {
    /// It does.
    Full,
    /// It may not, for this reason; the operator has allowed it.
    Degraded(String),
}

/// Keeps other nodes out of something until it is dropped.
pub struct Hold(#[expect(dead_code, reason = "it is held")] Option<postgres::holds::Held>);

impl Store {
    /// Opens the embedded store of `data_dir`, called once at start: takes the directory's lock (another process that
    /// holds it is an error within a second), migrates, and makes claimable what a dead process had claimed.
    pub async fn open(data_dir: &Path, options: Options) -> Result<Self, Error> {
        sqlite::Store::open(data_dir, options).await.map(Self::Sqlite)
    }

    /// Opens the store in the PostgreSQL database of a `postgres://` URL: migrates, and joins the nodes that share it.
    pub async fn connect(url: &str, options: Options) -> Result<Self, Error> {
        postgres::Store::connect(url, options).await.map(Self::Postgres)
    }

    /// Keeps many events: all or, with an error, none. Those whose idempotency key has an answer are left out. Answers once all is on
    /// stable storage.
    pub async fn append_batch(&self, appends: Vec<Append>) -> Result<Vec<AppendOutcome>, Error> {
        match self {
            Self::Sqlite(store) => store.append_batch(appends).await,
            Self::Postgres(store) => store.append_batch(appends).await,
        }
    }

    /// Many reports in one go, each with its own answer.
    pub async fn record_many(&self, updates: Vec<RunUpdate>) -> Result<Vec<bool>, Error> {
        match self {
            Self::Sqlite(store) => store.record_many(updates).await,
            Self::Postgres(store) => store.record_many(updates).await,
        }
    }

    /// Keeps an event with its runs; answers once both are on stable storage.
    pub async fn append(&self, append: Append) -> Result<AppendOutcome, Error> {
        one_of(self.append_batch(vec![append]).await?)
    }

    /// Keeps what a run's holder reports; `false` where the run is not the holder's any more, and nothing was changed.
    pub async fn record(&self, update: RunUpdate) -> Result<bool, Error> {
        one_of(self.record_many(vec![update]).await?)
    }

    /// Every lane with unfinished runs: tenant, trigger, ordering key, and how many. Of a store that nodes share no process counts
    /// them.
    pub async fn lanes(&self) -> Result<Vec<(TenantId, Arc<str>, String, u64)>, Error> {
        match self {
            Self::Sqlite(store) => store.lanes().await,
            Self::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// Whether other nodes may use the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Waits until no other node holds what `name` names, and holds it until the answer is dropped. Tasks of one process keep each
    /// other out by themselves.
    pub async fn hold(&self, name: String) -> Result<Hold, Error> {
        match self {
            Self::Sqlite(_) => Ok(Hold(None)),
            Self::Postgres(store) => Ok(Hold(Some(Box::pin(store.hold(name)).await?))),
        }
    }

    /// Waits until everything is let go that is held by now, on whichever node, under a name that begins with `prefix`.
    pub async fn until_released(&self, prefix: &str) -> Result<(), Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(store) => Box::pin(store.until_released(prefix)).await,
        }
    }

    /// Takes one of the `of` places that `name` has on all nodes together, until the answer is dropped; `None` where all are taken.
    pub async fn take_slot(&self, name: &str, of: u32) -> Result<Option<Hold>, Error> {
        match self {
            Self::Sqlite(_) => Ok(Some(Hold(None))),
            Self::Postgres(store) => Ok(Box::pin(store.slot(name, of)).await?.map(|held| Hold(Some(held)))),
        }
    }

    /// Pours `tokens` into the leaky bucket `name` that all nodes share, `cost` each, where there is room for one of them in `burst`;
    /// else says after what time there will be. A store of one process leaves that to the process.
    pub async fn take_rate(
        &self,
        name: &str,
        tokens: u64,
        cost: Duration,
        burst: Duration,
    ) -> Result<Option<Duration>, Error> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(store) => Box::pin(store.rate(name, tokens, cost, burst)).await,
        }
    }

    /// Waits until other nodes may have left runs that are due; for ever where there are none.
    pub async fn due_elsewhere(&self) {
        match self {
            Self::Sqlite(_) => std::future::pending().await,
            Self::Postgres(store) => store.wait_due().await,
        }
    }

    /// Waits until other nodes may have changed definitions or the like; for ever where there are none.
    pub async fn changed_elsewhere(&self) {
        match self {
            Self::Sqlite(_) => std::future::pending().await,
            Self::Postgres(store) => store.wait_changes().await,
        }
    }

    /// Whether the runs that this process holds are still its own, as far as can be told without asking: a node whose lease has
    /// ended begins nothing.
    #[must_use]
    pub fn holds_its_runs(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(store) => store.is_alive(),
        }
    }

    /// Whether what is committed outlives a loss of power.
    #[must_use]
    pub fn durability(&self) -> Durability {
        match self {
            Self::Sqlite(_) => Durability::Full,
            Self::Postgres(store) => store.durability(),
        }
    }

    /// SQLite: sets how large the database file may grow from now on (`None`: as large as it can). A limit below the present
    /// size refuses all growth. On PostgreSQL the server's operator sets limits.
    pub async fn limit_size(&self, max_bytes: Option<u64>) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.limit_size(max_bytes).await,
            Self::Postgres(_) => {
                Err(Error::Conflict("the size of a PostgreSQL database is not limited here".to_owned()))
            }
        }
    }
}

/// The answer to one who asked alone.
fn one_of<T>(mut answers: Vec<T>) -> Result<T, Error> {
    answers.pop().ok_or_else(|| Error::Unavailable("the store gave no answer".to_owned()))
}
