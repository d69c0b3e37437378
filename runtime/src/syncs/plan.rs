//! A sync's settings, seen beside the tables that they are about.

use std::sync::Arc;

use serde_json::Value;
use triggerd_core::event::DEFAULT_ENV;
use triggerd_core::id::TenantId;
use triggerd_core::sync::{Policy, Rules, Side};

use super::mapping::{Mapping, invalid};
use super::values;
use crate::actions::Services;
use crate::databases::{Name, Table};
use crate::failed::Failed;
use crate::resources::{Resolved, SyncMode, SyncPolicy, SyncSettings};

/// A sync that is ready to work.
pub struct Plan {
    /// Whose.
    pub tenant: TenantId,
    /// Its tag.
    pub tag: String,
    /// What its own writes are marked with.
    pub origin: String,
    /// The environment whose databases are meant.
    pub env: String,
    /// The settings.
    pub settings: Arc<Resolved<SyncSettings>>,
    /// The one table.
    pub source: End,
    /// The other one; `None` for an HTTP API.
    pub target: Option<End>,
    /// The columns.
    pub mapping: Mapping,
    /// How rows are decided on.
    pub rules: Rules,
}

/// One table of a sync.
pub struct End {
    /// The database's tag.
    pub database: String,
    /// As the settings name it.
    pub name: String,
    /// As the database has it.
    pub table: Arc<Table>,
    /// The columns that are kept equal.
    pub columns: Vec<String>,
    /// Those that tell rows apart, in the same order on both sides.
    pub keys: Vec<String>,
    /// The one that says when a row was changed.
    pub by: Option<String>,
}

impl Plan {
    /// Asks the databases what the settings come to.
    pub async fn make(
        services: &Services,
        tenant: &TenantId,
        tag: &str,
        settings: Arc<Resolved<SyncSettings>>,
    ) -> Result<Self, Failed> {
        let sync = &settings.settings;
        let env = sync.env.clone().unwrap_or_else(|| DEFAULT_ENV.to_owned());
        let name = |tag| Name { tenant, env: &env, tag };
        let source = services.databases.table(name(&sync.source.database), &sync.source.table).await?;
        let other = sync.target_table();
        let target = match &other {
            Some(other) => Some(services.databases.table(name(&other.database), &other.table).await?),
            None => None,
        };
        let keys = keys(sync, &source)?;
        let mapping = Mapping::of(sync.columns.as_ref(), &keys, &source, target.as_deref())?;
        let by = sync.conflict.by.clone();
        if let Some(by) = by.as_ref().filter(|by| mapping.target_name(by).is_none()) {
            return Err(invalid(format!("/conflict/by: `{by}` is none of the columns that are kept equal")));
        }
        let target_names = |names: &[String]| -> Vec<String> {
            names.iter().filter_map(|name| mapping.target_name(name).map(str::to_owned)).collect()
        };
        let target = other.zip(target).map(|(other, table)| End {
            database: other.database,
            name: other.table,
            table,
            columns: mapping.names(Side::Target),
            keys: target_names(&keys),
            by: by.as_ref().and_then(|by| mapping.target_name(by)).map(str::to_owned),
        });
        let source = End {
            database: sync.source.database.clone(),
            name: sync.source.table.clone(),
            table: source,
            columns: mapping.names(Side::Source),
            keys,
            by,
        };
        let rules = rules(sync);
        let (tenant, tag) = (tenant.clone(), tag.to_owned());
        Ok(Self { origin: super::origin(&tag), tenant, tag, env, source, target, mapping, rules, settings })
    }

    /// The settings.
    #[must_use]
    pub fn sync(&self) -> &SyncSettings {
        &self.settings.settings
    }

    /// New rows alone.
    #[must_use]
    pub fn appends(&self) -> bool {
        self.sync().mode == SyncMode::Append
    }

    /// The table of a side, where it is one.
    #[must_use]
    pub fn end(&self, side: Side) -> Option<&End> {
        match side {
            Side::Source => Some(&self.source),
            Side::Target => self.target.as_ref(),
        }
    }

    /// A database of this sync.
    #[must_use]
    pub fn name<'a>(&'a self, tag: &'a str) -> Name<'a> {
        Name { tenant: &self.tenant, env: &self.env, tag }
    }

    /// A row's key, as it is kept and shown: the same from either side.
    #[must_use]
    pub fn key_text(&self, key: &[Value]) -> String {
        let kinds = self.source.keys.iter().map(|name| self.source.table.column(name));
        let parts = kinds.zip(key).map(|(column, value)| match column {
            Some(column) => values::key_text(&column.kind, value),
            None => value.to_string(),
        });
        Value::from(parts.collect::<Vec<String>>()).to_string()
    }

    /// `SOURCE_to_TARGET`, or the other way round.
    #[must_use]
    pub fn direction(&self, to: Side) -> String {
        let target = self.target.as_ref();
        let same = target.is_some_and(|target| target.database == self.source.database);
        let of = |end: &End| if same { end.name.clone() } else { end.database.clone() };
        let (source, target) = (of(&self.source), target.map_or_else(|| "http".to_owned(), of));
        match to {
            Side::Target => format!("{source}_to_{target}"),
            Side::Source => format!("{target}_to_{source}"),
        }
    }
}

impl End {
    /// The key of a row; `None` where a part of it is missing.
    #[must_use]
    pub fn key_of(&self, row: &Value) -> Option<Vec<Value>> {
        let part = |name: &String| row.get(name).filter(|value| !value.is_null()).cloned();
        self.keys.iter().map(part).collect()
    }

    /// When the row was changed, as it says itself.
    #[must_use]
    pub fn changed_at(&self, row: &Value) -> Option<jiff::Timestamp> {
        row.get(self.by.as_ref()?).and_then(values::instant)
    }
}

fn keys(sync: &SyncSettings, source: &Table) -> Result<Vec<String>, Failed> {
    let keys = if sync.keys.is_empty() {
        source.primary_key().into_iter().map(|column| column.name.clone()).collect()
    } else {
        sync.keys.clone()
    };
    if keys.is_empty() {
        let message = format!("table `{}` has no primary key; name `keys`", source.qualified());
        return Err(invalid(message));
    }
    Ok(keys)
}

fn rules(sync: &SyncSettings) -> Rules {
    let policy = match (&sync.conflict.component, sync.conflict.policy) {
        (Some(_), _) => Policy::Ask,
        (None, Some(SyncPolicy::Newest)) => Policy::Newest,
        (None, Some(SyncPolicy::TargetWins)) => Policy::TargetWins,
        (None, Some(SyncPolicy::SourceWins)) => Policy::SourceWins,
        (None, None) if sync.conflict.by.is_some() => Policy::Newest,
        (None, None) => Policy::SourceWins,
    };
    Rules { both_ways: sync.both_ways(), policy, deletes: sync.deletes, patient: false, repair: false }
}
