//! Why triggers did not match an event: those in force when it was accepted, whose scope it fits. Subscriptions as they are now, where
//! they were there then: former settings of theirs are not kept.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use triggerd_core::compile::compile;
use triggerd_core::condition::Explanation;
use triggerd_core::definition::Trigger;
use triggerd_core::event::Event;
use triggerd_core::explain::explain;

use crate::app::App;
use crate::store::{self, Run, StoredTrigger};
use crate::subscriptions::subscription_of;

/// Triggers that are explained for one event; with more, the first by priority and tag.
const MOST: usize = 1000;

/// A trigger that did not match.
#[derive(Debug, Serialize)]
pub struct NotMatched {
    /// The trigger's tag; `subscription:ID` for a subscription.
    pub trigger: String,
    /// The version that was in force.
    pub version: u32,
    /// Which part of the condition said no.
    pub explanation: Explanation,
}

/// The triggers of the event's table or type that made no run of it.
pub async fn of(app: &App, event: &Event, runs: &[Run]) -> Result<Vec<NotMatched>, store::Error> {
    let matched: HashSet<&str> = runs.iter().map(|run| &*run.trigger).collect();
    let in_force = app.store.triggers_at(&event.tenant, event.accepted_at).await?;
    let others = in_force.into_iter().filter(|stored| !matched.contains(stored.tag.as_str()));
    let mut near: Vec<Arc<Trigger>> =
        others.filter_map(|stored| compiled(app, &stored)).filter(|trigger| trigger.covers(event)).collect();
    near.sort_by(|a, b| (a.priority, &a.tag).cmp(&(b.priority, &b.tag)));
    near.extend(subscriptions(app, event, &matched));
    let told = near.into_iter().take(MOST);
    Ok(told
        .map(|trigger| NotMatched {
            explanation: explain(&trigger, event, &|_| None),
            trigger: trigger.tag.to_string(),
            version: trigger.version,
        })
        .collect())
}

/// The subscriptions that select events of this type and others of it.
fn subscriptions(app: &App, event: &Event, matched: &HashSet<&str>) -> Vec<Arc<Trigger>> {
    let resources = &app.services.resources;
    let was_there = |trigger: &Trigger| {
        let id = subscription_of(&trigger.tag);
        let stored = id.and_then(|id| resources.get(&event.tenant, "subscriptions", id));
        stored.is_some_and(|stored| stored.created_at <= event.accepted_at)
    };
    let in_scope = app.definitions.index().in_scope(event);
    let others = in_scope.into_iter().filter(|trigger| !matched.contains(&*trigger.tag) && was_there(trigger));
    // One that would match now was changed since.
    others.filter(|trigger| explain(trigger, event, &|_| None).verdict == Some(false)).collect()
}

/// The version that is in force now is compiled already. One that no longer compiles is not explained.
fn compiled(app: &App, stored: &StoredTrigger) -> Option<Arc<Trigger>> {
    let current = app.definitions.index().get(&stored.tenant, &stored.tag).filter(|t| t.version == stored.version);
    current.or_else(|| compile(&stored.definition, stored.version, app.registry).ok().map(Arc::new))
}
