//! The outbox beside a backfill: what a page's snapshot sees of it is told of before the page.

use super::closed::{self, Keys};
use super::entry::{self, Entry};
use super::names::Names;
use crate::connections::sql::{Fault, Session};
use crate::sources::Captured;
use crate::sources::accept::{accept, events};
use crate::sources::backfill::{self, Beside};
use crate::sources::task::Task;

/// Entries that wait to be told of, with which pages are still read: with more, those come first.
const MAX_WAITING: usize = 2000;

/// An outbox that is being read.
pub(super) struct BesideOutbox<'o> {
    pub(super) task: &'o Task<'o>,
    pub(super) names: &'o Names,
    pub(super) keys: &'o mut Keys,
    /// The entries that are there may have been told of.
    pub(super) doubtful: &'o mut bool,
}

impl Beside for BesideOutbox<'_> {
    type Seen = Vec<Entry>;

    async fn look(&mut self, session: &mut Session) -> Result<Option<Vec<Entry>>, Fault> {
        let select = entry::select(session.engine(), self.names, MAX_WAITING + 1);
        let found = session.rows(&select, &[], MAX_WAITING).await?;
        if found.cut || found.count as usize > MAX_WAITING {
            return Ok(None);
        }
        Ok(Some(found.rows.iter().filter_map(|row| entry::read(row)).collect()))
    }

    async fn tell(&mut self, session: &mut Session, mut entries: Vec<Entry>) -> Result<bool, Fault> {
        let Task { app, place, stop, .. } = self.task;
        // The tables of a backfill that was begun just now are looked up before anything is told of.
        if app.sources.backfills.is_fresh(place) {
            return Ok(false);
        }
        let all = entries.len();
        entries.truncate(closed::prefix(session, self.names, self.keys, &entries).await?);
        let is_whole = entries.len() == all;
        if entries.is_empty() {
            return Ok(is_whole);
        }
        let changes: Vec<Captured> = entries.into_iter().map(|entry| entry.captured).collect();
        backfill::note(self.task, &changes).await?;
        let told = accept(app, place, events(app, place, changes), *self.doubtful, None, stop).await?;
        // They stay in the outbox until the reader comes to them, which knows them again then.
        *self.doubtful = true;
        Ok(told && is_whole)
    }
}
