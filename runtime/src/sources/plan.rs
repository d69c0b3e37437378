//! Which databases are to be captured, and what of each: derived from definitions and resources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use triggerd_core::capture::{self, Clause, Columns, Wanted};
use triggerd_core::definition::Trigger;
use triggerd_core::event::DEFAULT_ENV;
use triggerd_core::id::TenantId;

use super::Place;
use crate::app::App;
use crate::connections::sql::Server;
use crate::resources::{Capture, Database, Extent, Resolved, Resources};

/// A table by its schema, where that is not the connection's own, and its name.
pub type TableName = (Option<String>, String);

/// A table's name as people write it.
#[must_use]
pub fn shown(schema: Option<&str>, name: &str) -> String {
    schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"))
}

/// What is to be captured of one database.
#[derive(Clone)]
pub struct Plan {
    /// Counts plans: another one was made later.
    pub generation: u64,
    /// Where the database is.
    pub server: Server,
    /// How it is captured.
    pub capture: Capture,
    /// The settings say how: then the application's own events are read, also where no table is captured.
    pub explicit: bool,
    /// The triggers that make it tell.
    pub triggers: Vec<Arc<Trigger>>,
}

impl Plan {
    /// Whether it is the same but for its number.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        // What triggers say is compared too: those of a sync that was deleted and made again have the same versions.
        let same = |a: &Arc<Trigger>, b: &Arc<Trigger>| {
            a.tag == b.tag && a.version == b.version && (Arc::ptr_eq(a, b) || a.source == b.source)
        };
        self.server == other.server
            && self.capture == other.capture
            && self.explicit == other.explicit
            && self.triggers.len() == other.triggers.len()
            && self.triggers.iter().zip(&other.triggers).all(|(a, b)| same(a, b))
    }

    /// What is wanted of each of `tables`. `place` is where they are.
    #[must_use]
    pub fn wanted(&self, place: &Place, tables: &[TableName]) -> BTreeMap<TableName, Wanted> {
        let mut wanted = BTreeMap::new();
        for (schema, name) in tables {
            let triggers = self.triggers.iter().map(AsRef::as_ref);
            let mut of_table = capture::wanted(triggers, &place.database, &place.env, schema.as_deref(), name);
            for want in [&mut of_table.insert, &mut of_table.update, &mut of_table.delete].into_iter().flatten() {
                if self.capture.columns == Extent::All {
                    want.columns = Columns::All;
                }
                if self.capture.rows == Extent::All {
                    want.rows = Clause::Unknown;
                }
            }
            if !of_table.is_nothing() {
                wanted.insert((schema.clone(), name.clone()), of_table);
            }
        }
        wanted
    }

    /// Tables that a trigger names in full and that are not among `tables`.
    #[must_use]
    pub fn missing(&self, tables: &[TableName]) -> BTreeSet<String> {
        use triggerd_core::definition::NamePattern;
        let there: BTreeSet<&str> = tables.iter().map(|(_, name)| name.as_str()).collect();
        let named = self.triggers.iter().flat_map(|trigger| &trigger.tables);
        let exact = named.filter_map(|pattern| match pattern {
            NamePattern::Exact(name) if !there.contains(name.as_str()) => Some(name.clone()),
            _ => None,
        });
        exact.collect()
    }

    /// Whether nothing is left to capture.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.triggers.is_empty() && !self.explicit
    }
}

/// The plans of all databases that are to be captured, or were and are to be left. `known` are those of before.
pub(super) fn all(
    app: &Arc<App>,
    generation: u64,
    known: &BTreeSet<Place>,
    written: &BTreeSet<Place>,
) -> BTreeMap<Place, Plan> {
    let mut plans = BTreeMap::new();
    let mut of_tenant: Option<(TenantId, Vec<Arc<Trigger>>)> = None;
    for (tenant, tag, envs) in app.services.resources.everywhere("databases") {
        // Resources come by kind and tenant: each tenant's triggers are looked through once.
        if of_tenant.as_ref().is_none_or(|(known, _)| *known != tenant) {
            let triggers = app.definitions.index().all(&tenant);
            let capturing = triggers.into_iter().filter(|trigger| trigger.database.is_some());
            of_tenant = Some((tenant.clone(), capturing.collect()));
        }
        let triggers = of_tenant.as_ref().map(|(_, triggers)| triggers.as_slice()).unwrap_or_default();
        // A variant that is the base's own database comes to the base's place, and to the same plan.
        for env in std::iter::once(DEFAULT_ENV).chain(envs.iter().map(String::as_str)) {
            let Some((place, mut plan)) = one(app, generation, &tenant, &tag, env, triggers) else { continue };
            plan.explicit |= written.contains(&place);
            if !plan.is_idle() || known.contains(&place) {
                plans.insert(place, plan);
            }
        }
    }
    plans
}

/// Where a trigger has changes captured, whichever node does it.
#[must_use]
pub fn places(resources: &Resources, tenant: &TenantId, trigger: &Trigger) -> BTreeSet<Place> {
    let own = resources.everywhere("databases").into_iter().filter(|(of, ..)| of == tenant);
    let of_each = own.flat_map(|(_, tag, envs)| {
        let envs = std::iter::once(DEFAULT_ENV.to_owned()).chain(envs);
        envs.filter_map(move |env| place_of(resources, tenant, &tag, &env))
    });
    of_each.filter(|place| capture::captures(trigger, &place.database, &place.env)).collect()
}

/// Where changes of a database are captured, as events of `env` know it. `None` where it cannot be told.
#[must_use]
pub fn place_of(resources: &Resources, tenant: &TenantId, tag: &str, env: &str) -> Option<Place> {
    found(resources, tenant, tag, env).map(|(place, _)| place)
}

/// Where a database is captured that events of `env` know, and the settings that say how. A variant that names no other
/// server than the base does is the same database: it is captured once, as the base.
fn found(resources: &Resources, tenant: &TenantId, tag: &str, env: &str) -> Option<(Place, Arc<Resolved<Database>>)> {
    let of = |env: &str| resources.resolve::<Database>(tenant, "databases", tag, env)?.ok();
    let own = of(env)?;
    // All may be in variants: then there is no base.
    let (name, resolved) = match of(DEFAULT_ENV) {
        Some(base) if base.settings.url == own.settings.url => (DEFAULT_ENV, base),
        _ => (env, own),
    };
    let env = resolved.settings.capture.as_ref().and_then(|capture| capture.env.clone());
    let env = env.unwrap_or_else(|| name.to_owned());
    Some((Place { tenant: tenant.clone(), database: tag.to_owned(), env }, resolved))
}

/// The plan of a database as it is in one environment.
fn one(
    app: &Arc<App>,
    generation: u64,
    tenant: &TenantId,
    tag: &str,
    env: &str,
    triggers: &[Arc<Trigger>],
) -> Option<(Place, Plan)> {
    let (place, resolved) = found(&app.services.resources, tenant, tag, env)?;
    let settings = &resolved.settings;
    let capture = settings.capture.clone().unwrap_or_default();
    let captures = |trigger: &&Arc<Trigger>| capture::captures(trigger, tag, &place.env);
    let plan = Plan {
        generation,
        server: settings.server(),
        explicit: settings.capture.is_some(),
        triggers: triggers.iter().filter(captures).cloned().collect(),
        capture,
    };
    Some((place, plan))
}
