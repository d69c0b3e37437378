//! Services with a store of their own, contexts to run actions in, and the servers that actions talk to.

pub mod certificates;
pub mod http_server;
pub mod kafka_cluster;
pub mod mosquitto;
pub mod nats_server;
/// The same ports that the tests of the process take.
#[path = "../../../../tests/it/harness/ports.rs"]
mod ports;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod rabbitmq;
pub mod redis_server;
pub mod s3_server;
pub mod smtp_server;
pub mod sockets;
pub mod sql_server;
pub mod tcp;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use triggerd::actions::{Context, Emit, Emitted, Hop, Registry, Services, Settings};
use triggerd::clock::Clock;
use triggerd::components::Components;
use triggerd::config::{Config, Net};
use triggerd::egress::Policy;
use triggerd::store::Store;
use triggerd::wasm::{Host, HostConfig, Limits};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::outcome::{Failure, Outcome};

pub use ports::free_port;

/// A running set of services.
pub struct Bench {
    pub services: Arc<Services>,
    pub emitted: Arc<Mutex<Vec<Emitted>>>,
    dir: TempDir,
}

struct Recorder(Arc<Mutex<Vec<Emitted>>>);

impl Emit for Recorder {
    fn emit(&self, emitted: Emitted) -> BoxFuture<'_, Result<EventId, Failure>> {
        self.0.lock().push(emitted);
        Box::pin(async { Ok(EventId::new(1, [9; 10])) })
    }

    fn reinstall<'a>(&'a self, _: &'a TenantId, _: &'a str, _: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

impl Bench {
    /// May reach loopback.
    pub async fn local() -> Self {
        Self::with(Net::loopback(), false).await
    }

    /// May reach what is public, and nothing else.
    pub async fn guarded() -> Self {
        Self::with(Vec::new(), false).await
    }

    pub async fn with(allow_nets: Vec<Net>, development: bool) -> Self {
        Self::on(tempfile::tempdir().unwrap(), allow_nets, development).await
    }

    /// The same data under a new set of services, as after a restart.
    pub async fn reopened(self) -> Self {
        let Self { services, dir, .. } = self;
        services.store.close().await.unwrap();
        drop(services);
        Self::on(dir, Net::loopback(), false).await
    }

    async fn on(dir: TempDir, allow_nets: Vec<Net>, development: bool) -> Self {
        let clock = Clock::system();
        let store = Store::open(dir.path(), Default::default()).await.unwrap();
        let host = Arc::new(Host::new(HostConfig::default()).unwrap());
        let components = Arc::new(Components::new(store.clone(), host, Limits::default(), Duration::from_millis(10)));
        let settings = Settings {
            egress: Policy { allow_nets, ..Policy::default() },
            data_dir: dir.path().to_owned(),
            master_key: None,
            development,
        };
        let services = Services::open(Arc::new(Config::default()), settings, clock, store, components).await.unwrap();
        let emitted = Arc::new(Mutex::new(Vec::new()));
        let _ = services.emit.set(Arc::new(Recorder(emitted.clone())));
        Self { services: Arc::new(services), emitted, dir }
    }

    pub fn tenant(&self) -> TenantId {
        TenantId::new("acme")
    }

    pub fn data_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub async fn put(&self, kind: &str, tag: &str, settings: Value) {
        self.services.resources.put(&self.tenant(), kind, tag, settings).await.unwrap();
    }

    pub fn context(&self) -> Context {
        let now = Timestamp::now();
        let run = RunId::new(u64::try_from(now.as_millisecond()).unwrap(), rand::random());
        Context {
            services: self.services.clone(),
            event: Arc::new(event(self.tenant(), now)),
            run_id: run,
            trigger: "my-trigger".into(),
            action: "act".into(),
            delivery_id: run.delivery("act"),
            attempt: 1,
            replay: false,
            deadline: tokio::time::Instant::now() + Duration::from_secs(30),
            outputs: Arc::default(),
            secrets: Arc::default(),
            excerpt: Arc::default(),
            effect: Arc::default(),
            not_made: Arc::default(),
            hop: Hop::new(&self.services.clock),
        }
    }

    /// Runs an action with settings that are rendered already.
    pub async fn run(&self, kind: &str, config: Value) -> Outcome {
        run(&self.context(), kind, config).await
    }
}

pub async fn run(cx: &Context, kind: &str, config: Value) -> Outcome {
    match Registry::built_in().ready(kind, cx, config) {
        Ok(ready) => (ready.run)(cx.clone()).await,
        Err(failure) => Outcome::Dead(failure),
    }
}

pub fn event(tenant: TenantId, now: Timestamp) -> Event {
    Event {
        id: EventId::new(1, [1; 10]),
        tenant,
        event_type: "order.created".into(),
        source: None,
        change: None,
        record: json!({"id": 1}),
        previous_record: Value::Null,
        env: "default".into(),
        user: Value::Null,
        metadata: Map::new(),
        attributes: Map::new(),
        timestamp: now,
        accepted_at: now,
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        tracestate: None,
        causation: Vec::new(),
        erased_at: None,
    }
}

pub fn done(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Done(output) => output,
        other => panic!("not done: {other:?}"),
    }
}

/// The code of a failure for good.
pub fn dead(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Dead(failure) => failure,
        other => panic!("not dead: {other:?}"),
    }
}

/// A failure that is tried again.
pub fn retried(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Retry { failure, .. } => failure,
        other => panic!("not tried again: {other:?}"),
    }
}
