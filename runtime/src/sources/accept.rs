//! Captured changes become events: kept in one commit, each once.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use triggerd_core::event::Event;

use super::{Captured, Place};
use crate::app::App;
use crate::intake::{self, Submission};
use crate::store;

/// The pause before what could not be kept is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// The events that changes become.
pub fn events(app: &App, place: &Place, changes: Vec<Captured>) -> Vec<Arc<Event>> {
    let now = app.clock.now();
    changes.into_iter().map(|change| Arc::new(change.into_event(place, now))).collect()
}

/// Keeps the events of one database, in order, for one trigger or for whichever they match, before anything is forgotten
/// where they come from. `seen_before` says that some of them may be kept already, because they were read before and not
/// forgotten. Tries until the store takes them; `false` where `stop` came first: then nothing is known to be kept.
pub async fn accept(
    app: &Arc<App>,
    place: &Place,
    mut events: Vec<Arc<Event>>,
    seen_before: bool,
    only: Option<Arc<str>>,
    stop: &CancellationToken,
) -> bool {
    let mut doubtful = seen_before;
    loop {
        if doubtful {
            let ids: Vec<_> = events.iter().map(|event| event.id).collect();
            match app.store.known_events(&ids).await {
                Ok(known) => events.retain(|event| !known.contains(&event.id)),
                Err(error) => {
                    warn(place, &error);
                    if !pause(stop).await {
                        return false;
                    }
                    continue;
                }
            }
        }
        if events.is_empty() {
            return true;
        }
        let submission = |event: &Arc<Event>| Submission { only: only.clone(), ..Submission::from(event.clone()) };
        let submissions: Vec<Submission> = events.iter().map(submission).collect();
        match intake::accept_batch(app, submissions).await {
            Ok(_) => return true,
            Err(intake::Error::Draining { .. }) => return false,
            // Some were read before, and not forgotten where they come from.
            Err(intake::Error::Store(store::Error::Conflict(_))) if !doubtful => doubtful = true,
            Err(intake::Error::Store(error)) => {
                // It may have been kept all the same, where only the answer was lost.
                doubtful = true;
                warn(place, &error);
                if !pause(stop).await {
                    return false;
                }
            }
        }
    }
}

fn warn(place: &Place, error: &store::Error) {
    tracing::error!(
        tenant = %place.tenant, database = place.database, env = place.env,
        "Changes of database {} wait, since the store does not take them: {error}", place.database
    );
}

/// Whether the pause ended before `stop` came.
async fn pause(stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(PAUSE) => true,
    }
}
