//! What an attempt is given.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use triggerd_core::event::{Event, MAX_CAUSATION};
use triggerd_core::id::{DeliveryId, EventId, RunId, TenantId};
use triggerd_core::outcome::{Failure, Outcome};
use triggerd_core::run::Effect;

use super::trace::Hop;
use crate::brokers::Brokers;
use crate::caches::{self, Caches};
use crate::clock::Clock;
use crate::components::Components;
use crate::config::Config;
use crate::connections::Connections;
use crate::connections::sql::SqliteFiles;
use crate::databases::{self, Databases};
use crate::egress::{self, Egress};
use crate::mail::Mailbox;
use crate::redact::Redactor;
use crate::resources::{Resources, Secrets};
use crate::secrets::Vault;
use crate::storages::Storages;
use crate::store::Store;
use crate::subscriptions::{Batches, Health};
use crate::syncs::Syncs;

/// What is kept of a request, and of an answer.
pub const MAX_EXCERPT: usize = 16 * 1024;

/// One attempt of one action. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The clients and stores that actions share.
    pub services: Arc<Services>,
    /// The event; its tenant is the attempt's.
    pub event: Arc<Event>,
    /// The run.
    pub run_id: RunId,
    /// The trigger's tag.
    pub trigger: Arc<str>,
    /// The action's name in the run (`NAME`, or `NAME/fallback/NAME`).
    pub action: Arc<str>,
    /// The same on every try of this action of this run.
    pub delivery_id: DeliveryId,
    /// From 1.
    pub attempt: u32,
    /// The run was asked for again after it had ended.
    pub replay: bool,
    /// When the attempt's timeout ends.
    pub deadline: tokio::time::Instant,
    /// The outputs of earlier actions of the run, by name.
    pub outputs: Arc<Map<String, Value>>,
    /// Secret values that were rendered into the settings: never shown.
    pub secrets: Arc<Vec<String>>,
    /// What was sent and what came back, for the attempt's record.
    pub excerpt: Arc<Mutex<Excerpt>>,
    /// What the action does to the event that later actions of the run see; counts where it ends `Done`.
    pub effect: Arc<Mutex<Option<Effect>>>,
    /// Set where the attempt was not made after all and does not count: it comes back after this.
    pub not_made: Arc<Mutex<Option<Duration>>>,
    /// Where it stands in its trace.
    pub hop: Hop,
}

/// What is kept of a request and its answer: bounded to 16 KiB each, secrets struck out.
#[derive(Clone, Default, Debug)]
pub struct Excerpt {
    /// What was sent.
    pub request: Option<Value>,
    /// What came back.
    pub response: Option<Value>,
}

/// What the actions share. Made once at start.
pub struct Services {
    /// The effective configuration.
    pub config: Arc<Config>,
    /// Time and chance.
    pub clock: Clock,
    /// The store, for embedded topics, state and quotas.
    pub store: Store,
    /// The guard of everything that goes out.
    pub egress: Egress,
    /// What tenants configured.
    pub resources: Arc<Resources>,
    /// The tenants' Wasm components.
    pub components: Arc<Components>,
    /// The tenants' secrets.
    pub secrets: Secrets,
    /// The tenants' caches.
    pub caches: Caches,
    /// The tenants' brokers.
    pub brokers: Brokers,
    /// The tenants' storages.
    pub storages: Storages,
    /// The tenants' databases.
    pub databases: Databases,
    /// What is known of the tenants' syncs.
    pub syncs: Syncs,
    /// Which subscriptions fail, and since when.
    pub subscriptions: Health,
    /// What subscriptions gather for one request.
    pub batches: Arc<Batches>,
    /// Messages that went to no mail server.
    pub mailbox: Mailbox,
    /// Development mode: messages stay on this machine.
    pub development: bool,
    /// Accepts the events that actions emit, and puts in force what they change.
    pub emit: std::sync::OnceLock<Arc<dyn Emit>>,
    /// Gives places to requests that are not one attempt's.
    pub places: std::sync::OnceLock<Arc<dyn Places>>,
}

/// What [`Services`] take from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What may be reached.
    pub egress: egress::Policy,
    /// Where files are.
    pub data_dir: PathBuf,
    /// The master key, base64 or hex; else one in the data directory.
    pub master_key: Option<String>,
    /// Whether this is development mode.
    pub development: bool,
}

/// Accepts events that actions and guests emit; intake implements it.
pub trait Emit: Send + Sync {
    /// Keeps the event safe and answers with its id. The causation chain is `cause`'s and `cause` itself.
    /// The same `delivery_id` and `index` emit one event, however often they are tried.
    fn emit(&self, emitted: Emitted) -> BoxFuture<'_, Result<EventId, Failure>>;

    /// Puts the trigger in force that a resource stands for, as its settings are by now.
    fn reinstall<'a>(&'a self, tenant: &'a TenantId, kind: &'a str, tag: &'a str) -> BoxFuture<'a, ()>;
}

/// Gives places in flight to requests that are made for several attempts; the dispatcher implements it.
pub trait Places: Send + Sync {
    /// A place for a request to a destination, waited for where that works. Where there is none: how long the destination
    /// is left alone, if it is.
    fn enter<'a>(
        &'a self,
        tenant: &'a TenantId,
        destination: &'a str,
    ) -> BoxFuture<'a, Result<Settle, Option<Duration>>>;
}

/// Frees a place and says how the request ended. Dropped, it says nothing.
pub type Settle = Box<dyn FnOnce(&Outcome) + Send>;

/// An event to be emitted.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// What led to it.
    pub cause: Arc<Event>,
    /// The attempt that emits it.
    pub delivery_id: DeliveryId,
    /// Which of the events that this delivery emits, from 0.
    pub index: u32,
    /// Its type.
    pub event_type: String,
    /// Its payload.
    pub payload: Value,
    /// When.
    pub at: Timestamp,
}

impl Settings {
    /// What the effective configuration says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            egress: egress::Policy { allow_nets: config.allowed_nets(), ..egress::Policy::default() },
            data_dir: config.data_dir().to_owned(),
            master_key: config.access.master_key.as_ref().map(|key| key.expose().to_owned()),
            development: config.is_development(),
        }
    }
}

impl Services {
    /// Sets up the guard, the vault and the clients, and takes up the stored resources.
    pub async fn open(
        config: Arc<Config>,
        settings: Settings,
        clock: Clock,
        store: Store,
        components: Arc<Components>,
    ) -> Result<Self, String> {
        let egress = Egress::new(settings.egress)?;
        let previous = config.access.master_key_previous.as_ref().map(|key| key.expose().to_owned());
        let vault = Vault::load(settings.master_key.as_deref(), previous.as_deref(), &settings.data_dir);
        let vault = vault.map_err(|e| e.to_string())?;
        let files = SqliteFiles::of(config.databases.sqlite_dirs.as_deref(), &settings.data_dir, settings.development);
        let storage_dir = config.storage_dir(&settings.data_dir);
        let connections = Connections::new(egress.clone(), storage_dir).with_sqlite_files(files);
        let resources =
            Resources::load(store.clone(), clock.clone(), vault, connections).await.map_err(|e| e.to_string())?;
        let resources = Arc::new(resources);
        Ok(Self {
            config,
            components,
            egress,
            secrets: resources.secrets(),
            caches: Caches::new(resources.clone()),
            brokers: Brokers::new(resources.clone(), store.clone(), clock.clone()),
            storages: Storages::new(resources.clone(), resources.connections().folders.root()),
            databases: Databases::new(resources.clone()),
            syncs: Syncs::default(),
            subscriptions: Health::default(),
            batches: Arc::default(),
            mailbox: Mailbox::new(&settings.data_dir),
            development: settings.development,
            resources,
            clock,
            store,
            emit: std::sync::OnceLock::new(),
            places: std::sync::OnceLock::new(),
        })
    }

    /// Emits an event, or says why not. Chains of events that lead to one another are cut here, for actions and
    /// guests alike.
    pub async fn emit(&self, emitted: Emitted) -> Result<EventId, Failure> {
        if emitted.cause.causation.len() >= MAX_CAUSATION {
            metrics::counter!("triggerd_loop_breaks_total").increment(1);
            let message = format!(
                "{MAX_CAUSATION} events led to this one through event.emit: the chain is cut, since triggers that feed each other do not end"
            );
            return Err(Failure::new("LOOP_GUARD", message));
        }
        match self.emit.get() {
            Some(emit) => emit.emit(emitted).await,
            None => Err(Failure::new("STORE_UNAVAILABLE", "the server is still starting")),
        }
    }

    /// Puts the trigger in force that a resource stands for, as its settings are by now.
    pub async fn reinstall(&self, tenant: &TenantId, kind: &str, tag: &str) {
        if let Some(emit) = self.emit.get() {
            emit.reinstall(tenant, kind, tag).await;
        }
    }
}

impl Context {
    /// The only attempt of a run that is not stored.
    #[must_use]
    pub fn apart(
        services: Arc<Services>,
        event: Arc<Event>,
        run_id: RunId,
        (trigger, action): (Arc<str>, Arc<str>),
        time: Duration,
    ) -> Self {
        let hop = Hop::new(&services.clock);
        Self {
            services,
            event,
            run_id,
            delivery_id: run_id.delivery(&action),
            trigger,
            action,
            attempt: 1,
            replay: false,
            deadline: tokio::time::Instant::now() + time,
            outputs: Arc::default(),
            secrets: Arc::default(),
            excerpt: Arc::default(),
            effect: Arc::default(),
            not_made: Arc::default(),
            hop,
        }
    }

    /// Whose attempt it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.event.tenant
    }

    /// The cache of that tag, as this event means it.
    #[must_use]
    pub fn cache<'a>(&'a self, tag: &'a str) -> caches::Name<'a> {
        caches::Name { tenant: &self.event.tenant, env: &self.event.env, tag }
    }

    /// The database of that tag, as this event means it.
    #[must_use]
    pub fn database<'a>(&'a self, tag: &'a str) -> databases::Name<'a> {
        databases::Name { tenant: &self.event.tenant, env: &self.event.env, tag }
    }

    /// Strikes this attempt's secrets out, and `more`.
    #[must_use]
    pub fn redactor(&self, more: &[String]) -> Redactor {
        Redactor::new(self.secrets.iter().chain(more))
    }

    /// W3C `traceparent` of this attempt, the same for all that it sends.
    #[must_use]
    pub fn traceparent(&self) -> String {
        self.hop.traceparent(&self.event)
    }
}
