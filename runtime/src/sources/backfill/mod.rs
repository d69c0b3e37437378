//! Running a trigger over the rows that exist, beside the live capture: each row once, and those that are inserted meanwhile by
//! the capture alone.
//!
//! The task that captures a database also backfills it, a page after each look at what is new, so that the two never
//! overtake one another. A page is told of after every change that its snapshot sees and before every one that it does not
//! ([`Beside`]): an older state of a row never follows a newer one. Rows whose inserts the trigger was told of, before the
//! backfill began or since, are left out. Rows come in the order of their primary keys, as changes of the operation insert
//! with `metadata.backfill`, and are matched with that one trigger alone.

mod before;
mod beside;
mod pace;
mod page;
mod step;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use triggerd_core::id::TenantId;

use super::Place;
use super::change::digest;
use crate::app::App;
use crate::store::{self, RowDigest};

pub(super) use beside::Beside;
pub(super) use pace::Pace;
pub(super) use step::{note, prepare, step};

/// What sources remember of backfills, by `TRIGGER/DATABASE/ENV`.
pub(super) const KIND: &str = "backfill";

/// A trigger that is run over the rows of a database.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Backfill {
    /// Names it among all of its trigger: another one over the same rows tells of them again.
    pub id: String,
    /// The trigger's tag.
    pub trigger: String,
    /// The database's tag.
    pub database: String,
    /// The environment.
    pub env: String,
    /// Where it stands.
    pub state: State,
    /// Rows a second; as fast as they are taken without.
    pub rate: Option<u32>,
    /// Also over rows that the trigger was told of before it began.
    #[serde(default)]
    pub again: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The tables; empty until the database was asked.
    pub tables: Vec<Progress>,
    /// Up to where it was read what the trigger was told of before, an event's time and number; `None` once all was.
    #[serde(default)]
    pub history: Option<(i64, i64)>,
    /// Why it failed, or waits before it goes on.
    pub problem: Option<String>,
}

/// Where a backfill stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Rows are read.
    Running,
    /// It waits to be resumed.
    Paused,
    /// All rows were read.
    Done,
    /// It cannot go on.
    Failed,
}

/// How far a table was read.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Progress {
    /// Its schema, where that is not the connection's own.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// The columns of its primary key.
    pub key: Vec<String>,
    /// The key of the last row that was read, as texts.
    pub after: Option<Vec<String>>,
    /// All rows were read.
    pub done: bool,
    /// Rows that were handed to the trigger.
    pub rows: u64,
    /// Rows that were left out, because the capture tells of them.
    pub left_out: u64,
}

/// The backfills of all tenants, as the store last said. Other nodes begin, pause and end them too.
#[derive(Default)]
pub struct Backfills {
    known: Mutex<BTreeMap<(TenantId, String), Arc<Backfill>>>,
    /// Held from a look into the store until it is taken over, or what was seen last might not be what is known last.
    changing: tokio::sync::Mutex<()>,
}

impl State {
    /// Whether it is under way. A paused one still has to know what is told of meanwhile.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl Backfill {
    /// What it is remembered under: tags hold no slash.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.trigger, self.database, self.env)
    }
}

impl Backfills {
    /// Takes up what is stored, and that alone.
    pub(crate) async fn load(&self, app: &App) -> Result<(), store::Error> {
        let _alone = self.changing.lock().await;
        let stored = app.store.source_states(KIND).await?.into_iter().filter_map(|(tenant, key, value)| {
            let backfill = read(&tenant, &key, &value)?;
            Some(((tenant, key), Arc::new(backfill)))
        });
        *self.known.lock() = stored.collect();
        Ok(())
    }

    /// Takes up what another node has made of one; where its database is.
    pub(super) async fn refresh(&self, app: &App, tenant: &TenantId, key: &str) -> Result<Option<Place>, store::Error> {
        let _alone = self.changing.lock().await;
        let stored = app.store.source_state(tenant, KIND, key).await?;
        self.take(tenant, key, stored.and_then(|value| read(tenant, key, &value)));
        let mut parts = key.split('/').skip(1);
        let (Some(database), Some(env)) = (parts.next(), parts.next()) else { return Ok(None) };
        Ok(Some(Place { tenant: tenant.clone(), database: database.to_owned(), env: env.to_owned() }))
    }

    /// Those of a trigger, whichever node reads their databases.
    pub async fn of_trigger(app: &App, tenant: &TenantId, trigger: &str) -> Result<Vec<Backfill>, store::Error> {
        let stored = app.store.source_states_of(tenant, KIND).await?.into_iter();
        let own = stored.filter_map(|(key, value)| read(tenant, &key, &value));
        Ok(own.filter(|backfill| backfill.trigger == trigger).collect())
    }

    /// Those that are under way in a database that this node reads.
    #[must_use]
    pub(super) fn running(&self, place: &Place) -> Vec<Arc<Backfill>> {
        let all = self.known.lock();
        let here = all.iter().filter(|((tenant, _), backfill)| {
            *tenant == place.tenant && backfill.database == place.database && backfill.env == place.env
        });
        here.filter(|(_, backfill)| backfill.state.is_open()).map(|(_, backfill)| backfill.clone()).collect()
    }

    /// Whether one was begun in a database whose tables were not looked up yet.
    pub(super) fn is_fresh(&self, place: &Place) -> bool {
        self.running(place).iter().any(|backfill| backfill.tables.is_empty())
    }

    /// Begins a backfill; `false` where one is under way.
    pub async fn begin(&self, app: &App, tenant: &TenantId, new: &Backfill) -> Result<bool, store::Error> {
        let begun = self.change(app, tenant, new.key(), true, |known| match known {
            Some(known) if known.state.is_open() => Some(known.clone()),
            _ => Some(new.clone()),
        });
        Ok(begun.await?.is_some_and(|kept| kept.id == new.id))
    }

    /// Turns a backfill from one state to another, where it is in that one.
    pub async fn turn(
        &self,
        app: &App,
        tenant: &TenantId,
        backfill: &Backfill,
        (from, to): (State, State),
    ) -> Result<(), store::Error> {
        let turned = self.change(app, tenant, backfill.key(), true, |known| match known {
            Some(known) if known.id == backfill.id && known.state == from => {
                Some(Backfill { state: to, ..known.clone() })
            }
            other => other.cloned(),
        });
        turned.await.map(drop)
    }

    /// Keeps how far a backfill has come that was like `from`, unless somebody has begun another one or ended it meanwhile. One
    /// that was paused meanwhile stays so, unless it is over. Answers with what is kept.
    pub(super) async fn advance(
        &self,
        app: &App,
        tenant: &TenantId,
        from: &Backfill,
        next: &Backfill,
    ) -> Result<Option<Backfill>, store::Error> {
        let advanced = self.change(app, tenant, next.key(), false, |known| match known {
            // Who has read the same page on another node was first.
            Some(known) if known.id == next.id && known.state.is_open() && known.tables == from.tables => {
                let state = if next.state == State::Running { known.state } else { next.state };
                Some(Backfill { state, rate: known.rate, ..next.clone() })
            }
            other => other.cloned(),
        });
        advanced.await
    }

    /// Ends a backfill and forgets it.
    pub async fn remove(&self, app: &App, tenant: &TenantId, backfill: &Backfill) -> Result<(), store::Error> {
        let removed = self.change(app, tenant, backfill.key(), true, |known| match known {
            Some(known) if known.id == backfill.id => None,
            other => other.cloned(),
        });
        removed.await?;
        app.store.backfill_forget(tenant, &backfill.id).await
    }

    /// Makes of what is stored what `next` says, and takes that over; `None` is one that there is not. `tell`: other nodes are told.
    async fn change(
        &self,
        app: &App,
        tenant: &TenantId,
        key: String,
        tell: bool,
        next: impl Fn(Option<&Backfill>) -> Option<Backfill> + Send,
    ) -> Result<Option<Backfill>, store::Error> {
        let _alone = self.changing.lock().await;
        loop {
            let stored = app.store.source_state(tenant, KIND, &key).await?;
            let known = stored.as_ref().and_then(|value| read(tenant, &key, value));
            let next = next(known.as_ref());
            if next != known {
                let value = next.as_ref().map(|next| serde_json::to_value(next).unwrap_or(Value::Null));
                let (now, old) = (app.clock.now(), stored.as_ref());
                if !app.store.swap_source_state(tenant, KIND, &key, old, value.as_ref(), tell, now).await? {
                    // Another node was faster.
                    continue;
                }
            }
            self.take(tenant, &key, next.clone());
            return Ok(next);
        }
    }

    fn take(&self, tenant: &TenantId, key: &str, backfill: Option<Backfill>) {
        let (mut known, key) = (self.known.lock(), (tenant.clone(), key.to_owned()));
        match backfill {
            Some(backfill) => known.insert(key, Arc::new(backfill)),
            None => known.remove(&key),
        };
    }
}

fn read(tenant: &TenantId, key: &str, value: &Value) -> Option<Backfill> {
    match Backfill::deserialize(value) {
        Ok(backfill) => Some(backfill),
        Err(error) => {
            tracing::error!(%tenant, "The backfill {key} cannot be read and is left alone: {error}");
            None
        }
    }
}

impl Progress {
    /// Names a row of the table by its key; `None` where the row does not have all of it.
    fn digest(&self, row: &Value) -> Option<RowDigest> {
        let key: Option<Vec<String>> = self.key.iter().map(|column| row.get(column).map(Value::to_string)).collect();
        let key = key?;
        let table = [self.schema.as_deref().unwrap_or_default(), &self.name];
        let mut named = RowDigest::default();
        named.copy_from_slice(&digest(table.into_iter().chain(key.iter().map(String::as_str)))[..16]);
        Some(named)
    }

    fn is(&self, schema: Option<&str>, name: &str) -> bool {
        self.schema.as_deref() == schema && self.name == name
    }
}
