//! `database.insert`, `database.update`, `database.upsert`, `database.delete`: rows in the tenant's databases.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;

use super::uses::{self, Use};
use super::{Action, Context};
use crate::databases::{Conflict, Verb, Write};
use crate::failed::outcome;

/// `database.insert`
pub struct Insert;
/// `database.update`
pub struct Update;
/// `database.upsert`
pub struct Upsert;
/// `database.delete`
pub struct Delete;

/// Settings of `database.insert`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InsertConfig {
    /// The database's tag.
    database: String,
    /// `table`, or `schema.table`.
    table: String,
    /// A row as column → value, or an array of rows.
    values: Value,
}

/// Settings of `database.update`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateConfig {
    /// The database's tag.
    database: String,
    /// `table`, or `schema.table`.
    table: String,
    /// Column → value, or an operator: `{"stock": {"$DEC": 1}}`.
    values: Value,
    /// Which rows: a condition over columns, or `{"id": 5}`.
    #[serde(rename = "where")]
    filter: Value,
}

/// Settings of `database.upsert`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpsertConfig {
    /// The database's tag.
    database: String,
    /// `table`, or `schema.table`.
    table: String,
    /// A row as column → value, or an array of rows.
    values: Value,
    /// What tells rows apart; left out, the primary key.
    #[serde(default)]
    conflict: ConflictConfig,
}

/// `conflict` of `database.upsert`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConflictConfig {
    /// The columns of a primary or unique key; left out, the primary key.
    #[serde(default)]
    keys: Vec<String>,
    /// A column that says which row is newer: an older one never overwrites it.
    newest_by: Option<String>,
}

/// Settings of `database.delete`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteConfig {
    /// The database's tag.
    database: String,
    /// `table`, or `schema.table`.
    table: String,
    /// Which rows: a condition over columns, or `{"id": 5}`.
    #[serde(rename = "where")]
    filter: Value,
}

impl Action for Insert {
    const KIND: &'static str = "database.insert";
    const READS_EVENT: bool = false;
    type Config = InsertConfig;

    fn check(config: &Value) -> Vec<Mistake> {
        mistakes(Verb::Insert, config)
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "database", "databases").into_iter().collect()
    }

    fn destination(_cx: &Context, config: &InsertConfig) -> Option<String> {
        destination(&config.database)
    }

    async fn run(cx: Context, config: InsertConfig) -> Outcome {
        let write = Write::of(Verb::Insert, &config.table, Some(&config.values), None, Conflict::default());
        run(cx, &config.database, write).await
    }
}

impl Action for Update {
    const KIND: &'static str = "database.update";
    const READS_EVENT: bool = false;
    type Config = UpdateConfig;

    fn check(config: &Value) -> Vec<Mistake> {
        mistakes(Verb::Update, config)
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "database", "databases").into_iter().collect()
    }

    fn destination(_cx: &Context, config: &UpdateConfig) -> Option<String> {
        destination(&config.database)
    }

    async fn run(cx: Context, config: UpdateConfig) -> Outcome {
        let (values, filter) = (Some(&config.values), Some(&config.filter));
        let write = Write::of(Verb::Update, &config.table, values, filter, Conflict::default());
        run(cx, &config.database, write).await
    }
}

impl Action for Upsert {
    const KIND: &'static str = "database.upsert";
    const READS_EVENT: bool = false;
    type Config = UpsertConfig;

    fn check(config: &Value) -> Vec<Mistake> {
        mistakes(Verb::Upsert, config)
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "database", "databases").into_iter().collect()
    }

    fn destination(_cx: &Context, config: &UpsertConfig) -> Option<String> {
        destination(&config.database)
    }

    async fn run(cx: Context, config: UpsertConfig) -> Outcome {
        let conflict = Conflict { keys: config.conflict.keys, newest_by: config.conflict.newest_by };
        let write = Write::of(Verb::Upsert, &config.table, Some(&config.values), None, conflict);
        run(cx, &config.database, write).await
    }
}

impl Action for Delete {
    const KIND: &'static str = "database.delete";
    const READS_EVENT: bool = false;
    type Config = DeleteConfig;

    fn check(config: &Value) -> Vec<Mistake> {
        mistakes(Verb::Delete, config)
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "database", "databases").into_iter().collect()
    }

    fn destination(_cx: &Context, config: &DeleteConfig) -> Option<String> {
        destination(&config.database)
    }

    async fn run(cx: Context, config: DeleteConfig) -> Outcome {
        let write = Write::of(Verb::Delete, &config.table, None, Some(&config.filter), Conflict::default());
        run(cx, &config.database, write).await
    }
}

/// Mistakes in settings whose values are still to be rendered: what is one template as a whole is not looked at.
fn mistakes(verb: Verb, config: &Value) -> Vec<Mistake> {
    let written = |key: &str| config.get(key).filter(|value| !value.as_str().is_some_and(|text| text.contains("{{")));
    Write::of(verb, "", written("values"), written("where"), Conflict::default()).err().unwrap_or_default()
}

fn destination(tag: &str) -> Option<String> {
    Some(format!("database:{tag}"))
}

async fn run(cx: Context, tag: &str, write: Result<Write, Vec<Mistake>>) -> Outcome {
    let write = match write {
        Ok(write) => write,
        Err(mistakes) => {
            let all = mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("; ");
            return Outcome::dead("CONFIG_INVALID", all);
        }
    };
    let excerpt = cx.excerpt.clone();
    // The statement, which holds names and no values.
    let shown = move |sql: &str, values: usize| {
        let sql: String = sql.chars().take(4096).collect();
        excerpt.lock().request = Some(json!({ "sql": sql, "values": values }));
    };
    let delivery = cx.delivery_id.to_string();
    let written = cx.services.databases.write(cx.database(tag), &write, &delivery, shown).await;
    outcome(written)
}
