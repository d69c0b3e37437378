//! Who uses a resource: what must be changed before it may go.
//!
//! Triggers name resources in their actions' settings, secrets in their templates and the database that they capture; components are granted caches,
//! brokers and secrets; resources name secrets, and syncs databases. What a template decides only when it is rendered is not known here.

use serde_json::Value;
use triggerd_core::catalog::Catalog;
use triggerd_core::definition::{Action, NamePattern, Trigger};
use triggerd_core::id::TenantId;

use crate::actions::{Registry, Use, granted};
use crate::app::App;
use crate::definitions::is_internal;
use crate::store;

/// The users of a resource, as `trigger TAG`, `component NAME` and `KIND/TAG`, each once.
pub async fn users(app: &App, tenant: &TenantId, kind: &str, tag: &str) -> Result<Vec<String>, store::Error> {
    let wanted = |used: &Use| used.0 == kind && used.1 == tag;
    let mut found: Vec<String> = Vec::new();
    for trigger in app.definitions.index().all(tenant).into_iter().filter(|trigger| !is_internal(&trigger.tag)) {
        let captures = kind == "databases" && trigger.database == Some(NamePattern::Exact(tag.to_owned()));
        if captures || of_trigger(app.registry, &trigger).iter().any(wanted) {
            found.push(format!("trigger {}", trigger.tag));
        }
    }
    for (name, settings) in app.components.all_settings(tenant).await? {
        if granted(&settings["capabilities"]).iter().any(wanted) {
            found.push(format!("component {name}"));
        }
    }
    if kind == "databases" {
        found.extend(app.services.resources.syncs_that(tenant, |sync| sync.databases().contains(&tag)));
    }
    if kind == "secrets" {
        found.extend(app.services.resources.naming_secret(tenant, tag));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn of_trigger(registry: &Registry, trigger: &Trigger) -> Vec<Use> {
    let mut found = Vec::new();
    of_written(registry, &trigger.source.read()["actions"], &mut found);
    of_compiled(&trigger.actions, &mut found);
    found
}

fn of_written(registry: &Registry, actions: &Value, found: &mut Vec<Use>) {
    for action in actions.as_array().into_iter().flatten() {
        let config = &action["config"];
        let kind = action["type"].as_str().and_then(|written| registry.canonical(written, config));
        found.extend(kind.map(|kind| registry.uses(kind, config)).unwrap_or_default());
        of_written(registry, &action["fallback"], found);
    }
}

fn of_compiled(actions: &[Action], found: &mut Vec<Use>) {
    for action in actions {
        found.extend(action.config.secrets().iter().map(|name| ("secrets", name.clone())));
        of_compiled(&action.fallback, found);
    }
}
