//! Event filters as SQL.

use sqlx::QueryBuilder;
use triggerd_core::id::TenantId;

use super::Db;
use super::dialect::{DEAD, FAILED, RUNS_OF_E, UNFINISHED, kept};
use crate::store::{EventFilter, EventStatus};

/// `columns` of the tenant's dead letters, each a run `r` of an event `e`.
pub(in crate::store) fn dead(columns: &str, tenant: &TenantId, filter: &EventFilter) -> QueryBuilder<Db> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(columns).push(" FROM ").push(DEAD).push(" = ").push_bind(tenant.as_str().to_owned());
    if let Some(trigger) = &filter.trigger {
        sql.push(" AND r.trigger = ").push_bind(trigger.clone());
    }
    push(&mut sql, filter);
    sql
}

/// Appends what `filter` asks of `events AS e`, each condition after `AND`.
pub(in crate::store) fn push(sql: &mut QueryBuilder<Db>, filter: &EventFilter) {
    let texts = [("e.type", &filter.event_type), ("e.source", &filter.source), ("e.tbl", &filter.table)];
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            sql.push(" AND ").push(column).push(" = ").push_bind(kept(wanted).into_owned());
        }
    }
    if let Some(start) = filter.start {
        sql.push(" AND e.accepted_at >= ").push_bind(start.as_millisecond());
    }
    if let Some(end) = filter.end {
        sql.push(" AND e.accepted_at < ").push_bind(end.as_millisecond());
    }
    if let Some(status) = filter.status {
        sql.push(status_is(status));
    }
}

/// What a status asks of `events AS e`, after `AND`.
pub(in crate::store) fn status_is(status: EventStatus) -> String {
    let any = |with: &str| format!("EXISTS (SELECT 1 FROM {RUNS_OF_E} AND {with})");
    let (failed, unfinished) = (any(FAILED), any(UNFINISHED));
    match status {
        EventStatus::Unmatched => " AND e.run_count = 0".to_owned(),
        EventStatus::Failed => format!(" AND e.run_count > 0 AND {failed}"),
        EventStatus::Pending => format!(" AND e.run_count > 0 AND {unfinished} AND NOT {failed}"),
        EventStatus::Delivered => format!(" AND e.run_count > 0 AND NOT {unfinished} AND NOT {failed}"),
    }
}
