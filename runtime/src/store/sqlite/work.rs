//! What the hot operations of one group come to, table by table, and which reports took effect.

use std::collections::{HashMap, HashSet};

use triggerd_core::id::{RunId, TenantId};

use super::rows::{AppendRow, RUN_BITS, UpdateRow};
use crate::store::{AppendOutcome, Idempotency, NewRun};

/// The rows of many operations.
#[derive(Default)]
pub(super) struct Work<'a> {
    pub(super) events: Vec<(i64, &'a AppendRow)>,
    pub(super) runs: Vec<(i64, &'a AppendRow, &'a NewRun)>,
    /// A second report on the same run waits for the next round: one statement changes a row once.
    pub(super) updates: Vec<Vec<&'a UpdateRow>>,
    /// In which round each update is, in the order they came.
    pub(super) places: Vec<(usize, RunId)>,
    seen: HashMap<RunId, usize>,
    /// The new answers of this group.
    keyed: HashMap<(&'a TenantId, &'a str), &'a Idempotency>,
}

impl<'a> Work<'a> {
    pub(super) fn add_appends(
        &mut self,
        rows: &'a [AppendRow],
        known: &HashMap<(TenantId, String), Idempotency>,
        keys: &mut Vec<(&'a TenantId, &'a Idempotency)>,
        next_seq: &mut i64,
    ) -> Vec<AppendOutcome> {
        let mut outcomes = Vec::with_capacity(rows.len());
        for row in rows {
            if row.follows && matches!(outcomes.last(), Some(AppendOutcome::Replayed(_) | AppendOutcome::Left)) {
                outcomes.push(AppendOutcome::Left);
                continue;
            }
            if let Some(answer) = &row.idempotency {
                let first = known.get(&(row.tenant.clone(), answer.key.clone()));
                let key = (&row.tenant, answer.key.as_str());
                if let Some(first) = first.or_else(|| self.keyed.get(&key).copied()) {
                    outcomes.push(AppendOutcome::Replayed(first.clone()));
                    continue;
                }
                self.keyed.insert(key, answer);
                keys.push((&row.tenant, answer));
            }
            let seq = *next_seq;
            *next_seq += 1;
            self.events.push((seq, row));
            self.runs.extend(row.runs.iter().enumerate().map(|(n, run)| ((seq << RUN_BITS) | n as i64, row, run)));
            outcomes.push(AppendOutcome::Kept);
        }
        outcomes
    }

    pub(super) fn add_updates(&mut self, rows: &'a [UpdateRow]) {
        for row in rows {
            let round = self.seen.entry(row.id).and_modify(|n| *n += 1).or_insert(0);
            if self.updates.len() == *round {
                self.updates.push(Vec::new());
            }
            self.updates[*round].push(row);
            self.places.push((*round, row.id));
        }
    }
}

/// Which updates took effect, by round.
#[derive(Default)]
pub(super) struct Applied(Vec<Option<HashSet<RunId>>>);

impl Applied {
    /// What took effect of a round of `asked` reports.
    pub(super) fn take(&mut self, ids: Vec<RunId>, asked: usize) {
        // Nearly always nobody is fenced, and there is nothing to look up.
        self.0.push(if ids.len() == asked { None } else { Some(ids.into_iter().collect()) });
    }

    pub(super) fn holds(&self, round: usize, id: RunId) -> bool {
        self.0.get(round).is_some_and(|ids| ids.as_ref().is_none_or(|ids| ids.contains(&id)))
    }
}
