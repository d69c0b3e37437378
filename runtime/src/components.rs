//! Wasm components: uploaded, versioned, named by triggers, kept compiled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use triggerd_core::condition::{ComponentCall, Condition};
use triggerd_core::definition::{Action, Trigger};
use triggerd_core::event::Event;
use triggerd_core::id::{DeliveryId, TenantId};
use triggerd_core::index::Index;
use triggerd_core::mistake::{Mistake, join, nearest};
use triggerd_core::outcome::Failure;

use crate::actions::{GuestServices, Services};
use crate::clock::Clock;
use crate::resources::Resources;
use crate::store::{self, Store, StoredComponent};
use crate::wasm::{
    Call, CallReport, Capabilities, CpuQuotas, Export, GuestAnswer, Host, Invocation, Limits, Prepared, Refusal,
};

/// The resource kind that a component's own settings (capabilities, limits) are kept under.
pub(crate) const SETTINGS: &str = "components";

/// A component version that is ready to be called. Shared; made once per version.
pub struct Loaded {
    /// Ready to be instantiated.
    pub prepared: Arc<Prepared>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// What is told of it: worlds, imports, exports, size.
    pub description: Value,
    /// What every call of it may reach; an action's own `capabilities` add to it.
    pub capabilities: Capabilities,
    /// Its limits.
    pub limits: Limits,
}

/// A call outside of any action.
pub struct Trial {
    /// Which export.
    pub export: Export,
    /// The input, or a condition's config.
    pub input: Value,
    /// What it may reach.
    pub capabilities: Capabilities,
    /// What it may use.
    pub limits: Limits,
}

impl Loaded {
    /// Whether it exports `world` (`action`, `guard`, `condition`, `transform`).
    #[must_use]
    pub fn has(&self, world: &str) -> bool {
        worlds(&self.description).any(|known| known == world)
    }
}

/// All components of all tenants.
pub struct Components {
    store: Store,
    host: Arc<Host>,
    limits: Limits,
    condition_cpu: Duration,
    loaded: DashMap<(TenantId, String), Arc<Loaded>>,
    /// One load at a time per process: a stampede of runs after a start compiles each component once.
    loading: tokio::sync::Mutex<()>,
    /// What guests of tenants with a quota have used.
    pub cpu: CpuQuotas,
}

/// Why an upload or a change was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not a component that can be run here: code and reason.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// Settings with mistakes.
    #[error("the settings are not valid")]
    Invalid(Vec<Mistake>),
    /// There is none of that name.
    #[error("there is no component `{0}`")]
    Absent(String),
    /// Triggers or syncs use it: the component, and them.
    #[error("component `{0}` is used by {users}", users = .1.join(", "))]
    InUse(String, Vec<String>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Components {
    /// No component is loaded before it is called for the first time.
    #[must_use]
    pub fn new(store: Store, host: Arc<Host>, limits: Limits, condition_cpu: Duration) -> Self {
        let (loaded, loading) = (DashMap::new(), tokio::sync::Mutex::default());
        Self { store, host, limits, condition_cpu, loaded, loading, cpu: CpuQuotas::new(Clock::system()) }
    }

    /// Everything is read anew when it is needed.
    pub fn forget_all(&self) {
        self.loaded.clear();
    }

    /// The sandbox.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Checks, compiles and stores an upload. The same bytes again are the same version; the flag says whether one
    /// was made.
    pub async fn upload(
        &self,
        tenant: &TenantId,
        name: &str,
        bytes: Vec<u8>,
        now: Timestamp,
    ) -> Result<(StoredComponent, bool), Error> {
        let inspected = self.host.inspect(bytes).await.map_err(Error::Refused)?;
        self.host.prepare(&inspected.digest, &inspected.component_bytes).await.map_err(Error::Refused)?;
        let description = json!({
            "worlds": inspected.worlds,
            "world": inspected.worlds.join("+"),
            "imports": inspected.imports,
            "exports": inspected.exports,
            "size": inspected.size,
        });
        let kept = self
            .store
            .put_component(tenant, name, &inspected.digest, description, inspected.component_bytes, now)
            .await?;
        self.forget(tenant, name);
        Ok(kept)
    }

    /// Every version of every component, or of one.
    pub async fn list(&self, tenant: &TenantId, name: Option<&str>) -> Result<Vec<StoredComponent>, Error> {
        Ok(match name {
            Some(name) => {
                let versions = self.store.component(tenant, name).await?;
                if versions.is_empty() {
                    return Err(Error::Absent(name.to_owned()));
                }
                versions
            }
            None => self.store.components(tenant).await?,
        })
    }

    /// A component's own settings: `{"capabilities": {...}, "limits": {...}}`.
    pub async fn settings(&self, tenant: &TenantId, name: &str) -> Result<Value, store::Error> {
        Ok(self.store.resource(tenant, SETTINGS, name).await?.map_or_else(|| json!({}), |kept| kept.settings))
    }

    /// Replaces a component's own settings.
    pub async fn set_settings(
        &self,
        tenant: &TenantId,
        name: &str,
        settings: Value,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.list(tenant, Some(name)).await?;
        let mistakes = settings_mistakes(&settings);
        if !mistakes.is_empty() {
            return Err(Error::Invalid(mistakes));
        }
        self.store.put_resource(tenant, SETTINGS, name, settings, now).await?;
        self.forget(tenant, name);
        Ok(())
    }

    /// The own settings of every component of a tenant that has some, by name.
    pub async fn all_settings(&self, tenant: &TenantId) -> Result<Vec<(String, Value)>, store::Error> {
        let stored = self.store.resources(tenant, SETTINGS).await?;
        Ok(stored.into_iter().map(|known| (known.tag, known.settings)).collect())
    }

    /// Deletes every version and the component's state, unless a trigger of `index` or a sync of `resources` names it.
    pub async fn delete(
        &self,
        tenant: &TenantId,
        name: &str,
        index: &Index,
        resources: &Resources,
    ) -> Result<(), Error> {
        let triggers = index.all(tenant);
        let naming = triggers.iter().filter(|t| references(t).iter().any(|(_, used)| base_name(used) == name));
        let mut users: BTreeSet<String> = naming.map(|trigger| format!("trigger {}", trigger.tag)).collect();
        users.extend(resources.syncs_that(tenant, |sync| sync.components().iter().any(|used| base_name(used) == name)));
        if !users.is_empty() {
            // A sync may name one that was never there.
            self.list(tenant, Some(name)).await?;
            return Err(Error::InUse(name.to_owned(), users.into_iter().collect()));
        }
        if !self.store.delete_component(tenant, name).await? {
            return Err(Error::Absent(name.to_owned()));
        }
        self.store.delete_resource(tenant, SETTINGS, name).await?;
        self.forget(tenant, name);
        Ok(())
    }

    /// What `NAME`, `NAME@VERSION` or `NAME@sha256:...` means for the tenant, loaded.
    pub async fn resolve(&self, tenant: &TenantId, reference: &str) -> Result<Arc<Loaded>, Failure> {
        let key = (tenant.clone(), reference.to_owned());
        if let Some(loaded) = self.loaded.get(&key) {
            return Ok(loaded.clone());
        }
        let _one_at_a_time = self.loading.lock().await;
        if let Some(loaded) = self.loaded.get(&key) {
            return Ok(loaded.clone());
        }
        let loaded = Arc::new(Box::pin(self.load(tenant, reference)).await?);
        self.loaded.insert(key, loaded.clone());
        Ok(loaded)
    }

    async fn load(&self, tenant: &TenantId, reference: &str) -> Result<Loaded, Failure> {
        let absent = || {
            Failure::new(
                "COMPONENT_NOT_FOUND",
                format!(
                    "there is no component `{reference}`; PUT /api/v1/components/{} uploads it",
                    base_name(reference)
                ),
            )
        };
        let unavailable = |error: store::Error| Failure::new("STORE_UNAVAILABLE", error.to_string());
        let name = base_name(reference);
        let versions = self.store.component(tenant, name).await.map_err(unavailable)?;
        let found = pick(&versions, reference).ok_or_else(absent)?;
        let bytes = self.store.component_bytes(tenant, &found.digest).await.map_err(unavailable)?.ok_or_else(absent)?;
        let prepared = self
            .host
            .prepare(&found.digest, &bytes)
            .await
            .map_err(|refusal| Failure::new(refusal.code.as_str(), refusal.message))?;
        let settings = self.settings(tenant, name).await.map_err(unavailable)?;
        let invalid = |mistakes: Vec<Mistake>| {
            Failure::new("CONFIG_INVALID", format!("settings of component `{name}`: {}", mistakes[0]))
        };
        Ok(Loaded {
            prepared,
            name: found.name.clone(),
            version: found.version,
            description: found.description.clone(),
            capabilities: Capabilities::parse(&settings["capabilities"]).map_err(invalid)?,
            limits: self.limits.with(&settings["limits"]).map_err(invalid)?,
        })
    }

    /// Another node has uploaded or deleted versions, or changed the settings: they are read anew when they are needed.
    pub fn forget(&self, tenant: &TenantId, name: &str) {
        self.loaded.retain(|(of, reference), _| of != tenant || base_name(reference) != name);
    }

    /// What a component says to a condition. An unknown component, a trap or a limit fails the run.
    pub async fn matches(
        &self,
        services: &Arc<Services>,
        event: &Arc<Event>,
        trigger: &str,
        delivery_id: DeliveryId,
        call: &ComponentCall,
    ) -> Result<bool, Failure> {
        let loaded = self.resolve(&event.tenant, &call.component).await?;
        let limits = Limits { cpu: self.condition_cpu, ..loaded.limits.clone() };
        let report = self.try_out(
            services,
            event,
            trigger,
            delivery_id,
            &loaded,
            Trial {
                export: Export::Matches,
                input: call.config.clone(),
                capabilities: loaded.capabilities.clone(),
                limits,
            },
        );
        match report.await.result {
            Ok(GuestAnswer::Matches(verdict)) => Ok(verdict),
            Ok(_) => Err(Failure::new(
                "WASM_RESULT",
                format!("component `{}` answered a condition with something else than a verdict", call.component),
            )),
            Err(error) => Err(Failure::new(error.code, error.message)),
        }
    }

    /// Calls a component outside of any action. Its host calls are real: what it is granted it can do.
    pub async fn try_out(
        &self,
        services: &Arc<Services>,
        event: &Arc<Event>,
        trigger: &str,
        delivery_id: DeliveryId,
        loaded: &Loaded,
        trial: Trial,
    ) -> CallReport {
        let mut invocation = Invocation::of_event(event);
        invocation.delivery_id = delivery_id.to_string();
        invocation.trigger = trigger.to_owned();
        invocation.input = trial.input.to_string();
        let call = Call {
            component: loaded.name.clone(),
            export: trial.export,
            invocation,
            capabilities: trial.capabilities,
            limits: trial.limits,
            services: Arc::new(GuestServices::new(services.clone(), event.clone(), delivery_id)),
        };
        self.call(&event.tenant, &loaded.prepared, call).await
    }

    /// Calls a guest, and counts what it uses for its tenant.
    pub async fn call(&self, tenant: &TenantId, prepared: &Arc<Prepared>, call: Call) -> CallReport {
        let report = self.host.call(prepared, call).await;
        self.cpu.charge(tenant, report.cpu);
        report
    }

    /// Mistakes in a trigger's references to components: unknown ones, and ones that do not export what is asked.
    pub async fn check(&self, tenant: &TenantId, trigger: &Trigger) -> Result<Vec<Mistake>, store::Error> {
        let wanted = references(trigger);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.store.components(tenant).await?;
        Ok(wanted.into_iter().filter_map(|(place, reference)| reference_mistake(&known, &place, &reference)).collect())
    }
}

/// Where a trigger names a component: the pointer, and whether it is a condition.
struct PlaceOf {
    pointer: String,
    is_condition: bool,
}

fn reference_mistake(known: &[StoredComponent], place: &PlaceOf, reference: &str) -> Option<Mistake> {
    let name = base_name(reference);
    let versions: Vec<StoredComponent> = known.iter().filter(|c| c.name == name).cloned().collect();
    if versions.is_empty() {
        let hint = nearest(name, known.iter().map(|c| c.name.as_str())).map_or_else(
            || format!("; PUT /api/v1/components/{name} uploads it"),
            |near| format!(", did you mean `{near}`?"),
        );
        return Some(Mistake::new(&place.pointer, format!("unknown component `{name}`{hint}")));
    }
    let Some(found) = pick(&versions, reference) else {
        let latest = versions.iter().map(|c| c.version).max().unwrap_or(0);
        return Some(Mistake::new(
            &place.pointer,
            format!("component `{name}` has no such version as `{reference}`; the latest is {latest}"),
        ));
    };
    let exported: Vec<&str> = worlds(&found.description).collect();
    let fits = exported.iter().any(|world| (*world == "condition") == place.is_condition);
    let wanted = if place.is_condition { "`condition`" } else { "`action`, `guard` or `transform`" };
    (!fits).then(|| {
        Mistake::new(&place.pointer, format!("component `{reference}` exports {}, not {wanted}", exported.join(", ")))
    })
}

/// The version that a reference means: the latest where it names none.
fn pick<'a>(versions: &'a [StoredComponent], reference: &str) -> Option<&'a StoredComponent> {
    match reference.split_once('@') {
        None => versions.iter().max_by_key(|c| c.version),
        Some((_, digest)) if digest.starts_with("sha256:") => versions.iter().find(|c| c.digest == digest),
        Some((_, version)) => {
            let version: u32 = version.parse().ok()?;
            versions.iter().find(|c| c.version == version)
        }
    }
}

fn base_name(reference: &str) -> &str {
    reference.split_once('@').map_or(reference, |(name, _)| name)
}

fn worlds(description: &Value) -> impl Iterator<Item = &str> {
    description["worlds"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Every component that a trigger names literally.
fn references(trigger: &Trigger) -> Vec<(PlaceOf, String)> {
    let mut found = Vec::new();
    let conditions = |condition: &Option<Condition>, pointer: &str, found: &mut Vec<(PlaceOf, String)>| {
        for call in condition.iter().flat_map(|c| c.components()) {
            found.push((PlaceOf { pointer: pointer.to_owned(), is_condition: true }, call.component.clone()));
        }
    };
    conditions(&trigger.condition, "/condition", &mut found);
    let mut actions: Vec<(String, &Action)> = listed(&trigger.actions, "/actions");
    let mut source = None;
    while let Some((pointer, action)) = actions.pop() {
        conditions(&action.condition, &join(&pointer, "condition"), &mut found);
        if action.kind == "custom" {
            let place = format!("{pointer}/config/component");
            let source = source.get_or_insert_with(|| trigger.source.read());
            let named = source.pointer(&place).and_then(Value::as_str).filter(|name| !name.contains("{{"));
            found.extend(named.map(|name| (PlaceOf { pointer: place, is_condition: false }, name.to_owned())));
        }
        actions.extend(listed(&action.fallback, &join(&pointer, "fallback")));
    }
    found
}

fn listed<'a>(actions: &'a [Action], pointer: &str) -> Vec<(String, &'a Action)> {
    actions.iter().enumerate().map(|(index, action)| (join(pointer, &index.to_string()), action)).collect()
}

fn settings_mistakes(settings: &Value) -> Vec<Mistake> {
    let Some(fields) = settings.as_object() else {
        return vec![Mistake::new("", "the settings are an object: `capabilities`, `limits`")];
    };
    let mut mistakes: Vec<Mistake> = fields
        .keys()
        .filter(|key| !matches!(key.as_str(), "capabilities" | "limits"))
        .map(|key| Mistake::unknown(join("", key), "setting", key, ["capabilities", "limits"]))
        .collect();
    let under = |found: Vec<Mistake>, at: &str| found.into_iter().map(|m| m.under(at)).collect::<Vec<_>>();
    if let Some(capabilities) = fields.get("capabilities") {
        mistakes.extend(under(Capabilities::parse(capabilities).err().unwrap_or_default(), "/capabilities"));
    }
    if let Some(limits) = fields.get("limits") {
        mistakes.extend(under(Limits::default().with(limits).err().unwrap_or_default(), "/limits"));
    }
    mistakes
}
