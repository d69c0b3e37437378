//! What was decided, done: one side written if it still is what it was, with the mark, the audit's entry, and a note in the
//! store of what is under way.

use serde_json::{Map, Value};
use triggerd_core::sync::{Base, Reason, Side};
use uuid::Uuid;

use super::intent::Intent;
use super::row::{Held, Loss, Row};
use super::{Applied, audit, values};
use crate::databases::{Exchange, Exchanged};
use crate::failed::Failed;
use crate::store::SyncConflict;

impl Row<'_> {
    /// Both sides stay apart.
    pub(super) async fn leave(&self, held: &Held, lost: Option<Reason>) -> Result<Applied, Failed> {
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

    pub(super) fn conflict(&self, held: &Held, loss: Loss) -> SyncConflict {
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
    pub(super) async fn copy(&self, held: &Held, to: Side, loss: Option<Loss>) -> Result<Option<Applied>, Failed> {
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
    pub(super) async fn merge(
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
    pub(super) async fn write(
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

    pub(super) fn entry(
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

    pub(super) async fn enter(&self, entry: &Map<String, Value>, id: Uuid) -> Result<(), Failed> {
        let Some(audit) = &self.plan.sync().audit else { return Ok(()) };
        let (name, delivery) = (self.plan.name(&audit.database), id.to_string());
        self.services.databases.enter(name, &audit.table, entry, &self.plan.origin, &delivery).await
    }
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
