//! The hot path's calls: rows are made here, in the callers' tasks, and given to a writer.

use tokio::sync::oneshot;

use super::super::open::closed;
use super::super::writer::Op;
use super::Store;
use crate::store::rows::{AppendRow, UpdateRow};
use crate::store::{Append, AppendOutcome, Error, RunUpdate};

impl Store {
    pub async fn append_batch(&self, appends: Vec<Append>) -> Result<Vec<AppendOutcome>, Error> {
        let rows = appends.into_iter().map(AppendRow::of).collect::<Result<Vec<_>, _>>()?;
        let (answer, done) = oneshot::channel();
        self.send(Op::Append { rows, answer }).await?;
        done.await.unwrap_or_else(|_| Err(closed()))
    }

    pub async fn record_many(&self, updates: Vec<RunUpdate>) -> Result<Vec<bool>, Error> {
        let rows = updates.into_iter().map(|u| UpdateRow::of(u, &self.clock)).collect::<Result<Vec<_>, _>>()?;
        let (answer, done) = oneshot::channel();
        self.send(Op::Record { rows, answer }).await?;
        done.await.unwrap_or_else(|_| Err(closed()))
    }
}
