//! Why a trigger did or did not match an event: its scope and its condition as one tree.

use serde_json::{Value, json};

use crate::condition::Explanation;
use crate::definition::{NamePattern, Trigger};
use crate::event::{Change, Event};
use crate::event_pattern::EventPattern;

/// Whether the trigger reacts to `change` by its database, tables and events, whatever its environment and condition say.
#[must_use]
pub fn reacts_to(trigger: &Trigger, change: &Change) -> bool {
    let event_type = change.event_type();
    trigger.covers_database(Some(change))
        && trigger.covers_table(Some(change))
        && trigger.events.iter().any(|pattern| pattern.reacts_to(Some(change), &event_type))
}

/// The whole tree. Where the event is within the trigger's scope it is the condition's own tree; else an `and` of the
/// parts of the scope that said no, and the condition.
#[must_use]
pub fn explain(trigger: &Trigger, event: &Event, components: &dyn Fn(usize) -> Option<bool>) -> Explanation {
    let condition = match &trigger.condition {
        Some(condition) => condition.explain(event, components),
        None => all(Vec::new()),
    };
    let mut children: Vec<Explanation> =
        scope(trigger, event).filter(|(fits, _)| !fits).map(|(_, field)| field()).collect();
    if children.is_empty() {
        return condition;
    }
    children.push(condition);
    all(children)
}

/// The parts of a scope: whether each fits, and how it is explained.
fn scope<'a>(
    trigger: &'a Trigger,
    event: &'a Event,
) -> impl Iterator<Item = (bool, Box<dyn Fn() -> Explanation + 'a>)> {
    let enabled: (bool, Box<dyn Fn() -> Explanation>) =
        (trigger.enabled, Box::new(|| field("trigger.enabled", "EQUALS", json!(false), json!(true))));
    let env_fits = trigger.env.as_ref().is_none_or(|env| *env == event.env);
    let env: Box<dyn Fn() -> Explanation> = Box::new(|| field("env", "EQUALS", json!(event.env), json!(trigger.env)));
    let database_fits = trigger.covers_database(event.change.as_ref());
    let database: Box<dyn Fn() -> Explanation> =
        Box::new(|| field("database", "EQUALS", json!(event.database()), names(trigger.database.as_slice())));
    let table_fits = trigger.covers_table(event.change.as_ref());
    let table: Box<dyn Fn() -> Explanation> =
        Box::new(|| field("table", "IN", json!(event.table()), names(&trigger.tables)));
    let event_fits = trigger.events.iter().any(|pattern| EventPattern::matches(pattern, event));
    let found =
        if event.change.is_some() { json!([event.event_name(), event.event_type]) } else { json!(event.event_type) };
    // As it was written, which the patterns do not tell.
    let wanted = || trigger.source.read().get_mut("events").map(Value::take).unwrap_or_default();
    let kind: Box<dyn Fn() -> Explanation> = Box::new(move || field("event", "IN", found.clone(), wanted()));
    [enabled, (env_fits, env), (database_fits, database), (table_fits, table), (event_fits, kind)].into_iter()
}

fn names(patterns: &[NamePattern]) -> Value {
    let text = |pattern: &NamePattern| match pattern {
        NamePattern::Any => "*".to_owned(),
        NamePattern::Prefix(prefix) => format!("{prefix}*"),
        NamePattern::Exact(name) => name.clone(),
    };
    match patterns {
        [one] => Value::String(text(one)),
        several => several.iter().map(text).collect(),
    }
}

fn field(path: &str, operator: &'static str, found: Value, wanted: Value) -> Explanation {
    Explanation {
        node: "field",
        verdict: Some(false),
        path: Some(path.to_owned()),
        operator: Some(operator),
        found: (!found.is_null()).then_some(found),
        wanted: Some(wanted),
        children: None,
    }
}

fn all(children: Vec<Explanation>) -> Explanation {
    let verdict = children.iter().try_fold(true, |so_far, child| child.verdict.map(|verdict| so_far && verdict));
    let verdict = if children.iter().any(|child| child.verdict == Some(false)) { Some(false) } else { verdict };
    Explanation {
        node: "and",
        verdict,
        path: None,
        operator: None,
        found: None,
        wanted: None,
        children: Some(children),
    }
}
