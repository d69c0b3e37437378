//! The feed of what happens, for the event stream: best effort, never in the way of the work.

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast;
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};

/// How far a slow listener may fall behind before it is told that it missed items.
const BACKLOG: usize = 4096;

/// Tells listeners of new events and of runs that changed their state. Cheap to clone.
#[derive(Clone)]
pub struct Feed(broadcast::Sender<FeedItem>);

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct FeedItem {
    /// Whose; listeners filter by it.
    #[serde(skip)]
    pub tenant: TenantId,
    /// Of which event.
    pub event_id: EventId,
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// `accepted` or `unmatched` for an event; `pending`, `delivered`, `failed` for a run.
    pub status: &'static str,
    /// The run's trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// When.
    pub timestamp: Timestamp,
}

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Feed {
    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<FeedItem> {
        self.0.subscribe()
    }

    /// Tells of an event, or of a run of it. Costs nothing where nobody listens.
    pub fn tell(&self, event: &Event, run: Option<(RunId, &str)>, status: &'static str, timestamp: Timestamp) {
        if self.0.receiver_count() == 0 {
            return;
        }
        let item = FeedItem {
            tenant: event.tenant.clone(),
            event_id: event.id,
            event_type: event.event_type.clone(),
            status,
            trigger: run.map(|(_, trigger)| trigger.to_owned()),
            run_id: run.map(|(id, _)| id),
            timestamp,
        };
        // An error means that the last listener left meanwhile.
        let _ = self.0.send(item);
    }
}
