//! What a guest's function is called with.

use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::host::Host;
use crate::invocation::Invocation;
use crate::{ActionError, Broker, Cache, Database, Event, Events, Http, Log, Secrets, State};

/// The event, the action's input, and the services of the host.
///
/// Derefs to [`Invocation`] for the event's fields: `cx.event_id`, `cx.table`, `cx.attempt`.
pub struct Context<I = Value> {
    /// The rendered `input` of the action (`config` of a condition).
    pub input: I,
    invocation: Invocation,
    host: Host,
}

impl<I> Deref for Context<I> {
    type Target = Invocation;

    fn deref(&self) -> &Invocation {
        &self.invocation
    }
}

impl<I: DeserializeOwned> Context<I> {
    /// Reads the input; one that does not fit is a failure for good.
    pub(crate) fn new(invocation: Invocation, host: Host) -> Result<Self, ActionError> {
        let input = read("INPUT_INVALID", "the input", &invocation.input_json)?;
        Ok(Self { input, invocation, host })
    }
}

impl<I> Context<I> {
    /// The row as it is now, or the payload of an event that is no row change.
    pub fn record<T: DeserializeOwned>(&self) -> Result<T, ActionError> {
        read("RECORD_INVALID", "the record", &self.record_json)
    }

    /// The row as it was, where there was one.
    pub fn previous_record<T: DeserializeOwned>(&self) -> Result<Option<T>, ActionError> {
        read_some("RECORD_INVALID", "the previous record", self.previous_record_json.as_deref())
    }

    /// Who made the change, where the source said.
    pub fn user<T: DeserializeOwned>(&self) -> Result<Option<T>, ActionError> {
        read_some("EVENT_INVALID", "the event's user", self.user_json.as_deref())
    }

    /// What else the source said.
    pub fn metadata<T: DeserializeOwned>(&self) -> Result<T, ActionError> {
        read("EVENT_INVALID", "the event's metadata", &self.metadata_json)
    }

    /// What the earlier action `name` of this run returned; `None` where it did not run.
    pub fn result<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ActionError> {
        let mut results: serde_json::Map<String, Value> =
            read("EVENT_INVALID", "the earlier results", &self.results_json)?;
        let Some(result) = results.remove(name) else {
            return Ok(None);
        };
        serde_json::from_value(result).map(Some).map_err(|error| {
            ActionError::permanent("RESULT_INVALID", format!("the result of action {name:?}: {error}"))
        })
    }

    /// The event as a whole, for a transform to change and hand back.
    pub fn event(&self) -> Result<Event, ActionError> {
        Event::of(self)
    }

    /// Durable key-value pairs of this component and tenant. Grant: `"state": true`.
    #[must_use]
    pub fn state(&self) -> State<'_> {
        State::new(&self.host)
    }

    /// The cache with this tag. Grant: `"caches": ["redis"]`.
    #[must_use]
    pub fn cache<'a>(&'a self, tag: &'a str) -> Cache<'a> {
        Cache::new(&self.host, tag)
    }

    /// The message brokers. Grant: `"brokers": ["kafka:user-events"]`.
    #[must_use]
    pub fn broker(&self) -> Broker<'_> {
        Broker::new(&self.host)
    }

    /// The database with this tag. Grant: `"databases": {"orders-db": "read"}`, or `"write"`.
    #[must_use]
    pub fn database<'a>(&'a self, tag: &'a str) -> Database<'a> {
        Database::new(&self.host, tag)
    }

    /// New events, whose cause is this one. Grant: `"events": ["order.*"]`.
    #[must_use]
    pub fn events(&self) -> Events<'_> {
        Events::new(&self.host)
    }

    /// Secrets by name. Grant: `"secrets": ["STRIPE_KEY"]`.
    #[must_use]
    pub fn secrets(&self) -> Secrets<'_> {
        Secrets::new(&self.host)
    }

    /// HTTP requests. Grant: `"http": ["api.stripe.com", "*.example.com:8443"]`.
    #[must_use]
    pub fn http(&self) -> Http<'_> {
        Http::new(&self.host)
    }

    /// The attempt's log; always granted.
    pub fn log(&self) -> Log<'_> {
        Log::new(&self.host)
    }
}

fn read<T: DeserializeOwned>(code: &str, what: &str, json: &str) -> Result<T, ActionError> {
    serde_json::from_str(json).map_err(|error| ActionError::permanent(code, format!("{what} does not fit: {error}")))
}

/// A missing value and `null` are the same: both say that there is none.
fn read_some<T: DeserializeOwned>(code: &str, what: &str, json: Option<&str>) -> Result<Option<T>, ActionError> {
    json.map_or(Ok(None), |json| read(code, what, json))
}
