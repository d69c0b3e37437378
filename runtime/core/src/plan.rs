//! Planning: which runs an event makes, and how each begins.

use std::sync::Arc;

use jiff::Timestamp;

use crate::definition::{Timing, Trigger};
use crate::event::Event;
use crate::id::RunId;
use crate::index::Match;
use crate::template::Scope;

/// A run that is to be stored with its event.
#[derive(Debug)]
pub struct PlannedRun {
    /// Its id.
    pub id: RunId,
    /// With which definition.
    pub trigger: Arc<Trigger>,
    /// Whether the condition waits for a Wasm component's verdict: the run's first step then.
    pub gated: bool,
    /// The rendered `ordering.key`; equal keys of one trigger execute one after another.
    pub ordering_key: Option<String>,
    /// The queue that the first action goes through, where it is `queued`.
    pub queue: Option<String>,
}

/// The runs that `event` makes of `matches`, in order of priority. `random` gives each run id its random bits.
#[must_use]
pub fn plan(
    event: &Event,
    matches: Vec<Match>,
    now: Timestamp,
    mut random: impl FnMut() -> [u8; 10],
) -> Vec<PlannedRun> {
    let unix_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    matches
        .into_iter()
        .map(|found| {
            let ordering_key =
                found.trigger.ordering_key.as_ref().map(|key| ordering_key(key, event, &found.trigger, now));
            let queue = match found.trigger.actions.first().map(|a| &a.timing) {
                Some(Timing::Queued(queue)) => Some(queue.clone()),
                _ => None,
            };
            PlannedRun {
                id: RunId::new(unix_ms, random()),
                trigger: found.trigger,
                gated: found.gated,
                ordering_key,
                queue,
            }
        })
        .collect()
}

/// The rendered key. One that cannot be rendered is the empty key: its runs are ordered among themselves
/// rather than not at all.
fn ordering_key(key: &crate::template::Template, event: &Event, trigger: &Trigger, now: Timestamp) -> String {
    key.render_text(&Scope::of_event(event, &trigger.tag, now)).unwrap_or_default()
}
