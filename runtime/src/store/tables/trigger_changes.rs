//! Changes of trigger definitions: many in one transaction, with a few statements for all of them.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::dialect::WANTED;
use super::triggers::{decode, wanted};
use super::{Connection, Store, all_changed, audit, rows};
use crate::store::{AuditEntry, ChangeKind, Error, PutMode, PutOutcome, StoredTrigger, TriggerChange};

impl Store {
    pub async fn change_triggers(&self, changes: Vec<TriggerChange>) -> Result<Vec<PutOutcome>, Error> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let witnesses: Vec<_> = changes.iter().map(|change| change.witness.clone()).collect();
        let outcomes = self.write_change(move |conn| {
            Box::pin(async move {
                let named: Vec<_> = changes.iter().map(|change| (&change.tenant, change.tag.as_str())).collect();
                all_changed(conn, ChangeKind::Trigger, &named).await?;
                let latest = latest(conn, &named).await?;
                let outcomes: Vec<_> = changes.iter().map(|change| outcome(change, &latest)).collect();
                let done: Vec<_> = changes.iter().zip(&outcomes).collect();
                end(conn, &done).await?;
                insert(conn, &done).await?;
                let told = done.iter().filter_map(|(change, outcome)| told(change, outcome, &latest)).collect();
                audit::keep(conn, told).await?;
                Ok(outcomes)
            })
        });
        let outcomes = outcomes.await?;
        for (witness, outcome) in witnesses.iter().zip(&outcomes) {
            // Of what changes nothing no entry was kept: that is left to whoever asked for it.
            if let (Some(witness), true) = (witness, changes_something(outcome)) {
                witness.kept();
            }
        }
        Ok(outcomes)
    }
}

/// The latest version of a trigger, and whether it is in force.
type Latest = HashMap<(TenantId, String), (StoredTrigger, bool)>;

async fn latest(conn: &mut Connection, named: &[(&TenantId, &str)]) -> Result<Latest, Error> {
    let sql = format!(
        "{WANTED} SELECT t.tenant, t.tag, t.version, definition, stored_at, created_at, ended_at \
         FROM wanted w CROSS JOIN trigger_versions t WHERE t.tenant = w.tenant AND t.tag = w.tag AND t.version = \
         (SELECT max(m.version) FROM trigger_versions m WHERE m.tenant = w.tenant AND m.tag = w.tag)"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(wanted(named.iter().copied()));
    let mut latest = HashMap::with_capacity(named.len());
    for row in query.fetch_all(conn).await? {
        let stored = decode(&row)?;
        let in_force = row.try_get::<Option<i64>, _>("ended_at")?.is_none();
        latest.insert((stored.tenant.clone(), stored.tag.clone()), (stored, in_force));
    }
    Ok(latest)
}

/// What becomes of a change, by what is there.
fn outcome(change: &TriggerChange, latest: &Latest) -> PutOutcome {
    let found = latest.get(&(change.tenant.clone(), change.tag.clone()));
    let live = found.filter(|(_, in_force)| *in_force).map(|(stored, _)| stored);
    let next = |definition: &Value, created_at: Timestamp| StoredTrigger {
        tenant: change.tenant.clone(),
        tag: change.tag.clone(),
        version: found.map_or(0, |(stored, _)| stored.version) + 1,
        definition: definition.clone(),
        stored_at: change.now,
        created_at,
    };
    match (&change.definition, live) {
        (None, Some(_)) => PutOutcome::Deleted,
        (None, None) => PutOutcome::Absent,
        (Some((definition, _)), None) => PutOutcome::Created(next(definition, change.now)),
        (Some((_, PutMode::Create)), Some(_)) => PutOutcome::Exists,
        (Some((definition, _)), Some(live)) if live.definition == *definition => PutOutcome::Unchanged(live.clone()),
        (Some((definition, _)), Some(live)) => PutOutcome::Replaced(next(definition, live.created_at)),
    }
}

fn changes_something(outcome: &PutOutcome) -> bool {
    matches!(outcome, PutOutcome::Created(_) | PutOutcome::Replaced(_) | PutOutcome::Deleted)
}

/// The entry that tells of a change, with the versions before and after it.
fn told(change: &TriggerChange, outcome: &PutOutcome, latest: &Latest) -> Option<AuditEntry> {
    let mut entry = change.witness.as_ref().filter(|_| changes_something(outcome))?.entry()?;
    let found = latest.get(&(change.tenant.clone(), change.tag.clone()));
    let live = found.filter(|(_, in_force)| *in_force).map(|(stored, _)| stored.version);
    entry.before = live.map(|version| json!({"trigger": change.tag, "version": version}));
    entry.after = match outcome {
        PutOutcome::Created(stored) | PutOutcome::Replaced(stored) => {
            Some(json!({"trigger": change.tag, "version": stored.version}))
        }
        _ => None,
    };
    Some(entry)
}

/// Ends the versions in force of those that are replaced or deleted.
async fn end(conn: &mut Connection, done: &[(&TriggerChange, &PutOutcome)]) -> Result<(), Error> {
    let ends = |outcome: &PutOutcome| matches!(outcome, PutOutcome::Replaced(_) | PutOutcome::Deleted);
    let ended: Vec<_> = done.iter().filter(|(_, outcome)| ends(outcome)).map(|(change, _)| change).collect();
    if ended.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "WITH ended (tenant, tag, moment) AS (VALUES {}) UPDATE trigger_versions SET ended_at = ended.moment FROM ended \
         WHERE trigger_versions.tenant = ended.tenant AND trigger_versions.tag = ended.tag AND ended_at IS NULL",
        rows(ended.len(), 3),
    );
    // Its text differs with the number of rows: kept prepared it would push others out. Only within a transaction, since
    // behind a pooler what is not kept is gone with it.
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for change in ended {
        query = query.bind(change.tenant.as_str()).bind(&change.tag).bind(change.now.as_millisecond());
    }
    query.execute(conn).await?;
    Ok(())
}

/// Keeps the new versions.
async fn insert(conn: &mut Connection, done: &[(&TriggerChange, &PutOutcome)]) -> Result<(), Error> {
    let new: Vec<_> = done
        .iter()
        .filter_map(|(_, outcome)| match outcome {
            PutOutcome::Created(stored) | PutOutcome::Replaced(stored) => Some(stored),
            _ => None,
        })
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO trigger_versions (tenant, tag, version, definition, stored_at, created_at) VALUES {}",
        rows(new.len(), 6)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for stored in new {
        query = query
            .bind(stored.tenant.as_str())
            .bind(&stored.tag)
            .bind(i64::from(stored.version))
            .bind(stored.definition.to_string())
            .bind(stored.stored_at.as_millisecond())
            .bind(stored.created_at.as_millisecond());
    }
    query.execute(conn).await?;
    Ok(())
}
