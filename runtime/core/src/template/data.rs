//! The values behind placeholders, borrowed from the event; what must be made is made once.

use std::cell::OnceCell;

use serde_json::{Map, Value};

use super::found::Found;
use super::reference::{Step, walk};
use super::root::Root;
use super::scope::Scope;
use crate::event::{Event, Operation};

/// A scope, and what was made from it.
pub(super) struct Data<'d> {
    pub scope: Scope<'d>,
    changed: OnceCell<Value>,
    metadata: OnceCell<Value>,
    payload: OnceCell<Value>,
    timestamp: OnceCell<String>,
}

impl<'d> Data<'d> {
    /// Nothing made yet.
    pub fn new(scope: Scope<'d>) -> Self {
        Self {
            scope,
            changed: OnceCell::new(),
            metadata: OnceCell::new(),
            payload: OnceCell::new(),
            timestamp: OnceCell::new(),
        }
    }

    /// The value of `root`, and `steps` below it. A secret that is not there is an error.
    pub fn find<'f>(&'f self, root: &Root, steps: &[Step]) -> Result<Found<'f>, String> {
        let event = self.scope.event;
        Ok(match root {
            Root::Record => below(&event.record, steps),
            Root::PreviousRecord => below(&event.previous_record, steps),
            Root::User => below(&event.user, steps),
            Root::Metadata => self.metadata(steps),
            Root::ChangedFields => walk(self.changed.get_or_init(|| changed_fields(event)), steps),
            Root::Payload => self.payload(steps),
            Root::Event => Found::Text(event.event_name()),
            Root::Type => Found::Text(&event.event_type),
            Root::Env => Found::Text(&event.env),
            Root::Table => text(event.table()),
            Root::Database => text(event.database()),
            Root::Operation => text(event.change.as_ref().map(|change| change.operation.as_str())),
            Root::Source => text(event.source.as_deref()),
            Root::Timestamp => Found::Text(self.timestamp.get_or_init(|| format!("{:.3}", event.timestamp))),
            Root::TriggerTag => Found::Text(self.scope.trigger_tag),
            Root::DeliveryId => self.scope.delivery_id.map_or(Found::Missing, |id| Found::text(id.to_string())),
            Root::Attempt => Found::Made(self.scope.attempt.into()),
            Root::Output(name) => {
                self.scope.outputs.and_then(|outputs| outputs.get(name)).map_or(Found::Missing, |o| walk(o, steps))
            }
            Root::Secret(name) => match self.scope.secrets.and_then(|secrets| secrets.get(name)) {
                Some(secret) => Found::Json(secret),
                None => {
                    return Err(format!("there is no secret `{name}`; store it before the action runs"));
                }
            },
        })
    }

    fn metadata<'f>(&'f self, steps: &[Step]) -> Found<'f> {
        let members = &self.scope.event.metadata;
        match steps.split_first() {
            Some((first, rest)) => members.get(&first.key).map_or(Found::Missing, |value| walk(value, rest)),
            None => Found::Json(self.metadata.get_or_init(|| Value::Object(members.clone()))),
        }
    }

    /// `payload`: of a row change the change as an object, whose large members are not copied on the way to them.
    fn payload<'f>(&'f self, steps: &[Step]) -> Found<'f> {
        let event = self.scope.event;
        if event.change.is_none() {
            return below(&event.record, steps);
        }
        match steps.first().map(|step| step.key.as_str()) {
            Some("record") => walk(&event.record, &steps[1..]),
            Some("previousRecord") => walk(&event.previous_record, &steps[1..]),
            _ => walk(self.payload.get_or_init(|| event.payload()), steps),
        }
    }
}

/// Of an event's own parts null means that there is none.
fn below<'v>(value: &'v Value, steps: &[Step]) -> Found<'v> {
    if value.is_null() { Found::Missing } else { walk(value, steps) }
}

fn text(text: Option<&str>) -> Found<'_> {
    text.map_or(Found::Missing, Found::Text)
}

/// The names of the top-level fields whose values differ: on insert all of the record's, on delete all of the
/// row's as it was. Numbers differ where their values do, so `1` and `1.0` do not.
fn changed_fields(event: &Event) -> Value {
    let empty = Map::new();
    let now = event.record.as_object().unwrap_or(&empty);
    let before = event.previous_record.as_object().unwrap_or(&empty);
    let names = |fields: &Map<String, Value>| fields.keys().cloned().map(Value::String).collect();
    let Some(change) = &event.change else {
        return Value::Array(Vec::new());
    };
    Value::Array(match change.operation {
        Operation::Insert => names(now),
        Operation::Truncate => Vec::new(),
        Operation::Delete if before.is_empty() => names(now),
        Operation::Delete => names(before),
        Operation::Update => {
            let differs = |name: &&String| match (now.get(*name), before.get(*name)) {
                (Some(new), Some(old)) => !super::decimal::equal(new, old),
                _ => true,
            };
            let gone = before.keys().filter(|name| !now.contains_key(*name));
            now.keys().filter(differs).chain(gone).cloned().map(Value::String).collect()
        }
    })
}
