//! The feed of what happens, for the event stream: best effort, never in the way of the work.
//!
//! The latest items are kept for those who come back after a short break. Where several nodes share the store, a node whose clients
//! listen says so, and the others hand it what happens on them (`nodes.rs`).

mod nodes;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast, mpsc};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};

pub use nodes::tend;

use crate::clock::Clock;

/// How far a slow listener may fall behind before it is told that it missed items.
const BACKLOG: usize = 4096;
/// Items that are kept for who comes back.
const KEPT: usize = 8192;
/// For how long after the last listener left they are.
const LINGER_MS: i64 = 120_000;
/// Items that wait to be handed to other nodes.
const OUTGOING: usize = 4096;
/// How much clocks of nodes may differ where somebody comes back to another node.
const SKEW_MS: i64 = 2_000;

/// Tells listeners of new events and of runs that changed their state. Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    clock: Clock,
    /// Tells the items of this process from those of others, and of former ones.
    origin: String,
    /// Whether anybody wants to know: what is looked at for each event.
    is_on: AtomicBool,
    live: broadcast::Sender<Arc<Entry>>,
    kept: Mutex<Kept>,
    listened: Mutex<Listened>,
    /// When somebody last listened.
    listened_at: AtomicI64,
    /// Somebody began to listen to a tenant that nobody listened to.
    began: Notify,
    outgoing: mpsc::Sender<FeedItem>,
    to_send: tokio::sync::Mutex<mpsc::Receiver<FeedItem>>,
}

/// An item as it is kept, numbered.
#[derive(Debug)]
pub struct Entry {
    number: u64,
    /// What happened.
    pub item: FeedItem,
}

/// The latest items.
struct Kept {
    next: u64,
    /// Nothing that happened after this was left out.
    since: Timestamp,
    entries: VecDeque<Arc<Entry>>,
}

/// Who listens.
#[derive(Default)]
struct Listened {
    here: HashMap<TenantId, usize>,
    /// On other nodes, and until when.
    elsewhere: HashMap<TenantId, Timestamp>,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FeedItem {
    /// Whose; listeners filter by it.
    pub tenant: TenantId,
    /// Of which event.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: String,
    /// The event's source.
    pub source: Option<String>,
    /// The event's table.
    pub table: Option<String>,
    /// What it has become.
    pub status: FeedStatus,
    /// The run, and its trigger, where it is not the event itself.
    pub run: Option<(RunId, String)>,
    /// When.
    pub timestamp: Timestamp,
}

/// What an event or a run has become.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedStatus {
    /// An event came in that has runs.
    Accepted,
    /// An event came in that no trigger matched.
    Unmatched,
    /// A run waits: for another try, or as it was replayed.
    Pending,
    /// A run ended well.
    Delivered,
    /// A run became a dead letter.
    Failed,
}

/// A place in the feed, as clients name it when they come back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    origin: String,
    number: u64,
    ms: i64,
}

/// Somebody who listens to one tenant, until it is dropped.
pub struct Listener {
    feed: Feed,
    tenant: TenantId,
    live: broadcast::Receiver<Arc<Entry>>,
    before: VecDeque<Arc<Entry>>,
}

/// What comes next.
pub enum Next {
    /// This happened.
    Entry(Arc<Entry>),
    /// Items were left out.
    Missed,
    /// Nothing comes any more.
    End,
}

impl Feed {
    /// The feed of this process, which is called `origin`.
    #[must_use]
    pub fn new(clock: Clock, origin: String) -> Self {
        let (outgoing, to_send) = mpsc::channel(OUTGOING);
        Self(Arc::new(Inner {
            origin,
            is_on: AtomicBool::new(false),
            live: broadcast::channel(BACKLOG).0,
            kept: Mutex::new(Kept { next: 1, since: clock.now(), entries: VecDeque::new() }),
            listened: Mutex::default(),
            listened_at: AtomicI64::new(i64::MIN / 2),
            began: Notify::new(),
            outgoing,
            to_send: tokio::sync::Mutex::new(to_send),
            clock,
        }))
    }

    /// Listens to a tenant from now on, or from behind a place on; `false` where not everything since is known any more.
    #[must_use]
    pub fn listen(&self, tenant: &TenantId, after: Option<&Place>) -> (Listener, bool) {
        let inner = &self.0;
        self.count(tenant, true);
        let mut kept = lock(&inner.kept);
        if !inner.is_on.swap(true, Ordering::Relaxed) {
            // What happened meanwhile was told to nobody.
            kept.entries.clear();
            kept.since = inner.clock.now();
        }
        let (before, is_whole) = after.map_or((VecDeque::new(), true), |place| kept.after(place, &inner.origin));
        let live = inner.live.subscribe();
        drop(kept);
        let before = before.into_iter().filter(|entry| entry.item.tenant == *tenant).collect();
        (Listener { feed: self.clone(), tenant: tenant.clone(), live, before }, is_whole)
    }

    /// Whether anybody wants to know.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Relaxed)
    }

    /// Tells of an event, or of a run of it. Costs nothing where nobody listens.
    pub fn tell(&self, event: &Event, run: Option<(RunId, &str)>, status: FeedStatus, timestamp: Timestamp) {
        let inner = &self.0;
        if !inner.is_on.load(Ordering::Relaxed) {
            return;
        }
        let item = FeedItem::of(event, run, status, timestamp);
        if lock(&inner.listened).elsewhere.contains_key(&item.tenant) {
            // Where more happens than can be handed over, listeners elsewhere are not told of all of it.
            let _ = inner.outgoing.try_send(item.clone());
        }
        self.pass_on(item);
    }

    /// Keeps an item and passes it on to those who listen here.
    fn pass_on(&self, item: FeedItem) {
        let mut kept = lock(&self.0.kept);
        let entry = Arc::new(Entry { number: kept.next, item });
        kept.next += 1;
        if kept.entries.len() == KEPT
            && let Some(oldest) = kept.entries.pop_front()
        {
            kept.since = kept.since.max(oldest.item.timestamp);
        }
        kept.entries.push_back(entry.clone());
        // An error means that nobody listens just now. In the lock, so that nobody gets an item twice or never.
        let _ = self.0.live.send(entry);
    }

    fn count(&self, tenant: &TenantId, comes: bool) {
        let inner = &self.0;
        inner.listened_at.store(inner.clock.now_ms(), Ordering::Relaxed);
        let mut listened = lock(&inner.listened);
        let count = listened.here.entry(tenant.clone()).or_default();
        if comes {
            *count += 1;
            if *count == 1 {
                inner.began.notify_one();
            }
        } else {
            *count = count.saturating_sub(1);
            if *count == 0 {
                listened.here.remove(tenant);
            }
        }
    }

    /// Turns itself off where nobody has wanted to know for a while.
    fn rest(&self) {
        let inner = &self.0;
        let now = inner.clock.now();
        let is_wanted = {
            let mut listened = lock(&inner.listened);
            listened.elsewhere.retain(|_, until| *until > now);
            if !listened.here.is_empty() {
                inner.listened_at.store(now.as_millisecond(), Ordering::Relaxed);
            }
            !listened.elsewhere.is_empty()
        };
        let lingers = now.as_millisecond() - inner.listened_at.load(Ordering::Relaxed) < LINGER_MS;
        let mut kept = lock(&inner.kept);
        if !is_wanted && !lingers && inner.live.receiver_count() == 0 && inner.is_on.swap(false, Ordering::Relaxed) {
            kept.entries.clear();
        }
    }
}

impl FeedItem {
    /// What is told of an event, or of a run of it.
    #[must_use]
    pub fn of(event: &Event, run: Option<(RunId, &str)>, status: FeedStatus, timestamp: Timestamp) -> Self {
        Self {
            tenant: event.tenant.clone(),
            event_id: event.id,
            event_type: event.event_type.clone(),
            source: event.source.clone(),
            table: event.table().map(str::to_owned),
            status,
            run: run.map(|(id, trigger)| (id, trigger.to_owned())),
            timestamp,
        }
    }
}

impl Kept {
    /// The items behind a place, and whether they are all.
    fn after(&self, place: &Place, origin: &str) -> (VecDeque<Arc<Entry>>, bool) {
        if place.origin == origin {
            let first = self.entries.front().map_or(self.next, |entry| entry.number);
            let later = self.entries.iter().filter(|entry| entry.number > place.number).cloned().collect();
            return (later, place.number + 1 >= first && place.number < self.next);
        }
        // Of another node, or of this one before it was started anew: by the time. Something may come twice.
        let from = place.ms - SKEW_MS;
        let later =
            self.entries.iter().filter(|entry| entry.item.timestamp.as_millisecond() >= from).cloned().collect();
        (later, self.since.as_millisecond() <= from)
    }
}

impl Listener {
    /// The next of the tenant's items.
    pub async fn next(&mut self) -> Next {
        if let Some(entry) = self.before.pop_front() {
            return Next::Entry(entry);
        }
        loop {
            match self.live.recv().await {
                Ok(entry) if entry.item.tenant == self.tenant => return Next::Entry(entry),
                Ok(_) => {}
                // Of all tenants' items: how many of them were this one's is not known.
                Err(broadcast::error::RecvError::Lagged(_)) => return Next::Missed,
                Err(broadcast::error::RecvError::Closed) => return Next::End,
            }
        }
    }

    /// Where an item is in the feed.
    #[must_use]
    pub fn place(&self, entry: &Entry) -> Place {
        let ms = entry.item.timestamp.as_millisecond();
        Place { origin: self.feed.0.origin.clone(), number: entry.number, ms }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.feed.count(&self.tenant, false);
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.origin, self.number, self.ms)
    }
}

impl std::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let (Some(origin), Some(number), Some(ms), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let (number, ms) = (number.parse().map_err(|_| ())?, ms.parse().map_err(|_| ())?);
        Ok(Self { origin: origin.to_owned(), number, ms })
    }
}

/// Nothing in it can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn tenant() -> TenantId {
        TenantId::new("default")
    }

    fn tell(feed: &Feed, n: usize) {
        let now = feed.0.clock.now();
        let event = Event::plain(EventId::new(n as u64, [0; 10]), tenant(), format!("t{n}"), Value::Null, now);
        feed.tell(&event, None, FeedStatus::Accepted, now);
    }

    async fn next(listener: &mut Listener) -> (String, Place) {
        match listener.next().await {
            Next::Entry(entry) => (entry.item.event_type.clone(), listener.place(&entry)),
            Next::Missed => ("missed".to_owned(), Place { origin: String::new(), number: 0, ms: 0 }),
            Next::End => panic!("the feed ended"),
        }
    }

    #[tokio::test]
    async fn who_comes_back_gets_what_happened_meanwhile_once() {
        let feed = Feed::new(Clock::system(), "a".to_owned());
        tell(&feed, 0);
        let (mut listener, _) = feed.listen(&tenant(), None);
        tell(&feed, 1);
        tell(&feed, 2);
        let (_, place) = next(&mut listener).await;
        drop(listener);
        tell(&feed, 3);
        let place: Place = place.to_string().parse().unwrap();
        let (mut again, is_whole) = feed.listen(&tenant(), Some(&place));
        tell(&feed, 4);
        assert!(is_whole);
        for wanted in ["t2", "t3", "t4"] {
            assert_eq!(next(&mut again).await.0, wanted);
        }
        let (mut stranger, _) = feed.listen(&TenantId::new("other"), Some(&place));
        assert!(futures_util::FutureExt::now_or_never(stranger.next()).is_none(), "another tenant's are not told");
    }

    #[tokio::test]
    async fn who_comes_back_too_late_or_from_elsewhere_is_told_that_something_is_missing() {
        let feed = Feed::new(Clock::system(), "a".to_owned());
        let (mut listener, _) = feed.listen(&tenant(), None);
        tell(&feed, 1);
        let (_, place) = next(&mut listener).await;
        for n in 0..KEPT + 10 {
            tell(&feed, n);
        }
        assert_eq!(next(&mut listener).await.0, "missed", "a slow one does not hold everything up");
        assert!(!feed.listen(&tenant(), Some(&place)).1);
        let elsewhere = Place { origin: "b".to_owned(), number: 7, ms: place.ms - 60_000 };
        assert!(!feed.listen(&tenant(), Some(&elsewhere)).1);
        let restarted = Feed::new(Clock::system(), "c".to_owned());
        assert!(!restarted.listen(&tenant(), Some(&place)).1);
        for nonsense in ["", "a", "a.b.c", "a.1.2.3"] {
            assert!(nonsense.parse::<Place>().is_err());
        }
    }
}
