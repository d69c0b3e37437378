//! What the hot operations of one group come to, table by table, and which reports took effect.

use std::collections::{HashMap, HashSet};

use triggerd_core::id::{RunId, TenantId};

use super::batch::{Kind, LARGEST_JOINED, Parameters, size_for};
use super::rows::{AppendRow, RUN_BITS, UpdateRow, bind_event, bind_run, bind_update};
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
            if let Some(answer) = &row.idempotency {
                let first = known.get(&(row.tenant.clone(), answer.key.clone()));
                let in_group = || keys.iter().find(|(t, i)| **t == row.tenant && i.key == answer.key).map(|(_, i)| *i);
                if let Some(first) = first.or_else(in_group) {
                    outcomes.push(AppendOutcome::Replayed(first.clone()));
                    continue;
                }
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

    /// The reports of one round alone.
    pub(super) fn round(&self, round: usize) -> Self {
        Self { updates: vec![self.updates[round].clone()], ..Self::default() }
    }

    /// The statements of one text that holds everything, where one can.
    pub(super) fn joined(&self) -> Option<Vec<(Kind, usize)>> {
        if self.updates.len() > 1 {
            return None;
        }
        let updates = self.updates.first().map_or(0, Vec::len);
        let counts = [(Kind::Events, self.events.len()), (Kind::Runs, self.runs.len()), (Kind::Updates, updates)];
        if counts.iter().any(|(_, n)| *n > LARGEST_JOINED) {
            return None;
        }
        Some(counts.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| (*kind, size_for(*n))).collect())
    }

    /// Binds up to `size` rows from `from` on; answers with how many there were.
    pub(super) fn bind(&self, kind: Kind, from: usize, size: usize, out: &mut Parameters) -> usize {
        match kind {
            Kind::Events => self.events[from..].iter().take(size).map(|(seq, row)| bind_event(row, *seq, out)).count(),
            Kind::Runs => self.runs[from..]
                .iter()
                .take(size)
                .map(|(seq, row, run)| bind_run(run, *seq, &row.tenant, row.accepted_at, row.accepted_at, out))
                .count(),
            Kind::Updates => self.updates[0][from..].iter().take(size).map(|row| bind_update(row, out)).count(),
        }
    }
}

/// Which updates took effect, by round.
#[derive(Default)]
pub(super) struct Applied(Vec<Option<HashSet<RunId>>>);

impl Applied {
    pub(super) fn take(&mut self, ids: Vec<RunId>, asked: Option<&Vec<&UpdateRow>>) {
        // Nearly always nobody is fenced, and there is nothing to look up.
        let all = asked.is_some_and(|rows| rows.len() == ids.len());
        self.0.push(if all { None } else { Some(ids.into_iter().collect()) });
    }

    pub(super) fn holds(&self, round: usize, id: RunId) -> bool {
        self.0.get(round).is_some_and(|ids| ids.as_ref().is_none_or(|ids| ids.contains(&id)))
    }
}
