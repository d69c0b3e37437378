//! Triggers that this program makes of resources: of syncs and of subscriptions. They are stored nowhere, and made again whenever
//! the resource changes and at each start.

use serde_json::Value;
use triggerd_core::id::TenantId;
use triggerd_core::run::{ActionProgress, ActionState};

use crate::definitions::Definitions;
use crate::resources::Resources;
use crate::store::Run;
use crate::{subscriptions, syncs};

/// Puts in force what every tenant's resources stand for.
pub async fn install_all(definitions: &Definitions, resources: &Resources) {
    for kind in ["syncs", "subscriptions"] {
        for (tenant, tag, _) in resources.everywhere(kind) {
            install(definitions, resources, &tenant, kind, &tag).await;
        }
    }
}

/// Puts in force what a resource stands for by now; nothing, where it is of a kind that stands for none.
pub async fn install(definitions: &Definitions, resources: &Resources, tenant: &TenantId, kind: &str, tag: &str) {
    match kind {
        "syncs" => syncs::install(definitions, resources, tenant, tag).await,
        "subscriptions" => subscriptions::install(definitions, resources, tenant, tag).await,
        _ => {}
    }
}

/// The resource, by kind and tag, that a trigger stands for; `None` where somebody wrote it.
#[must_use]
pub fn resource_of(trigger: &str) -> Option<(&'static str, &str)> {
    let subscription = || subscriptions::subscription_of(trigger).map(|id| ("subscriptions", id));
    syncs::sync_of(trigger).map(|tag| ("syncs", tag)).or_else(subscription)
}

/// Whether nobody wants what the runs of such a trigger would do, which is out of force: its resource was deleted, or wants
/// no such trigger any more. One that is out of force for its mistakes still wants it.
#[must_use]
pub fn is_abandoned(resources: &Resources, tenant: &TenantId, trigger: &str) -> bool {
    match resource_of(trigger) {
        Some(("syncs", _)) => syncs::is_abandoned(resources, tenant, trigger),
        Some((kind, tag)) => resources.get(tenant, kind, tag).is_none(),
        None => false,
    }
}

/// Notes in a run that nobody wants that its action is skipped, whether it was tried before or never begun.
pub fn skip(run: &mut Run) {
    let (name, kind, what) = match resource_of(&run.trigger) {
        Some(("subscriptions", _)) => (subscriptions::ACTION, subscriptions::TYPE, "subscription gone"),
        _ => (syncs::ACTION, syncs::TYPE, "sync gone"),
    };
    let actions = &mut run.progress.actions;
    if actions.is_empty() {
        actions.push(ActionProgress {
            name: name.to_owned(),
            kind: kind.to_owned(),
            status: ActionState::Pending,
            delivery_id: run.id.delivery(name),
            reason: None,
            output: Value::Null,
            effect: None,
            first_of_round: 1,
            attempts: Vec::new(),
        });
    }
    for action in actions.iter_mut().filter(|action| action.status != ActionState::Delivered) {
        (action.status, action.reason) = (ActionState::Skipped, Some(what.to_owned()));
    }
}
