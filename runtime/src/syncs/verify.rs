//! Everything compared, row by row, a page at a time: what differs is told, and put right where that is wanted.
//!
//! Each page of one table is looked up in the other by key, so that it does not matter how the two of them order texts. What
//! seems to differ is looked at once more, alone: it may have been on its way.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use triggerd_core::id::{DeliveryId, RunId};
use triggerd_core::sync::{Base, Side};

use super::apply::{Cause, look_after, mean_the_same};
use super::mapping::told;
use super::plan::{End, Plan};
use super::{http, values};
use crate::actions::{Context, Services};
use crate::failed::Failed;

/// Rows that are compared at once.
const PAGE: usize = 250;
/// Keys that a report names of each sort.
const SHOWN: usize = 20;

/// What came of it.
#[derive(Clone, Default, Serialize, Debug)]
pub struct Report {
    /// Rows that were looked at.
    pub compared: u64,
    /// Those that mean the same on both sides.
    pub same: u64,
    /// Those that do not.
    pub differing: u64,
    /// Those that only the source has.
    pub only_source: u64,
    /// Those that only the target has.
    pub only_target: u64,
    /// Those that were put right.
    pub repaired: u64,
    /// Those that could not be.
    pub failed: u64,
    /// Some keys of rows that differed, that were on one side only, and that failed, with the reason.
    pub examples: Vec<Example>,
}

/// A row that is not the same on both sides, or that is and could not be noted.
#[derive(Clone, Serialize, Debug)]
pub struct Example {
    /// Its key: a JSON array of texts.
    pub key: String,
    /// `differing`, `only_source` or `only_target`; with an error also `same`, and `unread` where it could not be read alone.
    pub found: &'static str,
    /// Why it could not be read, put right or noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Report {
    /// The numbers alone, which are told while it goes on.
    #[must_use]
    pub fn counts(&self) -> Self {
        Self { examples: Vec::new(), ..self.clone() }
    }

    fn fails(&mut self, key: &str, found: &'static str, error: String) {
        self.failed += 1;
        self.shows(key, found, Some(error));
    }

    fn shows(&mut self, key: &str, found: &'static str, error: Option<String>) {
        if self.examples.len() < SHOWN || error.is_some() && self.examples.len() < SHOWN * 2 {
            self.examples.push(Example { key: key.to_owned(), found, error });
        }
    }
}

/// Compares everything; `repair` puts right what differs. `seen` is told how far it is after each page.
pub async fn verify(
    services: &Arc<Services>,
    plan: &Plan,
    repair: bool,
    seen: &watch::Sender<Report>,
) -> Result<Report, Failed> {
    let cx = context(services, plan);
    let work = Work { services, plan, repair, cx: &cx, seen };
    let mut report = Report::default();
    work.walk(Side::Source, &mut report).await?;
    if plan.target.is_some() {
        work.walk(Side::Target, &mut report).await?;
    }
    Ok(report)
}

struct Work<'w> {
    services: &'w Arc<Services>,
    plan: &'w Plan,
    repair: bool,
    cx: &'w Context,
    seen: &'w watch::Sender<Report>,
}

impl Work<'_> {
    /// Walks one table. The second time only rows count that the other one has not.
    async fn walk(&self, side: Side, report: &mut Report) -> Result<(), Failed> {
        let Some(end) = self.plan.end(side) else { return Ok(()) };
        let (name, mut after) = (self.plan.name(&end.database), None::<Vec<Value>>);
        loop {
            let databases = &self.services.databases;
            let rows = databases.page(name, &end.name, &end.columns, &end.keys, after.as_deref(), PAGE).await?;
            let keys: Vec<Vec<Value>> = rows.iter().filter_map(|row| end.key_of(row)).collect();
            let others = self.others(side.other(), &keys).await?;
            let texts: Vec<String> = keys.iter().map(|key| self.plan.key_text(key)).collect();
            let kept = self.services.store.sync_rows(&self.plan.tenant, &self.plan.tag, &texts).await;
            let kept = kept.map_err(|error| Failed::of_store(&error))?;
            for ((row, key), text) in rows.iter().zip(&keys).zip(&texts) {
                let other = others.iter().find(|(known, _)| known == text).map(|(_, row)| row);
                if side == Side::Target && other.is_some() {
                    continue;
                }
                let base = kept.get(text).and_then(|row| row.base);
                report.compared += 1;
                self.compare(side, key, text, row, other, base, report).await;
            }
            self.seen.send_replace(report.counts());
            // A short page is the last one.
            if rows.len() < PAGE {
                return Ok(());
            }
            after = rows.last().and_then(|row| end.key_of(row));
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn others(&self, side: Side, keys: &[Vec<Value>]) -> Result<Vec<(String, Value)>, Failed> {
        let Some(end) = self.plan.end(side) else { return Ok(Vec::new()) };
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let name = self.plan.name(&end.database);
        let rows = self.services.databases.rows(name, &end.name, &end.columns, &end.keys, keys).await?;
        Ok(rows.into_iter().filter_map(|row| Some((self.plan.key_text(&end.key_of(&row)?), row))).collect())
    }

    #[expect(clippy::too_many_arguments, reason = "a row, what is known of it, and where it is told")]
    async fn compare(
        &self,
        side: Side,
        key: &[Value],
        text: &str,
        row: &Value,
        other: Option<&Value>,
        base: Option<Base>,
        report: &mut Report,
    ) {
        if self.is_same(side, key, row, other, base).await {
            report.same += 1;
            if !self.plan.appends() && base.is_none() && self.repair && self.plan.target.is_some() {
                // Known from now on, so that a deletion is told from a row that never was.
                if let Err(error) = self.put_right(key, report).await {
                    report.fails(text, "same", error);
                }
            }
            return;
        }
        // Once more, alone and from both sides: what was on its way has arrived.
        let (now, then) = match self.again(side, key).await {
            Ok(both) => both,
            Err(failed) => {
                // Not known to differ, nor to be the same.
                return report.fails(text, "unread", failed.failure.message);
            }
        };
        let still = match &now {
            Some(now) => !self.is_same(side, key, now, then.as_ref(), self.base_of(text).await).await,
            None => then.is_some(),
        };
        if !still {
            report.same += 1;
            return;
        }
        let found = match (side, now.is_some(), then.is_some()) {
            (_, true, true) => "differing",
            (Side::Source, true, _) | (Side::Target, false, _) => "only_source",
            _ => "only_target",
        };
        match found {
            "differing" => report.differing += 1,
            "only_source" => report.only_source += 1,
            _ => report.only_target += 1,
        }
        match if self.repair { self.put_right(key, report).await } else { Ok(()) } {
            Ok(()) => report.shows(text, found, None),
            Err(error) => report.fails(text, found, error),
        }
    }

    async fn put_right(&self, key: &[Value], report: &mut Report) -> Result<(), String> {
        // Each row has time of its own.
        let cx = Context { deadline: Instant::now() + http::PATIENCE, ..self.cx.clone() };
        let cause = Cause { cx: &cx, ..self.cause() };
        match look_after(self.services, self.plan, key, &cause).await {
            Ok(applied) => {
                if applied.to.is_some() {
                    report.repaired += 1;
                }
                Ok(())
            }
            Err(failed) => Err(failed.failure.message),
        }
    }

    fn cause(&self) -> Cause<'_> {
        Cause { at: self.services.clock.now(), deleted: None, last: None, patient: false, repair: true, cx: self.cx }
    }

    async fn base_of(&self, text: &str) -> Option<Base> {
        self.services.store.sync_row(&self.plan.tenant, &self.plan.tag, text).await.ok()?.base
    }

    async fn again(&self, side: Side, key: &[Value]) -> Result<(Option<Value>, Option<Value>), Failed> {
        let read = async |end: Option<&End>| -> Result<Option<Value>, Failed> {
            let Some(end) = end else { return Ok(None) };
            let (name, wanted) = (self.plan.name(&end.database), [key.to_vec()]);
            let rows = self.services.databases.rows(name, &end.name, &end.columns, &end.keys, &wanted).await?;
            Ok(rows.into_iter().next())
        };
        Ok((read(self.plan.end(side)).await?, read(self.plan.end(side.other())).await?))
    }

    /// Whether both sides are at rest with each other.
    async fn is_same(&self, side: Side, key: &[Value], row: &Value, other: Option<&Value>, base: Option<Base>) -> bool {
        let version = Some(values::version(row));
        if self.plan.target.is_none() {
            return base.is_some_and(|base| base.source == version);
        }
        let Some(other) = other else { return false };
        if self.plan.appends() {
            return true;
        }
        let (source, target) = if side == Side::Source { (row, other) } else { (other, row) };
        let here = Base { source: Some(values::version(source)), target: Some(values::version(target)) };
        // What was settled is at rest, also where a type keeps less than the other one; what was left apart is not.
        let settled = base == Some(here) && self.plan.rules.both_ways;
        settled || mean_the_same(self.services, self.plan, key, &self.cause(), source, target).await
    }
}

/// An attempt that no run made.
fn context(services: &Arc<Services>, plan: &Plan) -> Context {
    let run_id = RunId(services.clock.uuid());
    let end = &plan.source;
    let now = services.clock.now();
    let event = told(&plan.tenant, &plan.env, (&end.database, &end.table.name), &Value::Null, Default::default(), now);
    let names = (Arc::from(plan.origin.as_str()), Arc::from("verify"));
    Context {
        delivery_id: DeliveryId(run_id.0),
        ..Context::apart(services.clone(), event, run_id, names, http::PATIENCE)
    }
}
