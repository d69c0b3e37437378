//! What an attempt is given.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use triggerd_core::event::Event;
use triggerd_core::id::{DeliveryId, EventId, RunId, TenantId};
use triggerd_core::outcome::Failure;
use triggerd_core::run::Effect;

use crate::clock::Clock;
use crate::config::Config;
use crate::store::Store;

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
    /// Accepts the events that actions emit.
    pub emit: std::sync::OnceLock<Arc<dyn Emit>>,
}

/// Accepts events that actions and guests emit; intake implements it.
pub trait Emit: Send + Sync {
    /// Keeps the event safe and answers with its id. The causation chain is `cause`'s and `cause` itself.
    /// The same `delivery_id` and `index` emit one event, however often they are tried.
    fn emit(&self, emitted: Emitted) -> BoxFuture<'_, Result<EventId, Failure>>;
}

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

impl Context {
    /// Whose attempt it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.event.tenant
    }
}
