//! The action's side: attempts as dispatch makes them, without a run, a store or a place to wait for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;
use triggerd_core::compile::compile;
use triggerd_core::definition::Trigger;
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::outcome::Outcome;
use triggerd_core::template::Scope;

use super::{Connector, MESSAGES, order};
use crate::actions::{Context, Registry, Services, Settings};
use crate::clock::Clock;
use crate::components::Components;
use crate::config::{Config, Environment};
use crate::store::Store;
use crate::wasm::{Host, HostConfig, Limits};

/// Makes attempts of one action.
pub(super) struct Attempts {
    services: Arc<Services>,
    trigger: Arc<Trigger>,
    name: Arc<str>,
    events: Vec<Arc<Event>>,
    dir: std::path::PathBuf,
}

impl Attempts {
    /// Services of this process's own, with the connector's resource as `bench`.
    pub(super) async fn prepare(connector: &Connector) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("triggerd-bench-action-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut config = Config { environment: Environment::Development, ..Config::default() };
        config.store.data_dir.clone_from(&dir);
        let clock = Clock::system();
        let store = Store::open(&dir, crate::store::Options::default()).await?;
        let host = Arc::new(Host::new(HostConfig { guests: 1, ..HostConfig::default() })?);
        let components = Arc::new(Components::new(store.clone(), host, Limits::default(), Duration::from_millis(10)));
        let settings = Settings::of(&config);
        let services = Services::open(Arc::new(config), settings, clock, store, components);
        let services = Arc::new(services.await.map_err(anyhow::Error::msg)?);
        let tenant = TenantId::new(TenantId::DEFAULT);
        if let Some((kind, settings)) = &connector.resource {
            services.resources.put(&tenant, kind, "bench", settings.clone()).await?;
        }
        let definition = json!({"tag": "bench", "events": ["bench"], "actions": [connector.action]});
        let trigger = compile(&definition, 1, Registry::built_in())
            .map_err(|mistakes| anyhow::anyhow!("the action is refused: {}", mistakes[0]))?;
        let events = (0..MESSAGES).map(event).collect();
        Ok(Self { services, trigger: Arc::new(trigger), name: "bench".into(), events, dir })
    }

    /// One attempt for an event of its own, from its templates to the confirmation.
    pub(super) fn make(&self, number: u64) -> BoxFuture<'static, anyhow::Result<()>> {
        let (cx, trigger) = (self.context(number), self.trigger.clone());
        Box::pin(async move {
            let action = &trigger.actions[0];
            let scope = Scope {
                event: &cx.event,
                trigger_tag: &cx.trigger,
                delivery_id: Some(cx.delivery_id),
                attempt: 1,
                outputs: Some(&cx.outputs),
                secrets: None,
                now: cx.event.accepted_at,
            };
            let rendered = action.config.render(&scope, false).map_err(|mistake| anyhow::anyhow!("{mistake}"))?;
            let ready = Registry::built_in()
                .ready(action.kind, &cx, rendered.config)
                .map_err(|failure| anyhow::anyhow!("{}: {}", failure.code, failure.message))?;
            match (ready.run)(cx).await {
                Outcome::Done(_) => Ok(()),
                Outcome::Retry { failure, .. } | Outcome::Dead(failure) => {
                    bail!("{}: {}", failure.code, failure.message)
                }
            }
        })
    }

    fn context(&self, number: u64) -> Context {
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        let run_id = RunId::new(now, rand::random());
        let event = self.events[(number % MESSAGES) as usize].clone();
        let (trigger, action) = (self.trigger.tag.clone(), self.name.clone());
        Context::apart(self.services.clone(), event, run_id, (trigger, action), Duration::from_secs(30))
    }
}

/// An event as acceptance makes it.
fn event(number: u64) -> Arc<Event> {
    let now = Timestamp::now();
    let id = EventId::new(u64::try_from(now.as_millisecond()).unwrap_or(0), rand::random());
    Arc::new(Event::plain(id, TenantId::new(TenantId::DEFAULT), "bench", order(number).clone(), now))
}

impl Drop for Attempts {
    fn drop(&mut self) {
        // A temporary directory; what cannot be removed is for the system to tidy.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
