//! A trigger definition in its compiled form: what `compile` makes of the JSON that people write.

use std::sync::Arc;

use serde_json::Value;

use crate::condition::Condition;
use crate::event_pattern::EventPattern;
use crate::json;
use crate::retry;
use crate::template::{Template, TemplatedConfig};

/// A definition that was found to be right, ready to match and to run. Immutable; shared as `Arc`.
#[derive(Debug)]
pub struct Trigger {
    /// Unique per tenant.
    pub tag: Arc<str>,
    /// For people.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// The stored version, from 1; an event runs with the version in force when it was accepted.
    pub version: u32,
    /// A disabled trigger never matches.
    pub enabled: bool,
    /// Lower runs first; ties by tag.
    pub priority: i64,
    /// Only events of this environment; `None` is any.
    pub env: Option<String>,
    /// Only changes of this database; `None` is any.
    pub database: Option<NamePattern>,
    /// Only changes of these tables; empty is any.
    pub tables: Vec<NamePattern>,
    /// What it reacts to; never empty.
    pub events: Vec<EventPattern>,
    /// `None` is always true.
    pub condition: Option<Condition>,
    /// Runs whose rendered keys are equal execute one after another.
    pub ordering_key: Option<Template>,
    /// In order; never empty.
    pub actions: Vec<Action>,
    /// How many runs of this trigger may execute at once.
    pub max_concurrency: Option<u32>,
    /// How many runs of this trigger may start in a while.
    pub rate_limit: Option<RateLimit>,
    /// The JSON as it was written, for reading back.
    pub source: Source,
}

/// A definition's JSON as its text: as a [`Value`] it would take ten times as much of every trigger's memory, and it is
/// hardly ever looked at.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Source(Box<str>);

impl Source {
    /// `text` is what `serde_json` writes of a value.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text.into_boxed_str())
    }

    /// The JSON; made anew each time.
    #[must_use]
    pub fn read(&self) -> Value {
        json::parse_definition(self.0.as_bytes()).unwrap_or_default()
    }
}

/// `"*"` is any, `"order_*"` a prefix, anything else the name itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NamePattern {
    /// `*`
    Any,
    /// `order_*`
    Prefix(String),
    /// `orders`
    Exact(String),
}

impl NamePattern {
    /// Reads a pattern; only a last `*` is special.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some("") => Self::Any,
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// Whether `name` fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Self::Exact(exact) => exact == name,
        }
    }
}

/// One action of a trigger.
#[derive(Debug)]
pub struct Action {
    /// Unique in the trigger; `TYPE-INDEX` where none was given.
    pub name: String,
    /// The registered action type (aliases resolved).
    pub kind: &'static str,
    /// When it runs, and who waits.
    pub timing: Timing,
    /// `None` is always true.
    pub condition: Option<Condition>,
    /// Milliseconds for one attempt.
    pub timeout_ms: u64,
    /// When and how often to try again.
    pub retry: retry::Policy,
    /// Later actions run although this one failed for good.
    pub continue_on_error: bool,
    /// What runs in its place once it failed for good.
    pub fallback: Vec<Action>,
    /// How often it may run.
    pub quota: Option<Quota>,
    /// A placeholder without a value is a permanent failure.
    pub strict: bool,
    /// It looks at the event beyond what its templates insert.
    pub reads_event: bool,
    /// The settings, compiled.
    pub config: TemplatedConfig,
}

/// When an action runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Timing {
    /// Done before the caller is answered.
    Sync,
    /// Starts at once; nobody waits.
    Async,
    /// Goes through the named queue, for any node to take.
    Queued(String),
}

/// `{"key", "limit", "window"}`: over the limit the action is skipped.
#[derive(Debug)]
pub struct Quota {
    /// What is counted.
    pub key: Template,
    /// How many per window.
    pub limit: u64,
    /// The window's length in milliseconds; windows are aligned to the Unix epoch.
    pub window_ms: u64,
}

/// `{"count", "perSeconds"}`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RateLimit {
    /// How many runs may start ...
    pub count: u32,
    /// ... in this many seconds.
    pub per_seconds: f64,
}
