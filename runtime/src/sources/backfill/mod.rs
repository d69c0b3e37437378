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
const KIND: &str = "backfill";

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

/// The backfills of all tenants.
#[derive(Default)]
pub struct Backfills(Mutex<BTreeMap<(TenantId, String), Arc<Backfill>>>);

impl Backfill {
    /// What it is remembered under: tags hold no slash.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.trigger, self.database, self.env)
    }
}

impl Backfills {
    /// Takes up what is stored.
    pub(super) async fn load(&self, app: &App) -> Result<(), store::Error> {
        for (tenant, key, value) in app.store.source_states(KIND).await? {
            match serde_json::from_value(value) {
                Ok(backfill) => drop(self.0.lock().insert((tenant, key), Arc::new(backfill))),
                Err(error) => tracing::error!(%tenant, "The backfill {key} cannot be read and is left alone: {error}"),
            }
        }
        Ok(())
    }

    /// Those of a trigger.
    #[must_use]
    pub fn of_trigger(&self, tenant: &TenantId, trigger: &str) -> Vec<Arc<Backfill>> {
        let all = self.0.lock();
        let own = all.iter().filter(|((of, _), backfill)| of == tenant && backfill.trigger == trigger);
        own.map(|(_, backfill)| backfill.clone()).collect()
    }

    /// Those that run in a database.
    #[must_use]
    pub(super) fn running(&self, place: &Place) -> Vec<Arc<Backfill>> {
        let all = self.0.lock();
        let here = all.iter().filter(|((tenant, _), backfill)| {
            *tenant == place.tenant && backfill.database == place.database && backfill.env == place.env
        });
        // A paused one still has to know what is told of meanwhile.
        let open = here.filter(|(_, backfill)| matches!(backfill.state, State::Running | State::Paused));
        open.map(|(_, backfill)| backfill.clone()).collect()
    }

    /// Whether one was begun in a database whose tables were not looked up yet.
    pub(super) fn is_fresh(&self, place: &Place) -> bool {
        self.running(place).iter().any(|backfill| backfill.tables.is_empty())
    }

    /// Keeps a backfill as it is now: in the store, then for those who ask.
    pub async fn keep(&self, app: &App, tenant: &TenantId, backfill: Backfill) -> Result<(), store::Error> {
        let (key, value) = (backfill.key(), serde_json::to_value(&backfill).unwrap_or(Value::Null));
        app.store.put_source_state(tenant, KIND, &key, &value, app.clock.now()).await?;
        self.0.lock().insert((tenant.clone(), key), Arc::new(backfill));
        Ok(())
    }

    /// Keeps how far a backfill has come, unless somebody has begun another one, paused or ended it meanwhile: then only how
    /// far it has come is taken over.
    pub(super) async fn advance(&self, app: &App, tenant: &TenantId, next: Backfill) -> Result<(), store::Error> {
        let known = self.0.lock().get(&(tenant.clone(), next.key())).cloned();
        let Some(known) = known.filter(|known| known.id == next.id) else { return Ok(()) };
        let state = if known.state == State::Running { next.state } else { known.state };
        self.keep(app, tenant, Backfill { state, rate: known.rate, ..next }).await
    }

    /// Ends a backfill and forgets it.
    pub async fn remove(&self, app: &App, tenant: &TenantId, backfill: &Backfill) -> Result<(), store::Error> {
        app.store.backfill_forget(tenant, &backfill.id).await?;
        app.store.delete_source_state(tenant, KIND, &backfill.key()).await?;
        self.0.lock().remove(&(tenant.clone(), backfill.key()));
        Ok(())
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
