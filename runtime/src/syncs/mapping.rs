//! How a row of one side is written for the other.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use triggerd_core::catalog::Place;
use triggerd_core::event::{Change, Event, Moment, Operation};
use triggerd_core::id::{EventId, TenantId};
use triggerd_core::sync::Side;
use triggerd_core::template::{Scope, Template};

use super::values;
use crate::databases::{Column, Kind, Table};
use crate::failed::Failed;
use crate::resources::{Conversion, SyncColumn, SyncColumns, SyncMade};

/// The columns that are kept equal.
#[derive(Debug)]
pub struct Mapping {
    columns: Vec<Mapped>,
}

/// One column of both sides.
#[derive(Debug)]
struct Mapped {
    source: String,
    target: String,
    source_column: Option<Column>,
    /// `None` where the target is no table.
    target_column: Option<Column>,
    conversion: Option<Conversion>,
    to_target: Option<Template>,
    to_source: Option<Template>,
    otherwise: Option<Value>,
}

/// Says what is wrong with a sync's settings, seen beside the tables that they are about.
pub fn invalid(message: impl Into<String>) -> Failed {
    Failed::permanent("SYNC_INVALID", message)
}

impl Mapping {
    /// Of the settings and the tables.
    pub fn of(
        written: Option<&SyncColumns>,
        keys: &[String],
        source: &Table,
        target: Option<&Table>,
    ) -> Result<Self, Failed> {
        let mut named: Vec<(String, SyncMade)> = match written {
            Some(SyncColumns::Alike(names)) => names.iter().map(|name| (name.clone(), SyncMade::default())).collect(),
            Some(SyncColumns::Mapped(columns)) => {
                columns.iter().map(|(name, column)| (name.clone(), made(column))).collect()
            }
            None => {
                let both = |column: &&Column| target.is_none_or(|target| target.column(&column.name).is_some());
                let both = source.columns.iter().filter(both);
                both.map(|column| (column.name.clone(), SyncMade::default())).collect()
            }
        };
        // Rows cannot be told apart without their keys.
        for key in keys.iter().rev() {
            if !named.iter().any(|(name, _)| name == key) {
                named.insert(0, (key.clone(), SyncMade::default()));
            }
        }
        let columns =
            named.into_iter().map(|(name, made)| mapped(name, made, source, target)).collect::<Result<_, _>>()?;
        Ok(Self { columns })
    }

    /// The columns of a side, each once: where a guest makes the rows, several of one side may go with one of the other.
    #[must_use]
    pub fn names(&self, side: Side) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for column in &self.columns {
            if !names.iter().any(|known| known == column.name(side)) {
                names.push(column.name(side).to_owned());
            }
        }
        names
    }

    /// What a column of the source is called in the target.
    #[must_use]
    pub fn target_name(&self, source: &str) -> Option<&str> {
        self.columns.iter().find(|column| column.source == source).map(|column| column.target.as_str())
    }

    /// `row` of the other side as `to` is to have it. The scope is that of templates.
    pub fn convert(&self, to: Side, row: &Value, event: &Event) -> Result<Map<String, Value>, Failed> {
        let scope = Scope::of_event(event, "", event.timestamp);
        let mut out = Map::new();
        for column in &self.columns {
            let value = column.convert(to, row, &scope).or_else(|why| match &column.otherwise {
                Some(otherwise) => Ok(otherwise.clone()),
                None => {
                    let message = format!("column `{}`: {why}", column.name(to.other()));
                    Err(Failed::permanent("SYNC_VALUE", message))
                }
            })?;
            out.insert(column.name(to).to_owned(), value);
        }
        Ok(out)
    }

    /// Whether `found` is what `side` holds once `wanted` has been written there.
    #[must_use]
    pub fn holds(&self, side: Side, wanted: &Map<String, Value>, found: &Value) -> bool {
        self.columns.iter().all(|column| {
            let name = column.name(side);
            let (wanted, found) = (wanted.get(name).unwrap_or(&Value::Null), found.get(name).unwrap_or(&Value::Null));
            match column.column(side) {
                Some(of) => values::holds(of, wanted, found),
                None => wanted == found,
            }
        })
    }
}

impl Mapped {
    fn name(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    fn column(&self, side: Side) -> Option<&Column> {
        match side {
            Side::Source => self.source_column.as_ref(),
            Side::Target => self.target_column.as_ref(),
        }
    }

    fn convert(&self, to: Side, row: &Value, scope: &Scope<'_>) -> Result<Value, String> {
        let template = if to == Side::Target { &self.to_target } else { &self.to_source };
        if let Some(template) = template {
            return template.render(scope, &mut Vec::new());
        }
        let value = row.get(self.name(to.other())).unwrap_or(&Value::Null);
        let kind = |side: Side| self.column(side).map(|column| &column.kind);
        match self.conversion {
            Some(how) => values::convert(how, value, kind(to.other()), kind(to)),
            None => Ok(plain(value, kind(to))),
        }
    }
}

/// What other engines write otherwise is put as this column takes it: nothing is lost by it.
fn plain(value: &Value, to: Option<&Kind>) -> Value {
    match (value, to) {
        (Value::Bool(truth), Some(Kind::Integer | Kind::Decimal | Kind::Float)) => u8::from(*truth).into(),
        _ => value.clone(),
    }
}

fn made(column: &SyncColumn) -> SyncMade {
    match column {
        SyncColumn::Named(name) => SyncMade { column: Some(name.clone()), ..SyncMade::default() },
        SyncColumn::Made(made) => SyncMade::clone(made),
    }
}

fn mapped(name: String, made: SyncMade, source: &Table, target: Option<&Table>) -> Result<Mapped, Failed> {
    let other = made.column.unwrap_or_else(|| name.clone());
    let find = |table: &Table, name: &str| {
        let missing = || invalid(format!("table `{}` has no column `{name}`", table.qualified()));
        table.column(name).cloned().ok_or_else(missing)
    };
    let compile = |written: Option<String>| {
        let compiled = written.map(|written| Template::compile(&written, Place::Plain)).transpose();
        compiled.map_err(|why| invalid(format!("/columns/{name}: template: {why}")))
    };
    Ok(Mapped {
        source_column: Some(find(source, &name)?),
        target_column: target.map(|target| find(target, &other)).transpose()?,
        conversion: made.conversion,
        to_target: compile(made.to_target)?,
        to_source: compile(made.to_source)?,
        otherwise: made.otherwise,
        target: other,
        source: name,
    })
}

/// A change of a row, for templates and guests to look at.
#[must_use]
pub fn told(
    tenant: &TenantId,
    env: &str,
    table: (&str, &str),
    row: &Value,
    metadata: Map<String, Value>,
    at: Timestamp,
) -> Arc<Event> {
    let (database, table) = table;
    let change = Change {
        operation: Operation::Update,
        moment: Moment::After,
        database: Some(database.to_owned()),
        schema: None,
        table: table.to_owned(),
    };
    Arc::new(Event {
        id: EventId::new(u64::try_from(at.as_millisecond()).unwrap_or(0), [0; 10]),
        tenant: tenant.clone(),
        event_type: change.event_type(),
        source: Some(format!("databases/{database}")),
        change: Some(change),
        record: row.clone(),
        previous_record: Value::Null,
        env: env.to_owned(),
        user: Value::Null,
        metadata,
        attributes: Map::new(),
        timestamp: at,
        accepted_at: at,
        traceparent: None,
        tracestate: None,
        causation: Vec::new(),
        erased_at: None,
    })
}
