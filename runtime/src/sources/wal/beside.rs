//! The log beside a backfill: a page of rows is told of after all that its snapshot sees, and before all that it does not.
//!
//! The log is in the order of commits, and what a snapshot sees is nearly a beginning of it: a transaction whose commit is in
//! the log becomes visible a moment later. What the snapshot does not see is put by until the page is told of. The order of
//! each row's changes stays: who changes a row that another transaction has changed waits until that one is visible.

use std::time::Duration;

use super::reader::{keep, told_of_refused};
use super::sight::Sight;
use super::{Lsn, Stream};
use crate::connections::sql::{Fault, Session};
use crate::sources::Captured;
use crate::sources::backfill::{self, Beside};
use crate::sources::plan::Plan;
use crate::sources::task::Task;

/// Changes of one read.
const MAX_BATCH: usize = 1000;
/// Changes that are put by, at most: with more, those come first, and the page is read again.
const MAX_LATER: usize = 4 * MAX_BATCH;
/// A commit: only what is on the server's disk is sent, and reading alone may have written to the log (rows that are
/// tidied up on the way), which nobody has flushed.
const FLUSH: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'triggerd.page', '')::text";
/// The wait for the log, before and after it was asked to be flushed.
const WAIT: Duration = Duration::from_millis(20);
const LONG_WAIT: Duration = Duration::from_millis(200);

/// A stream, with what was put by of it.
pub(super) struct BesideLog<'l> {
    task: &'l Task<'l>,
    plan: &'l Plan,
    stream: &'l mut Stream,
    later: Vec<Captured>,
    /// How far was read beyond what may be confirmed, because of those.
    upto: Option<Lsn>,
}

impl<'l> BesideLog<'l> {
    pub(super) fn new(task: &'l Task<'l>, plan: &'l Plan, stream: &'l mut Stream) -> Self {
        Self { task, plan, stream, later: Vec::new(), upto: None }
    }

    /// Tells of what was put by; `false` where the end came first. To be called whatever became of the page.
    pub(super) async fn finish(mut self) -> Result<bool, Fault> {
        let later = std::mem::take(&mut self.later);
        self.take(later, self.upto).await
    }

    /// Keeps changes, and lets the server forget what is before `upto`.
    async fn take(&mut self, changes: Vec<Captured>, upto: Option<Lsn>) -> Result<bool, Fault> {
        backfill::note(self.task, &changes).await?;
        if !keep(self.task, self.plan, changes, false).await? {
            return Ok(false);
        }
        if let Some(upto) = upto {
            self.stream.confirm(upto).await?;
        }
        Ok(true)
    }
}

impl Beside for BesideLog<'_> {
    type Seen = Sight;

    async fn look(&mut self, session: &mut Session) -> Result<Option<Sight>, Fault> {
        Sight::take(session).await.map(Some)
    }

    async fn tell(&mut self, session: &mut Session, sight: Sight) -> Result<bool, Fault> {
        let mut flushed = false;
        loop {
            // The tables of a backfill that was begun just now are looked up before anything is told of.
            if self.task.stop.is_cancelled() || self.task.app.sources.backfills.is_fresh(self.task.place) {
                return Ok(false);
            }
            let batch = self.stream.next(MAX_BATCH, if flushed { LONG_WAIT } else { WAIT }).await?;
            let stands_still = batch.changes.is_empty() && batch.upto < sight.upto;
            told_of_refused(self.task, &batch.refused);
            let sees = |change: &Captured| sight.sees(change.transaction.as_deref());
            let (now, later): (Vec<_>, Vec<_>) = batch.changes.into_iter().partition(sees);
            self.later.extend(later);
            // What is put by has not been kept: the server must not forget it.
            let upto = Some(batch.upto);
            let safe = if self.later.is_empty() { upto } else { None };
            self.upto = if self.later.is_empty() { None } else { upto };
            if !self.take(now, safe).await? {
                return Ok(false);
            }
            if batch.upto >= sight.upto {
                return Ok(true);
            }
            if self.later.len() > MAX_LATER {
                return Ok(false);
            }
            if stands_still && !flushed {
                flushed = true;
                session.rows(FLUSH, &[], 1).await?;
            }
        }
    }
}
