//! Captured changes become events: kept in one commit, each once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use triggerd_core::event::Event;

use super::{Captured, Place};
use crate::app::App;
use crate::connections::sql::Fault;
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
/// forgotten. Tries until the store takes them; `false` where `stop` came first: then nothing is known to be kept. Fails where
/// the store refuses them for good.
pub async fn accept(
    app: &Arc<App>,
    place: &Place,
    mut events: Vec<Arc<Event>>,
    seen_before: bool,
    only: Option<Arc<str>>,
    stop: &CancellationToken,
) -> Result<bool, Fault> {
    let mut doubtful = seen_before;
    let mut refused = false;
    let twice = without_doubles(&mut events);
    if twice > 0 {
        tracing::error!(
            tenant = %place.tenant, database = place.database, env = place.env,
            "{twice} changes of database {} were told twice at once, and are kept once", place.database
        );
    }
    loop {
        if doubtful {
            let ids: Vec<_> = events.iter().map(|event| event.id).collect();
            match app.store.known_events(&ids).await {
                Ok(known) => {
                    refused &= known.is_empty();
                    events.retain(|event| !known.contains(&event.id));
                }
                Err(error) => {
                    warn(place, &error);
                    if !pause(stop).await {
                        return Ok(false);
                    }
                    continue;
                }
            }
        }
        if events.is_empty() {
            return Ok(true);
        }
        let submission = |event: &Arc<Event>| Submission { only: only.clone(), ..Submission::from(event.clone()) };
        let submissions: Vec<Submission> = events.iter().map(submission).collect();
        match intake::accept_batch(app, submissions).await {
            Ok(_) => return Ok(true),
            Err(intake::Error::Draining { .. }) => return Ok(false),
            // Some were read before, and not forgotten where they come from; or nothing of the kind is known, and another try
            // ends as this one.
            Err(intake::Error::Store(store::Error::Conflict(why))) => {
                if refused {
                    let message = format!("the store refuses changes of database `{}`: {why}", place.database);
                    return Err(Fault::permanent("INTERNAL", message));
                }
                (doubtful, refused) = (true, true);
            }
            Err(intake::Error::Store(error)) => {
                // It may have been kept all the same, where only the answer was lost.
                doubtful = true;
                warn(place, &error);
                if !pause(stop).await {
                    return Ok(false);
                }
            }
        }
    }
}

/// Leaves the first of those that have the same id; how many were taken out.
fn without_doubles(events: &mut Vec<Arc<Event>>) -> usize {
    let (all, mut ids) = (events.len(), HashSet::with_capacity(events.len()));
    events.retain(|event| ids.insert(event.id));
    all - events.len()
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Map, Value, json};
    use triggerd_core::id::TenantId;

    use super::super::Change;
    use super::*;

    #[test]
    fn changes_of_one_id_are_kept_once() {
        let place = Place { tenant: TenantId::new("acme"), database: "shop".into(), env: "default".into() };
        let event = |key: &str| {
            let captured = Captured {
                key: key.into(),
                change: Change::Event { event_type: "order.created".into(), payload: json!({}) },
                at: Timestamp::UNIX_EPOCH,
                transaction: None,
                user: Value::Null,
                context: Map::new(),
                origin: None,
            };
            Arc::new(captured.into_event(&place, Timestamp::UNIX_EPOCH))
        };
        let mut events = vec![event("1"), event("2"), event("1")];
        assert_eq!(without_doubles(&mut events), 1);
        assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), [event("1").id, event("2").id]);
    }
}
