//! One row looked after: read on both sides, decided on, written where it has to be.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use triggerd_core::event::{Event, Operation};
use triggerd_core::sync::{self, Base, Decision, Reason, Rules, Side};

use super::guests::{self, Verdict};
use super::plan::{End, Plan};
use super::row::{Held, Loss, Row};
use super::{Applied, count, count_failure, http};
use crate::actions::{Context, Services};
use crate::failed::Failed;

/// How often a row is read again because somebody changed it in between, before it is left for later.
const MAX_TRIES: usize = 20;
/// How long the event of a deletion is waited for.
const DELETION_COMES: Duration = Duration::from_secs(1);

/// Why a row is looked at.
pub(super) struct Cause<'c> {
    /// When the change was made.
    pub at: Timestamp,
    /// The side that the row was deleted on then.
    pub deleted: Option<Side>,
    /// The row as it was before it was deleted.
    pub last: Option<&'c Value>,
    /// A deletion's own event is waited for.
    pub patient: bool,
    /// What somebody changed in the target of a one-way sync is put right.
    pub repair: bool,
    /// The attempt, for requests that are sent.
    pub cx: &'c Context,
}

/// Looks after the rows of a captured change of `side`.
pub async fn changed(cx: &Context, plan: &Plan, side: Side) -> Result<Vec<Applied>, Failed> {
    let event = &cx.event;
    let Some(end) = plan.end(side) else { return Ok(Vec::new()) };
    if event.metadata.get("origin").and_then(Value::as_str) == Some(&plan.origin) || !same_schema(end, event) {
        return Ok(Vec::new());
    }
    let (now, before) = (end.key_of(&event.record), end.key_of(&event.previous_record));
    let mut done = Vec::new();
    for key in [now.clone(), before.clone().filter(|before| Some(before) != now.as_ref())].into_iter().flatten() {
        let gone = before.as_ref() == Some(&key) && now.as_ref() != Some(&key);
        let cause = Cause {
            at: event.timestamp,
            deleted: gone.then_some(side),
            last: gone.then_some(&event.previous_record),
            patient: cx.attempt == 1 && !cx.replay,
            repair: false,
            cx,
        };
        done.push(look_after(&cx.services, plan, &key, &cause).await?);
    }
    Ok(done)
}

/// Whether the change is of the table that is meant, and not of its namesake in another schema.
pub(super) fn same_schema(end: &End, event: &Event) -> bool {
    let schema = event.change.as_ref().and_then(|change| change.schema.as_deref());
    schema.is_none() || schema == end.table.schema.as_deref()
}

/// Looks after one row, and counts what came of it.
pub(super) async fn look_after(
    services: &Arc<Services>,
    plan: &Plan,
    key: &[Value],
    cause: &Cause<'_>,
) -> Result<Applied, Failed> {
    let text = plan.key_text(key);
    let alone = services.syncs.alone(&services.store, plan, &text).await;
    let _alone = alone.map_err(|error| Failed::of_store(&error))?;
    let row = Row { services, plan, key, text: &text, cause };
    let done = match plan.sync().target.http.as_ref() {
        Some(target) => row.tell(target).await,
        None if plan.appends() => row.append().await,
        None => row.settle().await,
    };
    match &done {
        Ok(applied) => count(services, plan, applied, cause.at),
        Err(failed) => {
            if failed.failure.code != WAITS {
                count_failure(services, plan, &failed.failure);
            }
            if failed.failure.code.starts_with("DB_UNKNOWN") || failed.failure.code == "SYNC_INVALID" {
                services.syncs.forget(plan);
            }
        }
    }
    done
}

const WAITS: &str = "SYNC_WAITS";

impl Row<'_> {
    async fn settle(&self) -> Result<Applied, Failed> {
        // What a component merged stands on the source already.
        let mut merged: Option<Base> = None;
        for _ in 0..MAX_TRIES {
            let held = self.read().await?;
            let base = self.recovered(&held).await?;
            if merged.take().is_some_and(|expected| expected == held.base()) {
                if let Some(applied) = self.copy(&held, Side::Target, None).await? {
                    return Ok(Applied { lost: Some(Reason::Conflict), ..applied });
                }
                continue;
            }
            let rules = Rules { patient: self.cause.patient, repair: self.cause.repair, ..self.plan.rules };
            let equal = self.are_equal(&held, base).await;
            let mut decision =
                sync::decide(rules, base, self.seen(&held, Side::Source), self.seen(&held, Side::Target), equal);
            if decision == Decision::Ask {
                match self.ask(&held).await? {
                    Verdict::Winner(winner) => decision = sync::won(rules, winner, Reason::Conflict),
                    Verdict::Merged(row) => {
                        if let Some(done) = self.merge(&held, base, row, &mut merged).await? {
                            return Ok(done);
                        }
                        continue;
                    }
                }
            }
            match decision {
                Decision::Same => return Ok(Applied::same()),
                Decision::Agree => {
                    self.keep(Some(held.base()), Vec::new()).await?;
                    return Ok(Applied::same());
                }
                Decision::Leave { lost } => return self.leave(&held, lost).await,
                Decision::Wait | Decision::Ask => {
                    let message = "the row is gone, and the event that says since when is still to come";
                    return Err(Failed { after: Some(DELETION_COMES), ..Failed::transient(WAITS, message) });
                }
                Decision::Copy { to, lost } => {
                    let winner = to.other().as_str();
                    let loss = lost.map(|reason| Loss { reason, side: to, winner });
                    if let Some(applied) = self.copy(&held, to, loss).await? {
                        return Ok(applied);
                    }
                }
            }
        }
        Err(Failed::transient("SYNC_BUSY", format!("the row {} is changed faster than it can be written", self.text)))
    }

    async fn ask(&self, held: &Held) -> Result<Verdict, Failed> {
        let component = self.plan.sync().conflict.component.as_deref().unwrap_or_default();
        let shown = held.source.as_ref().or(held.target.as_ref()).unwrap_or(&Value::Null);
        let event = self.event(Side::Source, shown);
        let (source, target) = (held.source.as_ref(), held.target.as_ref());
        guests::resolve(self.services, component, &event, self.text, source, target).await
    }

    /// A new row goes to the target, unless it is there.
    async fn append(&self) -> Result<Applied, Failed> {
        for _ in 0..MAX_TRIES {
            let held = self.read().await?;
            if held.source.is_none() || held.target.is_some() {
                // What was begun is over, or never was: both are seen in the target.
                self.recovered(&held).await?;
                return Ok(Applied::same());
            }
            self.recovered(&held).await?;
            if let Some(applied) = self.copy(&held, Side::Target, None).await? {
                return Ok(applied);
            }
        }
        Err(Failed::transient("SYNC_BUSY", format!("the row {} comes and goes", self.text)))
    }

    /// Tells an HTTP API of the row, unless it was told already.
    async fn tell(&self, target: &crate::resources::SyncHttp) -> Result<Applied, Failed> {
        let held = self.read().await?;
        let known = self.kept().await?.base;
        let (before, now) = (known.and_then(|base| base.source), held.base().source);
        if now == before || (now.is_some() && before.is_some() && self.plan.appends()) {
            return Ok(Applied::same());
        }
        let deleted = held.source.is_none();
        if deleted && (!self.plan.rules.deletes || self.plan.appends()) {
            return Ok(Applied::same());
        }
        let key: Map<String, Value> = self.plan.source.keys.iter().cloned().zip(self.key.iter().cloned()).collect();
        let last = self.cause.last.cloned().unwrap_or(Value::Object(key));
        let row = held.source.as_ref().unwrap_or(&last);
        let Some(put) = self.converted(Side::Target, row).await? else { return Ok(Applied::same()) };
        let record = Value::Object(put);
        let cx = self.cause.cx;
        let event = Event {
            record: record.clone(),
            previous_record: Value::Null,
            change: cx.event.change.clone().map(|change| triggerd_core::event::Change {
                operation: if deleted { Operation::Delete } else { change.operation },
                ..change
            }),
            ..Event::clone(&cx.event)
        };
        // Stable over tries, and another one for every other row of the same event.
        let delivery_id = cx.run_id.delivery(&format!("{}/{}", cx.action, self.text));
        http::send(&Context { event: Arc::new(event), delivery_id, ..cx.clone() }, target, deleted).await?;
        let id = self.id();
        if let Some(entry) = self.entry(id, row, Side::Source, Side::Target, deleted, None)? {
            self.enter(&entry, id).await?;
        }
        self.keep(Some(held.base()), Vec::new()).await?;
        Ok(Applied { to: Some(Side::Target), deleted, ..Applied::default() })
    }
}

/// Whether two rows mean the same, for those who compare tables.
pub(super) async fn mean_the_same(
    services: &Arc<Services>,
    plan: &Plan,
    key: &[Value],
    cause: &Cause<'_>,
    source: &Value,
    target: &Value,
) -> bool {
    let row = Row { services, plan, key, text: "", cause };
    row.mean_the_same(source, target).await
}
