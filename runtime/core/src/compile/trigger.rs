//! The definition as a whole.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::action::Actions;
use super::fields::{Fields, text};
use super::retry::template;
use super::{MAX_ACTIONS, MAX_BYTES};
use crate::catalog::Catalog;
use crate::condition::Condition;
use crate::definition::{Action, NamePattern, RateLimit, Source, Trigger};
use crate::event_pattern::EventPattern;
use crate::id::is_tag;
use crate::mistake::Mistake;
use crate::template::Template;

const FIELDS: [&str; 14] = [
    "tag",
    "name",
    "description",
    "enabled",
    "priority",
    "env",
    "database",
    "tables",
    "events",
    "condition",
    "ordering",
    "actions",
    "maxConcurrency",
    "rateLimit",
];

const DEFAULT_PRIORITY: i64 = 100;

/// Compiles a definition. `version` is the one it is stored as.
pub fn compile(source: &Value, version: u32, catalog: &dyn Catalog) -> Result<Trigger, Vec<Mistake>> {
    let text = source.to_string();
    let size = text.len();
    if size > MAX_BYTES {
        let detail = format!("a definition has at most {MAX_BYTES} bytes, this one has {size}");
        return Err(vec![Mistake::new("", detail)]);
    }
    let mut mistakes = Vec::new();
    match trigger(source, version, catalog, &mut mistakes) {
        Some(trigger) if mistakes.is_empty() => Ok(Trigger { source: Source::new(text), ..trigger }),
        _ => Err(mistakes),
    }
}

fn trigger(source: &Value, version: u32, catalog: &dyn Catalog, mistakes: &mut Vec<Mistake>) -> Option<Trigger> {
    let fields = Fields::of(source, "", &FIELDS, mistakes)?;
    let tag = tag(&fields, mistakes);
    let name = fields.text("name", mistakes).or(tag);
    let description = fields.text("description", mistakes).map(str::to_owned);
    let enabled = fields.flag("enabled", true, mistakes);
    let priority = priority(&fields, mistakes);
    let env = env(&fields, mistakes);
    let database =
        fields.value("database").and_then(|value| name_pattern(value, &fields.at("database"), "database", mistakes));
    let tables = tables(&fields, mistakes);
    let events = events(&fields, mistakes);
    let condition = fields.value("condition").and_then(|v| Condition::compile(v, &fields.at("condition"), mistakes));
    let ordering_key = ordering_key(&fields, mistakes);
    let before = events.as_ref().map(|events| events.iter().all(EventPattern::is_before));
    let actions = actions(&fields, catalog, before, mistakes);
    let max_concurrency = fields.whole("maxConcurrency", 1..=u64::from(u32::MAX), mistakes);
    let rate_limit = fields.value("rateLimit").and_then(|v| rate_limit(v, &fields.at("rateLimit"), mistakes));
    Some(Trigger {
        tag: Arc::from(tag?),
        name: name?.to_owned(),
        description,
        version,
        enabled,
        priority,
        env,
        database,
        tables,
        events: events?,
        condition,
        ordering_key,
        actions,
        max_concurrency: max_concurrency.and_then(|n| u32::try_from(n).ok()),
        rate_limit,
        source: Source::default(),
    })
}

fn tag<'v>(fields: &Fields<'v>, mistakes: &mut Vec<Mistake>) -> Option<&'v str> {
    fields.required("tag", mistakes)?;
    let tag = fields.text("tag", mistakes)?;
    if !is_tag(tag) {
        let detail = "a tag has 1 to 128 of the characters a-z 0-9 . _ - and begins with a letter or digit";
        mistakes.push(Mistake::new(fields.at("tag"), detail));
    }
    Some(tag)
}

fn priority(fields: &Fields<'_>, mistakes: &mut Vec<Mistake>) -> i64 {
    let Some(value) = fields.value("priority") else { return DEFAULT_PRIORITY };
    value.as_i64().unwrap_or_else(|| {
        mistakes.push(Mistake::new(fields.at("priority"), "must be a whole number, lower ones run first"));
        DEFAULT_PRIORITY
    })
}

/// `*` is any, as for tables.
fn env(fields: &Fields<'_>, mistakes: &mut Vec<Mistake>) -> Option<String> {
    let env = fields.text("env", mistakes)?;
    if env.is_empty() || env.len() > 128 || env.contains(char::is_control) {
        mistakes
            .push(Mistake::new(fields.at("env"), "an environment's name has 1 to 128 bytes and no control characters"));
    }
    (env != "*").then(|| env.to_owned())
}

fn tables(fields: &Fields<'_>, mistakes: &mut Vec<Mistake>) -> Vec<NamePattern> {
    let list = fields.list("tables", mistakes);
    list.into_iter().filter_map(|(pointer, member)| name_pattern(member, &pointer, "table", mistakes)).collect()
}

fn name_pattern(value: &Value, pointer: &str, what: &str, mistakes: &mut Vec<Mistake>) -> Option<NamePattern> {
    let name = text(value, pointer, mistakes)?;
    let stem = name.strip_suffix('*').unwrap_or(name);
    if name.is_empty() || name.contains(char::is_control) {
        mistakes.push(Mistake::new(pointer, format!("a {what}'s name cannot be empty or hold control characters")));
    } else if stem.contains('*') {
        let detail = format!("`{name}`: only a last `*` is a wildcard (`*` for any {what}, `order_*` for a prefix)");
        mistakes.push(Mistake::new(pointer, detail));
    }
    Some(NamePattern::parse(name))
}

/// `None` where one of them is faulty: what hangs on the events cannot be judged then.
fn events(fields: &Fields<'_>, mistakes: &mut Vec<Mistake>) -> Option<Vec<EventPattern>> {
    fields.required("events", mistakes)?.as_array().or_else(|| {
        fields.list("events", mistakes);
        None
    })?;
    let members = fields.list("events", mistakes);
    if members.is_empty() {
        mistakes.push(Mistake::new(
            fields.at("events"),
            "a trigger needs at least one event, such as `afterInsert` or `order.created`",
        ));
        return None;
    }
    let read: Vec<_> = members
        .into_iter()
        .map(|(pointer, member)| {
            let entry = text(member, &pointer, mistakes)?;
            EventPattern::parse(entry).map_err(|detail| mistakes.push(Mistake::new(pointer, detail))).ok()
        })
        .collect();
    read.into_iter().collect()
}

fn ordering_key(fields: &Fields<'_>, mistakes: &mut Vec<Mistake>) -> Option<Template> {
    let pointer = fields.at("ordering");
    let ordering = Fields::of(fields.value("ordering")?, &pointer, &["key"], mistakes)?;
    let key = ordering.required("key", mistakes)?;
    template(key, &ordering.at("key"), mistakes)
}

fn actions(
    fields: &Fields<'_>,
    catalog: &dyn Catalog,
    before: Option<bool>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Action> {
    if fields.required("actions", mistakes).is_none() {
        return Vec::new();
    }
    let sources = fields.list("actions", mistakes);
    if sources.is_empty() && fields.value("actions").is_some_and(Value::is_array) {
        let detail = format!("a trigger needs at least one action and has at most {MAX_ACTIONS}");
        mistakes.push(Mistake::new(fields.at("actions"), detail));
    }
    Actions { catalog, before, given: HashSet::new(), count: 0 }.list(sources, 0, mistakes)
}

fn rate_limit(source: &Value, pointer: &str, mistakes: &mut Vec<Mistake>) -> Option<RateLimit> {
    let fields = Fields::of(source, pointer, &["count", "perSeconds"], mistakes)?;
    let count = fields
        .required("count", mistakes)
        .and_then(|_| fields.whole("count", 1..=u64::from(u32::MAX), mistakes))
        .and_then(|count| u32::try_from(count).ok());
    let per_seconds = fields.required("perSeconds", mistakes).and_then(|_| {
        fields.number("perSeconds", "a number above 0", |number| number > 0.0 && number <= 31_536_000.0, mistakes)
    });
    Some(RateLimit { count: count?, per_seconds: per_seconds? })
}
