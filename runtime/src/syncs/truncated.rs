//! A table that was emptied by TRUNCATE. The database tells no rows, so every row that both sides were agreed on is looked
//! after as if it had been deleted by itself: what is there again stays, what the other side has changed is a conflict. Rows
//! that were never agreed on stay on the other side.
//!
//! The other side's table says which rows there are, with keys as databases write them. What is remembered beyond that is of
//! rows that neither side holds: it is forgotten, or a row that comes back later would be taken for deleted by the other side.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use triggerd_core::sync::{Base, Side};

use super::Applied;
use super::apply::{Cause, look_after, same_schema};
use super::plan::{End, Plan};
use super::values;
use crate::actions::Context;
use crate::failed::Failed;

/// Rows that are read at once.
const PAGE: usize = 250;
/// Rows that are looked after at once: fewer than a database has connections, so that other changes get their turn.
const AT_ONCE: usize = 4;

/// Looks after every row that `side`, which was emptied, had in common with the other one: how many had which outcome.
pub async fn truncated(cx: &Context, plan: &Plan, side: Side) -> Result<BTreeMap<&'static str, u64>, Failed> {
    let Some(end) = plan.end(side) else { return Ok(BTreeMap::new()) };
    if plan.appends() || !same_schema(end, &cx.event) {
        return Ok(BTreeMap::new());
    }
    // A row that was read before the table was emptied may not be noted yet: it would be missed below.
    let settled = cx.services.syncs.settled(&cx.services.store, plan).await;
    settled.map_err(|error| Failed::of_store(&error))?;
    let mut emptied = Emptied { cx, plan, side, outcomes: BTreeMap::new(), failures: Failures::default() };
    if let Some(other) = plan.end(side.other()) {
        emptied.rows_of(other).await?;
    }
    if emptied.failures.count == 0 {
        emptied.remembered().await?;
    }
    // The rows that are done are forgotten: another attempt looks after the others alone.
    emptied.failures.told().map_or(Ok(emptied.outcomes), Err)
}

struct Emptied<'e> {
    cx: &'e Context,
    plan: &'e Plan,
    side: Side,
    outcomes: BTreeMap<&'static str, u64>,
    failures: Failures,
}

impl Emptied<'_> {
    /// Walks the table of the other side.
    async fn rows_of(&mut self, other: &End) -> Result<(), Failed> {
        let (services, plan) = (&self.cx.services, self.plan);
        let mut after: Option<Vec<Value>> = None;
        loop {
            let (name, columns) = (plan.name(&other.database), &other.columns);
            let rows = services.databases.page(name, &other.name, columns, &other.keys, after.as_deref(), PAGE).await?;
            let keys: Vec<Vec<Value>> = rows.iter().filter_map(|row| other.key_of(row)).collect();
            let texts: Vec<String> = keys.iter().map(|key| plan.key_text(key)).collect();
            let kept = services.store.sync_rows(&plan.tenant, &plan.tag, &texts).await;
            let kept = kept.map_err(|error| Failed::of_store(&error))?;
            let had = |base: Base| if self.side == Side::Source { base.source } else { base.target };
            let known = |text: &String| {
                kept.get(text).is_some_and(|row| row.intent.is_some() || row.base.and_then(had).is_some())
            };
            let wanted = keys.into_iter().zip(&texts).filter(|(_, text)| known(text)).map(|(key, _)| key).collect();
            let well = self.look_after(wanted).await;
            after = rows.last().and_then(|row| other.key_of(row));
            // A short page is the last one. And where a whole page fails, the next one would hardly fare better.
            if rows.len() < PAGE || after.is_none() || (self.failures.count > 0 && well == 0) {
                return Ok(());
            }
        }
    }

    /// Walks what is remembered beyond that.
    async fn remembered(&mut self) -> Result<(), Failed> {
        let plan = self.plan;
        let mut after: Option<String> = None;
        loop {
            let texts = self.cx.services.store.sync_keys(&plan.tenant, &plan.tag, self.side, after.as_deref(), PAGE);
            let texts = texts.await.map_err(|error| Failed::of_store(&error))?;
            let keys = texts.iter().map(|text| key_of(plan, text)).collect::<Result<Vec<_>, _>>()?;
            let well = self.look_after(keys).await;
            after = texts.last().cloned();
            if texts.len() < PAGE || (self.failures.count > 0 && well == 0) {
                return Ok(());
            }
        }
    }

    /// Looks after rows, and says with how many it went well.
    async fn look_after(&mut self, keys: Vec<Vec<Value>>) -> usize {
        let (cx, plan, deleted) = (self.cx, self.plan, Some(self.side));
        let one = |key: Vec<Value>| async move {
            let cause = Cause { at: cx.event.timestamp, deleted, last: None, patient: false, repair: false, cx };
            look_after(&cx.services, plan, &key, &cause).await
        };
        let done: Vec<Result<Applied, Failed>> = stream::iter(keys).map(one).buffer_unordered(AT_ONCE).collect().await;
        let mut well = 0;
        for done in done {
            match done {
                Ok(applied) => {
                    well += 1;
                    *self.outcomes.entry(applied.outcome()).or_default() += 1;
                }
                Err(failed) => self.failures.add(failed),
            }
        }
        well
    }
}

/// The key that a text of the store stands for.
fn key_of(plan: &Plan, text: &str) -> Result<Vec<Value>, Failed> {
    let damaged = || Failed::permanent("SYNC_INVALID", format!("the key {text} of a remembered row cannot be read"));
    let parts: Vec<String> = serde_json::from_str(text).map_err(|_| damaged())?;
    let End { keys, table, .. } = &plan.source;
    if parts.len() != keys.len() {
        return Err(damaged());
    }
    let value = |(name, part): (&String, String)| match table.column(name) {
        Some(column) => values::key_value(&column.kind, part),
        None => Value::String(part),
    };
    Ok(keys.iter().zip(parts).map(value).collect())
}

/// What went wrong, of which one is told.
#[derive(Default)]
struct Failures {
    count: u64,
    shown: Option<Failed>,
}

impl Failures {
    /// What another try may mend goes before what stays: that is told once the others are done.
    fn add(&mut self, failed: Failed) {
        self.count += 1;
        if self.shown.as_ref().is_none_or(|shown| failed.retryable && !shown.retryable) {
            self.shown = Some(failed);
        }
    }

    fn told(self) -> Option<Failed> {
        let count = self.count;
        self.shown.map(|mut failed| {
            let why = failed.failure.message;
            failed.failure.message = format!("{count} rows of the emptied table are left, such as: {why}");
            failed
        })
    }
}
