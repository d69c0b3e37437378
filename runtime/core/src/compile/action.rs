//! One action of a definition, and the fallbacks in it.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::fields::Fields;
use super::retry::{policy, quota};
use super::{MAX_ACTIONS, MAX_FALLBACKS};
use crate::catalog::Catalog;
use crate::condition::Condition;
use crate::definition::{Action, Timing};
use crate::mistake::{Mistake, nearest};
use crate::template::TemplatedConfig;

const FIELDS: [&str; 12] = [
    "name",
    "type",
    "config",
    "timing",
    "queue",
    "condition",
    "timeout",
    "retry",
    "continueOnError",
    "fallback",
    "quota",
    "strict",
];

/// The queue of `queued` actions that name none.
const DEFAULT_QUEUE: &str = "default";

const DEFAULT_TIMEOUT_MS: u64 = 30_000;

/// Compiles the actions of one definition.
pub struct Actions<'c> {
    pub catalog: &'c dyn Catalog,
    /// Whether all of the trigger's events are before-events; `None` where its events are faulty.
    pub before: Option<bool>,
    /// The names given so far anywhere in the trigger: they are unique there.
    pub given: HashSet<&'c str>,
    /// How many actions there are so far.
    pub count: usize,
}

impl<'c> Actions<'c> {
    /// The actions `sources`, which stand in `depth` fallbacks. Faulty ones are left out.
    pub fn list(
        &mut self,
        sources: Vec<(String, &'c Value)>,
        depth: usize,
        mistakes: &mut Vec<Mistake>,
    ) -> Vec<Action> {
        let before = self.count;
        self.count += sources.len();
        if before <= MAX_ACTIONS && self.count > MAX_ACTIONS {
            let detail = format!("a trigger has at most {MAX_ACTIONS} actions, fallbacks included");
            mistakes.push(Mistake::new("/actions", detail));
        }
        if self.count > MAX_ACTIONS {
            return Vec::new();
        }
        let mut siblings = HashSet::new();
        // Actions are large, and kept: no room for more than there are.
        let mut out = Vec::with_capacity(sources.len());
        for (index, (pointer, source)) in sources.into_iter().enumerate() {
            let Some(action) = self.action(source, index, &pointer, depth, mistakes) else { continue };
            // Given names were compared already; this finds one that is another's default name.
            if !siblings.insert(action.name.clone()) {
                mistakes.push(taken(&pointer, &action.name));
            }
            out.push(action);
        }
        out
    }

    fn action(
        &mut self,
        source: &'c Value,
        index: usize,
        pointer: &str,
        depth: usize,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Action> {
        let fields = Fields::open(source, pointer, mistakes)?;
        refuse_unknown(&fields, mistakes);
        let written = fields.required("type", mistakes).and_then(|_| fields.text("type", mistakes));
        let name = self.name(&fields, written, index, mistakes);
        let timing = self.timing(&fields, mistakes);
        let timeout = fields.whole("timeout", 1..=3_600_000, mistakes);
        let retry = fields.value("retry").map(|v| policy(v, &fields.at("retry"), mistakes)).unwrap_or_default();
        let condition =
            fields.value("condition").and_then(|v| Condition::compile(v, &fields.at("condition"), mistakes));
        let continue_on_error = fields.flag("continueOnError", false, mistakes);
        let strict = fields.flag("strict", false, mistakes);
        let quota = fields.value("quota").and_then(|v| quota(v, &fields.at("quota"), mistakes));
        let settings = self.settings(&fields, written, &timing, mistakes);
        let fallback = self.fallback(&fields, depth, mistakes);
        let (kind, config) = settings?;
        let reads_event = self.catalog.reads_event(kind, fields.value("config").unwrap_or(&Value::Null));
        Some(Action {
            name: name?,
            kind,
            timing,
            condition,
            timeout_ms: timeout.unwrap_or(DEFAULT_TIMEOUT_MS),
            retry,
            continue_on_error,
            fallback,
            quota,
            strict,
            reads_event,
            config,
        })
    }

    fn name(
        &mut self,
        fields: &Fields<'c>,
        written: Option<&str>,
        index: usize,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<String> {
        if fields.value("name").is_none() {
            return written.map(|kind| format!("{kind}-{index}"));
        }
        let name = fields.text("name", mistakes)?;
        // A run names the actions in a fallback by a path with slashes.
        if name.is_empty() || name.len() > 128 || name.contains(|c: char| c.is_control() || c == '/') {
            let detail = "an action's name has 1 to 128 bytes, no control characters and no `/`";
            mistakes.push(Mistake::new(fields.at("name"), detail));
            return None;
        }
        if !self.given.insert(name) {
            mistakes.push(taken(fields.pointer(), name));
            return None;
        }
        Some(name.to_owned())
    }

    fn timing(&self, fields: &Fields<'_>, mistakes: &mut Vec<Mistake>) -> Timing {
        let queue = fields.text("queue", mistakes);
        let usual = if self.before == Some(true) { Timing::Sync } else { Timing::Async };
        let timing = match fields.text("timing", mistakes) {
            None => usual,
            Some("sync") => Timing::Sync,
            Some("async") => Timing::Async,
            Some("queued") => Timing::Queued(queue.unwrap_or(DEFAULT_QUEUE).to_owned()),
            Some(other) => {
                mistakes.push(Mistake::unknown(fields.at("timing"), "timing", other, ["sync", "async", "queued"]));
                return usual;
            }
        };
        match (&timing, queue) {
            (Timing::Queued(_), Some(name)) if !crate::id::is_tag(name) => {
                let detail = format!("`{name}` is no queue's name: write [a-z0-9][a-z0-9._-]{{0,127}}");
                mistakes.push(Mistake::new(fields.at("queue"), detail));
            }
            (Timing::Sync | Timing::Async, Some(_)) => {
                mistakes.push(Mistake::new(fields.at("queue"), "`queue` goes with `\"timing\": \"queued\"` only"));
            }
            _ => {}
        }
        timing
    }

    /// The kind and the compiled settings.
    fn settings(
        &self,
        fields: &Fields<'_>,
        written: Option<&str>,
        timing: &Timing,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<(&'static str, TemplatedConfig)> {
        let empty = Value::Object(Map::new());
        let config = fields.value("config").unwrap_or(&empty);
        let pointer = fields.at("config");
        if !config.is_object() {
            mistakes.push(Mistake::kind(&pointer, "an object", config));
            return None;
        }
        let written = written?;
        let Some(kind) = self.catalog.canonical(written, config) else {
            mistakes.push(Mistake::unknown(fields.at("type"), "action type", written, self.catalog.kinds()));
            return None;
        };
        if self.catalog.before_only(kind) {
            self.check_before_only(fields, kind, timing, mistakes);
        }
        let found = self.catalog.check(kind, config);
        if fields.value("config").is_some() {
            mistakes.extend(found.into_iter().map(|mistake| mistake.under(&pointer)));
        } else if !found.is_empty() {
            // There is no place inside to point at: what is missing is said of the whole.
            let details: Vec<&str> = found.iter().map(|mistake| mistake.detail.as_str()).collect();
            mistakes.push(Mistake::new(&pointer, format!("`config` is missing: {}", details.join("; "))));
        }
        let place = |at: &str| self.catalog.place(kind, config, at);
        TemplatedConfig::compile(config, &pointer, &place, mistakes).map(|config| (kind, config))
    }

    fn check_before_only(&self, fields: &Fields<'_>, kind: &str, timing: &Timing, mistakes: &mut Vec<Mistake>) {
        if self.before == Some(false) {
            let detail = format!(
                "`{kind}` works on a write that is still to come: all `events` of its trigger must be before-events"
            );
            mistakes.push(Mistake::new(fields.at("type"), detail));
        } else if self.before == Some(true) && *timing != Timing::Sync {
            let detail = format!("`{kind}` decides about the write and so must be `sync`, which is the default here");
            mistakes.push(Mistake::new(fields.at("timing"), detail));
        }
    }

    fn fallback(&mut self, fields: &Fields<'c>, depth: usize, mistakes: &mut Vec<Mistake>) -> Vec<Action> {
        let sources = fields.list("fallback", mistakes);
        if depth == MAX_FALLBACKS && !sources.is_empty() {
            let detail = format!("fallbacks stand in fallbacks up to {MAX_FALLBACKS} deep");
            mistakes.push(Mistake::new(fields.at("fallback"), detail));
            return Vec::new();
        }
        self.list(sources, depth + 1, mistakes)
    }
}

fn refuse_unknown(fields: &Fields<'_>, mistakes: &mut Vec<Mistake>) {
    for name in fields.unknown(&FIELDS) {
        mistakes.push(match nearest(name, FIELDS) {
            Some(_) => Mistake::unknown(fields.at(name), "field", name, FIELDS),
            None => Mistake::new(
                fields.at(name),
                format!(
                    "unknown field `{name}`: an action's settings stand under `config`, so write it as {}/config/{name}",
                    fields.pointer()
                ),
            ),
        });
    }
}

fn taken(pointer: &str, name: &str) -> Mistake {
    Mistake::new(format!("{pointer}/name"), format!("another action of this trigger is named `{name}` already"))
}
