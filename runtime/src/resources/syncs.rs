//! The kind `syncs`: a table of two databases, or of a database and an HTTP API, that is kept equal.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use triggerd_core::catalog::Place;
use triggerd_core::mistake::{Mistake, join};
use triggerd_core::template::{Template, TemplatedConfig};

use super::Kind;

/// A sync's settings.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SyncSettings {
    /// The one table.
    pub source: SyncTable,
    /// The other one, or the HTTP API that is told of its rows.
    pub target: SyncTarget,
    /// `both`: what changes on either side goes to the other; `one-way`: from the source to the target. Left out, `both`
    /// between databases and `one-way` to an HTTP API and in append mode.
    pub direction: Option<Direction>,
    /// What tells rows apart, by the source's names; left out, the source's primary key.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub keys: Vec<String>,
    /// The columns that are kept equal: a list, or an object of source column → target column. Left out, those that both
    /// tables have.
    pub columns: Option<SyncColumns>,
    /// A component that turns rows of one side into rows of the other.
    pub transform: Option<SyncComponent>,
    /// Who wins where both sides have changed.
    #[serde(default)]
    pub conflict: Conflict,
    /// `mirror`: changed and deleted rows too; `append`: new rows alone, which are never changed or deleted.
    #[serde(default)]
    pub mode: Mode,
    /// Whether deletions are carried over.
    #[serde(default = "yes")]
    pub deletes: bool,
    /// Where an entry is made for each change that is carried over, and each that is not.
    pub audit: Option<SyncAudit>,
    /// The environment whose databases are meant; left out, `default`.
    pub env: Option<String>,
    /// A sync that is not enabled does nothing. What changes meanwhile is found by `verify`.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// A table of a database.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct SyncTable {
    /// The database's tag.
    pub database: String,
    /// `table`, or `schema.table`.
    pub table: String,
}

/// A table of a database, or an HTTP API.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct SyncTarget {
    /// The database's tag.
    pub database: Option<String>,
    /// `table`, or `schema.table`.
    pub table: Option<String>,
    /// The API.
    pub http: Option<SyncHttp>,
}

/// An HTTP API that is told of rows. Everything but `method` is a template over `{{record}}`, the row as the target is to
/// have it; other members are those of an `http.*` action.
#[derive(Clone, Deserialize, Serialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SyncHttp {
    /// Where.
    pub url: String,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. Left out, `PUT`, and `DELETE` for deleted rows.
    #[serde(skip_serializing)]
    pub method: Option<String>,
    /// Headers; `{{secrets.NAME}}` keeps keys out of the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Map<String, Value>>,
    /// Added to the URL's query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Map<String, Value>>,
    /// The body; left out, the row, and nothing for deleted rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Signs the request after Standard Webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_with: Option<Value>,
    /// Which statuses are a success; left out, `2xx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_status: Option<Value>,
    /// The request for a row that was deleted, whose last state is `{{record}}`, after TRUNCATE its key alone; left out, deletions
    /// are not told.
    #[serde(skip_serializing)]
    pub delete: Option<Box<SyncHttp>>,
}

/// How columns are named.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(untagged)]
pub enum SyncColumns {
    /// Alike on both sides.
    Alike(Vec<String>),
    /// Source column → target column.
    Mapped(BTreeMap<String, SyncColumn>),
}

/// What a column of the source is in the target.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(untagged)]
pub enum SyncColumn {
    /// A column of that name.
    Named(String),
    /// A column whose values are written otherwise.
    Made(Box<SyncMade>),
}

/// A column whose values are written otherwise on the other side.
#[derive(Clone, Default, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SyncMade {
    /// The target's column; left out, the same name.
    pub column: Option<String>,
    /// `json`: JSON in a text on one side, parsed on the other; `list`: a text with commas, and an array; `timestamp`:
    /// RFC 3339, whatever notation it is written in.
    #[serde(rename = "as")]
    pub conversion: Option<Conversion>,
    /// The target's value, as a template over the source's row.
    pub to_target: Option<String>,
    /// The source's value, as a template over the target's row.
    pub to_source: Option<String>,
    /// What stands in for a value that cannot be converted; left out, such a row fails.
    pub otherwise: Option<Value>,
}

/// A conversion that knows both ways.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Conversion {
    /// JSON in a text, and parsed.
    Json,
    /// A text with commas, and an array.
    List,
    /// Any notation of an instant, and RFC 3339.
    Timestamp,
}

/// A component.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct SyncComponent {
    /// `NAME`, `NAME@VERSION` or `NAME@sha256:…`.
    pub component: String,
}

/// Who wins where both sides have changed.
#[derive(Clone, Default, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct Conflict {
    /// `newest` (with `by`), `source-wins` or `target-wins`. Left out, `newest` where there is a `by`, else `source-wins`.
    pub policy: Option<Policy>,
    /// The timestamp column, by the source's name.
    pub by: Option<String>,
    /// A component (world `action`) that is asked instead: it is given `{key, source, target}` and answers
    /// `{"winner": "source" | "target"}` or `{"row": …}`, a row as the source has it.
    pub component: Option<String>,
}

/// A conflict policy.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The later change.
    Newest,
    /// The source's.
    SourceWins,
    /// The target's.
    TargetWins,
}

/// Which ways changes go.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Either.
    Both,
    /// From the source to the target.
    OneWay,
}

/// What is carried over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everything.
    #[default]
    Mirror,
    /// New rows alone.
    Append,
}

/// Where entries are made.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct SyncAudit {
    /// The database's tag.
    pub database: String,
    /// The table.
    pub table: String,
    /// What a change that was carried over is called; left out, `TABLE_synced`.
    pub action: Option<String>,
    /// Column → value, as templates over `record` (the row) and `metadata`; left out, those of docs/sync.md.
    pub columns: Option<Map<String, Value>>,
}

fn yes() -> bool {
    true
}

impl SyncSettings {
    /// Which ways changes go.
    #[must_use]
    pub fn both_ways(&self) -> bool {
        let otherwise =
            if self.target.http.is_some() || self.mode == Mode::Append { Direction::OneWay } else { Direction::Both };
        self.direction.unwrap_or(otherwise) == Direction::Both
    }

    /// The target's table, where it is one.
    #[must_use]
    pub fn target_table(&self) -> Option<SyncTable> {
        let (database, table) = (self.target.database.clone()?, self.target.table.clone()?);
        Some(SyncTable { database, table })
    }

    /// The tags of the databases that it reads and writes.
    #[must_use]
    pub fn databases(&self) -> Vec<&str> {
        let audit = self.audit.as_ref().map(|audit| audit.database.as_str());
        [Some(self.source.database.as_str()), self.target.database.as_deref(), audit].into_iter().flatten().collect()
    }

    /// The components that it calls.
    #[must_use]
    pub fn components(&self) -> Vec<&str> {
        let transform = self.transform.as_ref().map(|transform| transform.component.as_str());
        [transform, self.conflict.component.as_deref()].into_iter().flatten().collect()
    }
}

pub(super) const KIND: Kind = Kind {
    name: "syncs",
    schema: || schemars::schema_for!(SyncSettings).to_value(),
    normal: |settings| settings,
    check: |settings| match serde_json::from_value::<SyncSettings>(settings.clone()) {
        Ok(sync) => mistakes(&sync),
        Err(error) => vec![Mistake::new("", error.to_string())],
    },
    raw: &["columns", "target", "audit"],
    hidden: false,
    own_routes: false,
    of_one_env: Some("a sync is of one environment, which `env` names: make a sync of its own for each"),
    made: None,
    connect: |_, _| Box::pin(async { Ok("the settings are right; `status` says what they come to".to_owned()) }),
};

fn mistakes(sync: &SyncSettings) -> Vec<Mistake> {
    let mut found = Vec::new();
    let target = &sync.target;
    match (&target.http, &target.database, &target.table) {
        (Some(_), None, None) | (None, Some(_), Some(_)) => {}
        (Some(_), _, _) => found.push(Mistake::new("/target", "either `http`, or `database` and `table`")),
        (None, _, _) => found.push(Mistake::new("/target", "needs `database` and `table`, or `http`")),
    }
    let one_way = |why: &str| Mistake::new("/direction", format!("{why} is one-way: leave `direction` out"));
    if sync.direction == Some(Direction::Both) {
        found.extend(target.http.as_ref().map(|_| one_way("a sync to an HTTP API")));
        found.extend((sync.mode == Mode::Append).then(|| one_way("append mode")));
    }
    if target.database.as_deref() == Some(&sync.source.database) && target.table.as_deref() == Some(&sync.source.table)
    {
        found.push(Mistake::new("/target", "is the same table as the source"));
    }
    let conflict = &sync.conflict;
    if conflict.policy == Some(Policy::Newest) && conflict.by.is_none() {
        found.push(Mistake::new("/conflict/by", "`newest` needs the column that says when a row was changed"));
    }
    if conflict.component.is_some() && conflict.policy.is_some() {
        found.push(Mistake::new("/conflict/policy", "either a `policy` or a `component`"));
    }
    if let Some(SyncColumns::Mapped(columns)) = &sync.columns {
        for (name, column) in columns {
            let at = join("/columns", name);
            let SyncColumn::Made(made) = column else { continue };
            if sync.keys.contains(name) && (made.conversion.is_some() || made.to_target.is_some()) {
                found.push(Mistake::new(&at, "a key has the same value on both sides; it can only be named otherwise"));
            }
            found.extend(made_mistakes(made, sync.both_ways()).into_iter().map(|mistake| mistake.under(&at)));
        }
    }
    if let Some(http) = &target.http {
        found.extend(http_mistakes(http).into_iter().map(|mistake| mistake.under("/target/http")));
    }
    if let Some(columns) = sync.audit.as_ref().and_then(|audit| audit.columns.clone()) {
        TemplatedConfig::compile(&Value::Object(columns), "/audit/columns", &|_| Place::Plain, &mut found);
    }
    found
}

fn made_mistakes(made: &SyncMade, both_ways: bool) -> Vec<Mistake> {
    let mut found = Vec::new();
    if made.conversion.is_some() && (made.to_target.is_some() || made.to_source.is_some()) {
        found.push(Mistake::new("/as", "either `as`, or templates"));
    }
    if both_ways && made.to_target.is_some() != made.to_source.is_some() {
        found.push(Mistake::new("", "a sync of both directions needs `toTarget` and `toSource`"));
    }
    for (name, written) in [("/toTarget", &made.to_target), ("/toSource", &made.to_source)] {
        if let Some(Err(why)) = written.as_ref().map(|written| Template::compile(written, Place::Plain)) {
            found.push(Mistake::new(name, format!("template: {why}")));
        }
    }
    found
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

fn http_mistakes(http: &SyncHttp) -> Vec<Mistake> {
    let mut found = Vec::new();
    if http.method.as_ref().is_some_and(|method| !METHODS.contains(&method.to_ascii_uppercase().as_str())) {
        found.push(Mistake::new("/method", format!("must be one of {}", METHODS.join(", "))));
    }
    let request = serde_json::to_value(http).unwrap_or_default();
    TemplatedConfig::compile(&request, "", &|_| Place::Plain, &mut found);
    if let Some(delete) = &http.delete {
        if delete.delete.is_some() {
            found.push(Mistake::new("/delete/delete", "must be left out"));
        }
        found.extend(http_mistakes(delete).into_iter().map(|mistake| mistake.under("/delete")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(settings: &Value) -> Vec<String> {
        KIND.mistakes(settings).into_iter().map(|mistake| mistake.pointer).collect()
    }

    fn with(more: &Value) -> Value {
        let mut settings =
            json!({"source": {"database": "a", "table": "t"}, "target": {"database": "b", "table": "t"}});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    }

    #[test]
    fn mistakes_are_told_with_their_places() {
        assert!(pointers(&with(&json!({}))).is_empty());
        let good = json!({"columns": {"id": "id", "p": {"as": "json"}, "c": {"toTarget": "{{record.c}}", "toSource": "{{record.c}}"}},
            "conflict": {"policy": "newest", "by": "updated_at"}, "audit": {"database": "a", "table": "audit_log"}});
        assert!(pointers(&with(&good)).is_empty(), "{:?}", KIND.mistakes(&with(&good)));
        assert_eq!(pointers(&with(&json!({"target": {"database": "a", "table": "t"}}))), ["/target"]);
        assert_eq!(pointers(&with(&json!({"target": {"database": "b"}}))), ["/target"]);
        assert_eq!(pointers(&with(&json!({"mode": "append", "direction": "both"}))), ["/direction"]);
        assert_eq!(pointers(&with(&json!({"conflict": {"policy": "newest"}}))), ["/conflict/by"]);
        assert_eq!(pointers(&with(&json!({"colums": []}))), ["/colums"]);
        assert_eq!(pointers(&with(&json!({"envs": {"prd": {"deletes": false}}}))), ["/envs"]);
        assert_eq!(pointers(&with(&json!({"columns": {"a": {"toTarget": "{{#if}}"}}})))[0], "/columns/a");
        let http =
            json!({"target": {"http": {"url": "https://x/{{record.id}}", "method": "TRACE", "body": "{{recrod}}"}}});
        assert_eq!(pointers(&with(&http)), ["/target/http/method", "/target/http/body"]);
    }

    #[test]
    fn the_direction_follows_from_what_the_target_is() {
        let sync = |more: &Value| serde_json::from_value::<SyncSettings>(with(more)).unwrap();
        assert!(sync(&json!({})).both_ways());
        assert!(!sync(&json!({"mode": "append"})).both_ways());
        assert!(!sync(&json!({"target": {"http": {"url": "https://x"}}})).both_ways());
        assert_eq!(sync(&json!({"audit": {"database": "c", "table": "t"}})).databases(), ["a", "b", "c"]);
    }
}
