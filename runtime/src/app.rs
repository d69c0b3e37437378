//! The running program: what was made at start and is shared from then on.

use std::fs::File;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use triggerd_core::event::{DEFAULT_ENV, Event};
use triggerd_core::id::{EventId, TenantId};
use triggerd_core::outcome::Failure;

use crate::access::Access;
use crate::actions::{Emit, Emitted, Registry, Services, Settings};
use crate::audit;
use crate::clock::Clock;
use crate::components::Components;
use crate::config::{self, Config};
use crate::definitions::Definitions;
use crate::dispatch::{self, Caps, Dispatch, Lane};
use crate::feed::{self, Feed};
use crate::follow::{self, Freshness};
use crate::installed;
use crate::intake;
use crate::nodes;
use crate::quotas;
use crate::sources::{self, Place, Sources};
use crate::store::{self, Store};
use crate::sweep;
use crate::telemetry::Counted;
use crate::wasm::{CodeCacheConfig, Host, HostConfig, Limits, code_key};

/// Runs in memory; more wait in the store.
const HELD: usize = 8192;

/// The running program. Always behind an `Arc`.
pub struct App {
    /// The effective configuration.
    pub config: Arc<Config>,
    /// Time and chance.
    pub clock: Clock,
    /// What is kept.
    pub store: Store,
    /// Tenants, keys and rate limits.
    pub access: Access,
    /// The definitions in force.
    pub definitions: Definitions,
    /// The Wasm components.
    pub components: Arc<Components>,
    /// The action types.
    pub registry: &'static Registry,
    /// What the actions share.
    pub services: Arc<Services>,
    /// The runs under way.
    pub dispatch: Dispatch,
    /// What happens, for those who listen.
    pub feed: Feed,
    /// Whether this node has seen what others have changed.
    pub freshness: Freshness,
    /// The captured databases.
    pub sources: Sources,
    /// What the metrics tell of the store.
    pub counted: Counted,
    /// Who changed what.
    pub audit: audit::Log,
    /// The data directory is this process'.
    _data_dir: Option<File>,
}

fn dispatch_limits(config: &Config) -> dispatch::Limits {
    let engine = &config.engine;
    let caps = Caps { total: engine.in_flight, per_tenant: engine.per_tenant, per_destination: engine.per_destination };
    dispatch::Limits { held: HELD, lease: engine.lease, caps }
}

fn limits(wasm: &config::Wasm) -> Limits {
    Limits {
        memory_bytes: wasm.memory_bytes,
        cpu: wasm.cpu,
        wall: wasm.timeout,
        result_bytes: wasm.result_bytes,
        log_bytes: wasm.log_bytes,
        in_flight: wasm.host_calls,
        ..Limits::default()
    }
}

fn host_config(config: &Config) -> anyhow::Result<HostConfig> {
    let wasm = &config.wasm;
    let key = code_key::load_or_make(config.data_dir()).context("the key of the compiled components' cache")?;
    Ok(HostConfig {
        guests: wasm.instances,
        memory_ceiling: wasm.memory_bytes,
        wasi_http: wasm.wasi_http,
        code_cache: Some(CodeCacheConfig { dir: config.data_dir().join("code"), key }),
        compile_budget: wasm.compile_timeout,
        compilations: wasm.compilations,
        ..HostConfig::default()
    })
}

/// The background work of a started program.
pub struct Background {
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Ends the renewing of leases: last, when no run is under way any more.
    ended: CancellationToken,
}

/// Opens the store that the configuration names. A data directory without the store in it is this process' own all the same: the
/// lock is answered, to be kept.
async fn open_store(config: &Config, clock: Clock) -> anyhow::Result<(Store, Option<File>)> {
    let settings = &config.store;
    let Some(url) = &settings.url else {
        return Ok((Store::open(config.data_dir(), store::Options { clock, ..Default::default() }).await?, None));
    };
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme)) {
        anyhow::bail!(
            "`store_url` (TRIGGERD_STORE_URL) begins with `postgres://`; leave it out for SQLite in the data directory"
        );
    }
    let held = store::lock::take(config.data_dir()).await?;
    let shared = store::open::Shared {
        home: store::lock::home(&held),
        lease: config.engine.lease,
        writers: settings.writers,
        notify: settings.notify,
        allow_degraded: settings.allow_degraded,
        retention: settings.retention,
    };
    let options = store::Options { clock, readers: settings.connections, shared, ..Default::default() };
    Ok((Store::connect(url.expose(), options).await?, Some(held)))
}

impl App {
    /// Opens the store and everything on it. Runs are walked on `engine`.
    pub async fn open(config: Arc<Config>, engine: tokio::runtime::Handle) -> anyhow::Result<Arc<Self>> {
        let clock = Clock::system();
        let (store, data_dir) = open_store(&config, clock.clone()).await?;
        let (access, admin) = Access::load(store.clone(), clock.clone(), &config).await?;
        admin.announce();
        let host = Arc::new(Host::new(host_config(&config)?)?);
        let components =
            Arc::new(Components::new(store.clone(), host, limits(&config.wasm), config.wasm.condition_cpu));
        let registry = Registry::built_in();
        let settings = Settings::of(&config);
        let services = Services::open(config.clone(), settings, clock.clone(), store.clone(), components.clone());
        let services = Arc::new(services.await.map_err(anyhow::Error::msg)?);
        if store.is_shared() {
            nodes::agree(&store, &config, &access.admin_digest(), &services.resources.seals(), clock.now()).await?;
        }
        let definitions = Definitions::load(store.clone(), registry, components.clone()).await?;
        installed::install_all(&definitions, &services.resources).await;
        let dispatch = Dispatch::new(dispatch_limits(&config), engine);
        // There is one program in the process that has these services.
        let _ = services.places.set(Arc::new(dispatch.places()));
        let freshness = Freshness::new(&clock);
        Ok(Arc::new(Self {
            config,
            clock: clock.clone(),
            store,
            access,
            definitions,
            components,
            registry,
            services,
            dispatch,
            feed: Feed::new(clock, freshness.origin().to_owned()),
            freshness,
            _data_dir: data_dir,
            sources: Sources::default(),
            counted: Counted::default(),
            audit: audit::Log::default(),
        }))
    }

    /// Starts the background work: takes up what an earlier process left, then sweeps.
    pub async fn start(self: &Arc<Self>) -> Result<Background, store::Error> {
        // Only the first call can set it, and there is one call.
        let _ = self.services.emit.set(Arc::new(Emitter(Arc::downgrade(self))));
        self.restore_lanes().await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(sweep::claim_due(self.clone(), stop.clone()));
        let ended = CancellationToken::new();
        tokio::spawn(sweep::tend_leases(self.clone(), ended.clone()));
        tasks.spawn(sweep::retire(self.clone(), stop.clone()));
        tasks.spawn(sweep::index_events(self.clone(), stop.clone()));
        tasks.spawn(feed::tend(self.clone(), stop.clone()));
        tasks.spawn(audit::keep(self.clone(), stop.clone()));
        tasks.spawn(quotas::keep(self.clone(), stop.clone()));
        tasks.spawn(quotas::count_events(self.clone(), stop.clone()));
        tasks.spawn(sources::supervise(self.clone(), stop.clone()));
        if self.store.is_shared() {
            tasks.spawn(follow::follow(self.clone(), stop.clone()));
            tasks.spawn(follow::tell(self.clone(), stop.clone()));
        }
        Ok(Background { stop, tasks, ended })
    }

    /// Counts the unfinished runs of every lane in the store.
    pub async fn restore_lanes(&self) -> Result<(), store::Error> {
        let lanes = self.store.lanes().await?;
        self.dispatch
            .lanes
            .restore(lanes.into_iter().map(|(tenant, trigger, key, count)| (Lane { tenant, trigger, key }, count)));
        Ok(())
    }

    /// Something was put into the outbox of `place`: its after-triggers need not wait for the next look.
    pub fn captured(&self, place: &Place) {
        self.sources.changed(place);
    }

    /// Stops: refuses new events, finishes or hands back its runs by `deadline`, and closes the store.
    pub async fn stop(&self, background: Background, deadline: Instant) {
        self.dispatch.begin_drain();
        background.stop.cancel();
        background.tasks.close();
        let _ = tokio::time::timeout_at(deadline, background.tasks.wait()).await;
        let left = self.dispatch.drained(deadline).await;
        background.ended.cancel();
        if !left.is_empty() {
            tracing::warn!("Handing back {} runs that did not end in time", left.len());
            self.hand_back(left).await;
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "Closing the store failed; the next start recovers what was committed: {error}");
        }
    }

    /// Gives up leases so that the next process need not wait for them. The attempts under way count as lost then.
    async fn hand_back(&self, left: Vec<(triggerd_core::id::RunId, i64)>) {
        if let Err(error) = self.store.renew(left, self.clock.now()).await {
            tracing::error!(%error, "Handing back runs failed; the next start takes them up all the same: {error}");
        }
    }
}

/// Accepts what actions and guests emit. Weak: the services that hold it are held by the program.
struct Emitter(std::sync::Weak<App>);

impl Emit for Emitter {
    fn emit(&self, emitted: Emitted) -> BoxFuture<'_, Result<EventId, Failure>> {
        Box::pin(async move {
            let app =
                self.0.upgrade().ok_or_else(|| Failure::new("STORE_UNAVAILABLE", "the server is shutting down"))?;
            emit(&app, emitted).await
        })
    }

    fn reinstall<'a>(&'a self, tenant: &'a TenantId, kind: &'a str, tag: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(app) = self.0.upgrade() {
                installed::install(&app.definitions, &app.services.resources, tenant, kind, tag).await;
            }
        })
    }
}

async fn emit(app: &Arc<App>, emitted: Emitted) -> Result<EventId, Failure> {
    let cause = &emitted.cause;
    let mut causation = cause.causation.clone();
    causation.push(cause.id);
    // The same delivery emits the same event, however often it is tried: the id is derived, and kept once.
    let id = EventId(triggerd_core::id::RunId(emitted.delivery_id.0).delivery(&format!("emit/{}", emitted.index)).0);
    let event = Event {
        source: Some("triggerd".into()),
        env: if cause.env.is_empty() { DEFAULT_ENV.into() } else { cause.env.clone() },
        user: cause.user.clone(),
        accepted_at: app.clock.now(),
        traceparent: cause.traceparent.clone(),
        tracestate: cause.tracestate.clone(),
        causation,
        ..Event::plain(id, cause.tenant.clone(), emitted.event_type, emitted.payload, emitted.at)
    };
    match app.store.event(&event.tenant, id).await {
        Ok(Some(_)) => return Ok(id),
        Ok(None) => {}
        Err(error) => return Err(Failure::new("STORE_UNAVAILABLE", error.to_string())),
    }
    let kept = intake::accept(app, event.into()).await;
    kept.map(|receipt| receipt.event.id).map_err(|error| Failure::new("STORE_UNAVAILABLE", error.to_string()))
}
