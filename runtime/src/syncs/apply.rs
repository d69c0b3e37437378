//! One row looked after: read on both sides, decided on, written where it has to be.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use triggerd_core::event::{Event, Operation};
use triggerd_core::sync::{self, Base, Decision, Reason, Rules, Seen, Side};
use uuid::Uuid;

use super::guests::{self, Verdict};
use super::intent::Intent;
use super::mapping::told;
use super::plan::{End, Plan};
use super::{Applied, audit, count, count_failure, http, values};
use crate::actions::{Context, Services};
use crate::databases::{Exchange, Exchanged};
use crate::failed::Failed;
use crate::store::{SyncConflict, SyncRow};

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
fn same_schema(end: &End, event: &Event) -> bool {
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
    let _alone = services.syncs.alone(plan, &text).await;
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

/// A row under its lock.
struct Row<'r> {
    services: &'r Arc<Services>,
    plan: &'r Plan,
    key: &'r [Value],
    text: &'r str,
    cause: &'r Cause<'r>,
}

/// What both sides hold.
struct Held {
    source: Option<Value>,
    target: Option<Value>,
}

impl Held {
    fn of(&self, side: Side) -> Option<&Value> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Target => self.target.as_ref(),
        }
    }

    fn base(&self) -> Base {
        Base { source: self.source.as_ref().map(values::version), target: self.target.as_ref().map(values::version) }
    }
}

/// What a write loses.
#[derive(Clone, Copy)]
struct Loss {
    reason: Reason,
    side: Side,
    /// `source`, `target` or `merged`.
    winner: &'static str,
}

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

    async fn read(&self) -> Result<Held, Failed> {
        let read = async |end: Option<&End>| -> Result<Option<Value>, Failed> {
            let Some(end) = end else { return Ok(None) };
            let (name, key) = (self.plan.name(&end.database), [self.key.to_vec()]);
            let rows = self.services.databases.rows(name, &end.name, &end.columns, &end.keys, &key).await?;
            Ok(rows.into_iter().next())
        };
        let (source, target) = tokio::try_join!(read(Some(&self.plan.source)), read(self.plan.target.as_ref()))?;
        Ok(Held { source, target })
    }

    fn seen(&self, held: &Held, side: Side) -> Seen {
        match (held.of(side), self.plan.end(side)) {
            (Some(row), Some(end)) => Seen::Row { version: values::version(row), at: end.changed_at(row) },
            _ => Seen::Gone { at: (self.cause.deleted == Some(side)).then_some(self.cause.at) },
        }
    }

    /// The base, after what was under way when somebody died is seen to its end.
    async fn recovered(&self, held: &Held) -> Result<Option<Base>, Failed> {
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
        let (tenant, tag) = (&self.plan.tenant, &self.plan.tag);
        let settled = self.services.store.sync_settle(tenant, tag, self.text, base, Vec::new(), dropped, self.now());
        settled.await.map_err(|error| Failed::of_store(&error))?;
        Ok(base)
    }

    async fn kept(&self) -> Result<SyncRow, Failed> {
        let kept = self.services.store.sync_row(&self.plan.tenant, &self.plan.tag, self.text).await;
        kept.map_err(|error| Failed::of_store(&error))
    }

    async fn keep(&self, base: Option<Base>, lost: Vec<SyncConflict>) -> Result<(), Failed> {
        let (tenant, tag) = (&self.plan.tenant, &self.plan.tag);
        let kept = self.services.store.sync_settle(tenant, tag, self.text, base, lost, Vec::new(), self.now());
        kept.await.map_err(|error| Failed::of_store(&error))
    }

    /// What is only ever added to needs no memory of what was added.
    fn to_keep(&self, base: Base) -> Option<Base> {
        (!self.plan.appends()).then_some(base)
    }

    fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    fn id(&self) -> Uuid {
        self.services.clock.uuid()
    }

    /// Whether both sides hold rows that mean the same; asked only where it matters.
    async fn are_equal(&self, held: &Held, base: Option<Base>) -> bool {
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
    async fn converted(&self, to: Side, row: &Value) -> Result<Option<Map<String, Value>>, Failed> {
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

    fn event(&self, side: Side, row: &Value) -> Arc<Event> {
        let end = self.plan.end(side).unwrap_or(&self.plan.source);
        let metadata = Map::from_iter([("sync".to_owned(), json!(self.plan.tag))]);
        told(&self.plan.tenant, &self.plan.env, (&end.database, &end.table.name), row, metadata, self.cause.at)
    }

    async fn ask(&self, held: &Held) -> Result<Verdict, Failed> {
        let component = self.plan.sync().conflict.component.as_deref().unwrap_or_default();
        let shown = held.source.as_ref().or(held.target.as_ref()).unwrap_or(&Value::Null);
        let event = self.event(Side::Source, shown);
        let (source, target) = (held.source.as_ref(), held.target.as_ref());
        guests::resolve(self.services, component, &event, self.text, source, target).await
    }

    /// Both sides stay apart.
    async fn leave(&self, held: &Held, lost: Option<Reason>) -> Result<Applied, Failed> {
        let loss = lost.map(|reason| Loss { reason, side: Side::Source, winner: "target" });
        let conflicts = loss.map(|loss| self.conflict(held, loss)).into_iter().collect();
        if let Some(reason) = lost {
            let row = held.source.as_ref().unwrap_or(&Value::Null);
            let id = self.id();
            if let Some(entry) = self.entry(id, row, Side::Source, Side::Target, false, Some(reason))? {
                self.enter(&entry, id).await?;
            }
        }
        self.keep(Some(held.base()), conflicts).await?;
        Ok(Applied { lost, ..Applied::default() })
    }

    fn conflict(&self, held: &Held, loss: Loss) -> SyncConflict {
        let reason = match loss.reason {
            Reason::Conflict => "conflict",
            Reason::Stale => "stale",
        };
        let row = |side: Side| held.of(side).cloned().unwrap_or(Value::Null);
        SyncConflict {
            id: self.id(),
            key: self.text.to_owned(),
            at: self.now(),
            reason: reason.to_owned(),
            winner: loss.winner.to_owned(),
            loser: loss.side.as_str().to_owned(),
            lost: row(loss.side),
            won: row(loss.side.other()),
            resolved: None,
        }
    }

    /// Puts what the other side holds `to` this one. `None`: it has moved, and is to be read again.
    async fn copy(&self, held: &Held, to: Side, loss: Option<Loss>) -> Result<Option<Applied>, Failed> {
        let put = match held.of(to.other()) {
            None => None,
            Some(row) => match self.converted(to, row).await? {
                Some(put) => Some(put),
                // The component lets nothing through: the sides stay apart.
                None => return self.leave(held, None).await.map(Some),
            },
        };
        let losses = loss.into_iter().collect();
        self.write(held, to, put, losses, true).await
    }

    /// What a component made of both rows goes to both sides: to the source first.
    async fn merge(
        &self,
        held: &Held,
        base: Option<Base>,
        mut row: Map<String, Value>,
        merged: &mut Option<Base>,
    ) -> Result<Option<Applied>, Failed> {
        let source = &self.plan.source;
        row.retain(|name, _| source.columns.contains(name));
        row.extend(source.keys.iter().cloned().zip(self.key.iter().cloned()));
        let loss = |side| Loss { reason: Reason::Conflict, side, winner: "merged" };
        if !self.plan.rules.both_ways {
            let made = Value::Object(row);
            let put = self.converted(Side::Target, &made).await?;
            return self.write(held, Side::Target, put, vec![loss(Side::Target)], true).await;
        }
        let losses = vec![loss(Side::Source), loss(Side::Target)];
        if self.write(held, Side::Source, Some(row), losses, false).await?.is_some() {
            self.keep(base, Vec::new()).await?;
            let now = self.read().await?;
            if now.target == held.target {
                *merged = Some(now.base());
            }
        }
        Ok(None)
    }

    /// Writes one side, if it still holds what was read. `settles`: both sides agree then.
    async fn write(
        &self,
        held: &Held,
        to: Side,
        put: Option<Map<String, Value>>,
        losses: Vec<Loss>,
        settles: bool,
    ) -> Result<Option<Applied>, Failed> {
        let (plan, id) = (self.plan, self.id());
        let Some(end) = plan.end(to) else { return Ok(None) };
        let (from, deleted) = (to.other(), put.is_none());
        let last = self.cause.last.or(held.of(to)).unwrap_or(&Value::Null);
        let shown = held.of(from).unwrap_or(last);
        let lost = losses.first().map(|loss| loss.reason);
        let entry = if settles { self.entry(id, shown, from, to, deleted, lost)? } else { None };
        let audit = plan.sync().audit.as_ref();
        let (beside, elsewhere) = match (entry, audit) {
            (Some(entry), Some(audit)) if audit.database == end.database => (Some((audit.table.clone(), entry)), None),
            (entry, _) => (None, entry),
        };
        let conflicts: Vec<SyncConflict> = losses.iter().map(|loss| self.conflict(held, *loss)).collect();
        let before = held.base();
        let kept = parking_lot::Mutex::new(Base::default());
        let exchange = Exchange {
            table: &end.name,
            columns: &end.columns,
            keys: &end.keys,
            key: self.key,
            seen: held.of(to),
            put: put.as_ref(),
            origin: Some(&plan.origin),
            entry: beside.as_ref().map(|(table, row)| (table.as_str(), row)),
        };
        let (kept_there, elsewhere_there) = (&kept, elsewhere.clone());
        let about_to = move |now: Option<Value>| -> futures_util::future::BoxFuture<'_, Result<(), Failed>> {
            Box::pin(async move {
                let now = now.as_ref().map(values::version);
                let (after, was) = match to {
                    Side::Source => (Base { source: now, ..before }, before.source),
                    Side::Target => (Base { target: now, ..before }, before.target),
                };
                *kept_there.lock() = after;
                let lost = conflicts.iter().map(|conflict| conflict.id).collect();
                let intent = Intent { settles, lost, entry: elsewhere_there, ..Intent::new(id, to, was, after) };
                let intent = serde_json::to_value(intent).unwrap_or_default();
                let (tenant, tag) = (&plan.tenant, &plan.tag);
                let noted = self.services.store.sync_intend(tenant, tag, self.text, &intent, conflicts, self.now());
                noted.await.map_err(|error| Failed::of_store(&error))
            })
        };
        let done = self.services.databases.exchange(plan.name(&end.database), exchange, Box::new(about_to)).await?;
        if done == Exchanged::Moved {
            return Ok(None);
        }
        #[cfg(debug_assertions)]
        fault::after_commit().await;
        if let Some(entry) = &elsewhere {
            self.enter(entry, id).await?;
        }
        if settles {
            let base = *kept.lock();
            self.keep(self.to_keep(base), Vec::new()).await?;
        }
        Ok(Some(Applied { to: Some(to), deleted, lost, same: false }))
    }

    fn entry(
        &self,
        id: Uuid,
        row: &Value,
        from: Side,
        to: Side,
        deleted: bool,
        lost: Option<Reason>,
    ) -> Result<Option<Map<String, Value>>, Failed> {
        let (source_time, now) = (self.cause.at, self.now());
        audit::row(self.plan, &audit::Entry { id, key: self.key, row, from, to, deleted, lost, source_time, now })
    }

    async fn enter(&self, entry: &Map<String, Value>, id: Uuid) -> Result<(), Failed> {
        let Some(audit) = &self.plan.sync().audit else { return Ok(()) };
        let (name, delivery) = (self.plan.name(&audit.database), id.to_string());
        self.services.databases.enter(name, &audit.table, entry, &self.plan.origin, &delivery).await
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

/// What tests break on purpose.
#[cfg(debug_assertions)]
mod fault {
    /// Between the commit of the other database and the base's own record, for a test that kills the process there.
    pub(super) async fn after_commit() {
        if std::env::var_os("TRIGGERD_TEST_FAULT").is_some_and(|fault| fault == "hang-after-sync-commit") {
            std::future::pending::<()>().await;
        }
    }
}
