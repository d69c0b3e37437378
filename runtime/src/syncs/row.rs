//! A row under its lock: what both sides hold of it, what is remembered of it, and what each side's would be on the other.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use triggerd_core::event::Event;
use triggerd_core::sync::{Base, Reason, Seen, Side};
use uuid::Uuid;

use super::apply::Cause;
use super::intent::Intent;
use super::mapping::told;
use super::plan::{End, Plan};
use super::{guests, values};
use crate::actions::Services;
use crate::failed::Failed;
use crate::store::{SyncConflict, SyncRow, SyncSettled};

/// A row under its lock.
pub(super) struct Row<'r> {
    pub(super) services: &'r Arc<Services>,
    pub(super) plan: &'r Plan,
    pub(super) key: &'r [Value],
    pub(super) text: &'r str,
    pub(super) cause: &'r Cause<'r>,
}

/// What both sides hold.
pub(super) struct Held {
    pub(super) source: Option<Value>,
    pub(super) target: Option<Value>,
}

impl Held {
    pub(super) fn of(&self, side: Side) -> Option<&Value> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Target => self.target.as_ref(),
        }
    }

    pub(super) fn base(&self) -> Base {
        Base { source: self.source.as_ref().map(values::version), target: self.target.as_ref().map(values::version) }
    }
}

/// What a write loses.
#[derive(Clone, Copy)]
pub(super) struct Loss {
    pub(super) reason: Reason,
    pub(super) side: Side,
    /// `source`, `target` or `merged`.
    pub(super) winner: &'static str,
}

impl Row<'_> {
    pub(super) async fn read(&self) -> Result<Held, Failed> {
        let read = async |end: Option<&End>| -> Result<Option<Value>, Failed> {
            let Some(end) = end else { return Ok(None) };
            let (name, key) = (self.plan.name(&end.database), [self.key.to_vec()]);
            let rows = self.services.databases.rows(name, &end.name, &end.columns, &end.keys, &key).await?;
            Ok(rows.into_iter().next())
        };
        let (source, target) = tokio::try_join!(read(Some(&self.plan.source)), read(self.plan.target.as_ref()))?;
        Ok(Held { source, target })
    }

    pub(super) fn seen(&self, held: &Held, side: Side) -> Seen {
        match (held.of(side), self.plan.end(side)) {
            (Some(row), Some(end)) => Seen::Row { version: values::version(row), at: end.changed_at(row) },
            _ => Seen::Gone { at: (self.cause.deleted == Some(side)).then_some(self.cause.at) },
        }
    }

    /// The base, after what was under way when somebody died is seen to its end.
    pub(super) async fn recovered(&self, held: &Held) -> Result<Option<Base>, Failed> {
        let SyncRow { base, intent } = self.kept().await?;
        let Some(intent) = intent else { return Ok(base) };
        let Ok(intent) = serde_json::from_value::<Intent>(intent) else { return Ok(base) };
        let now = held.of(intent.to()).map(values::version);
        if intent.took_effect(now) {
            if let Some(entry) = &intent.entry {
                self.enter(entry, intent.id).await?;
            }
            let base = if intent.settles { self.to_keep(intent.after()) } else { base };
            self.keep(base, Vec::new()).await?;
            return Ok(base);
        }
        // It had not been committed, or somebody has written over it since: then what it lost stays in the list.
        let dropped = if intent.left_no_trace(now) { intent.lost } else { Vec::new() };
        self.settled(SyncSettled { base, dropped, ..SyncSettled::default() }).await?;
        Ok(base)
    }

    pub(super) async fn kept(&self) -> Result<SyncRow, Failed> {
        let kept = self.services.store.sync_row(&self.plan.tenant, &self.plan.tag, self.text).await;
        kept.map_err(|error| Failed::of_store(&error))
    }

    pub(super) async fn keep(&self, base: Option<Base>, lost: Vec<SyncConflict>) -> Result<(), Failed> {
        self.settled(SyncSettled { base, lost, ..SyncSettled::default() }).await
    }

    pub(super) async fn settled(&self, settled: SyncSettled) -> Result<(), Failed> {
        let (tenant, tag) = (&self.plan.tenant, &self.plan.tag);
        let kept = self.services.store.sync_settle(tenant, tag, self.text, settled, self.now());
        kept.await.map_err(|error| Failed::of_store(&error))
    }

    /// What is only ever added to needs no memory of what was added.
    pub(super) fn to_keep(&self, base: Base) -> Option<Base> {
        (!self.plan.appends()).then_some(base)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    pub(super) fn id(&self) -> Uuid {
        self.services.clock.uuid()
    }

    /// Whether both sides hold rows that mean the same; asked only where it matters.
    pub(super) async fn are_equal(&self, held: &Held, base: Option<Base>) -> bool {
        let (Some(source), Some(target)) = (&held.source, &held.target) else { return false };
        if base == Some(held.base()) {
            return false;
        }
        self.mean_the_same(source, target).await
    }

    /// Whether one of the rows is what the other one would be written as.
    pub(super) async fn mean_the_same(&self, source: &Value, target: &Value) -> bool {
        let as_target = self.converted(Side::Target, source).await;
        if as_target.is_ok_and(|row| row.is_some_and(|row| self.plan.mapping.holds(Side::Target, &row, target))) {
            return true;
        }
        if !self.plan.rules.both_ways {
            return false;
        }
        let as_source = self.converted(Side::Source, target).await;
        as_source.is_ok_and(|row| row.is_some_and(|row| self.plan.mapping.holds(Side::Source, &row, source)))
    }

    /// `row` of the other side, as `to` is to have it; `None` where a component lets it not through.
    pub(super) async fn converted(&self, to: Side, row: &Value) -> Result<Option<Map<String, Value>>, Failed> {
        let plan = self.plan;
        let event = self.event(to.other(), row);
        let Some(transform) = &plan.sync().transform else {
            return plan.mapping.convert(to, row, &event).map(Some);
        };
        let made = guests::transform(self.services, &transform.component, &event, to).await?;
        let names = plan.mapping.names(to);
        Ok(made.map(|mut row| {
            row.retain(|name, _| names.contains(name));
            // A key is the same on both sides, whatever the component thinks of it.
            if let Some(end) = plan.end(to) {
                row.extend(end.keys.iter().cloned().zip(self.key.iter().cloned()));
            }
            row
        }))
    }

    pub(super) fn event(&self, side: Side, row: &Value) -> Arc<Event> {
        let end = self.plan.end(side).unwrap_or(&self.plan.source);
        let metadata = Map::from_iter([("sync".to_owned(), json!(self.plan.tag))]);
        told(&self.plan.tenant, &self.plan.env, (&end.database, &end.table.name), row, metadata, self.cause.at)
    }
}
