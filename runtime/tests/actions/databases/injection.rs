//! Values and names that would be SQL if they were not values and names.

use serde_json::json;
use triggerd_core::outcome::Outcome;

use super::Place;
use crate::harness::sql_server::Engine;
use crate::harness::{dead, done};

const CORPUS: &[&str] = &[
    "'; DROP TABLE t; --",
    "\"; DROP TABLE t; --",
    "`; DROP TABLE t; --",
    "x' OR '1'='1",
    "1; DELETE FROM t",
    "1 OR 1=1",
    "') ; INSERT INTO t VALUES (99, 'x'); --",
    "\\'; DROP TABLE t; --",
    "\\",
    "'/**/UNION/**/SELECT/**/1--",
    "' UNION ALL SELECT NULL,NULL#",
    "$1",
    "$$; DROP TABLE t; $$",
    "?",
    ":name",
    "%00'; DROP TABLE t; --",
    "ʼ; DROP TABLE t; --",
    "\u{a5}'; DROP TABLE t; --",
    "'||(SELECT pg_sleep(10))||'",
    "'; WAITFOR DELAY '0:0:10'--",
    "sleep(10)",
    "{{record.id}}",
    "a\r\nb; DROP TABLE t",
    "/*! DROP TABLE t */",
];

async fn nothing_but_values(engine: Engine) {
    let place = Place::on(engine).await;
    place.db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(200)); CREATE TABLE kept (id BIGINT)").await;
    for (i, text) in CORPUS.iter().enumerate() {
        // As a value it is kept as it is, and found again as it is.
        let output = done(place.insert("t", json!({"id": i, "name": text})).await);
        assert_eq!(output["returning"][0]["name"], *text);
        let output = done(place.update("t", json!({"name": format!("{text}!")}), json!({ "name": text })).await);
        assert_eq!(output["rowsAffected"], 1, "{text}");
        for operator in ["CONTAINS", "STARTS_WITH"] {
            let filter = json!({"and": [{"id": i}, {"field": "name", "operator": operator, "value": text}]});
            let output = done(place.update("t", json!({ "name": text }), filter).await);
            assert_eq!(output["rowsAffected"], 1, "{operator} {text}");
        }
        // As a number, a column, a table, a key or an operator it is refused.
        for refused in [
            place.insert("t", json!({ "id": text })).await,
            place.delete("t", json!({ "id": text })).await,
            place.insert("t", json!({"id": 1000, *text: 1})).await,
            place.update("t", json!({ *text: 1 }), json!({"id": 1})).await,
            place.delete("t", json!({ *text: 1 })).await,
            place.delete("t", json!({"field": text, "operator": "EQUALS", "value": 1})).await,
            place.insert(text, json!({"id": 1000})).await,
            place.insert(&format!("public.{text}"), json!({"id": 1000})).await,
            place.insert(&format!("{text}.t"), json!({"id": 1000})).await,
            place.upsert("t", json!({"id": 1, "name": "x"}), json!({"keys": [text]})).await,
            place.upsert("t", json!({"id": 1, "name": "x"}), json!({"newestBy": text})).await,
            place.delete("t", json!({"field": "id", "operator": text, "value": 1})).await,
        ] {
            let failure = dead(refused);
            let known = ["DB_UNKNOWN_TABLE", "DB_UNKNOWN_COLUMN", "DB_VALUE", "CONFIG_INVALID"];
            assert!(known.contains(&failure.code.as_str()), "{text}: {failure:?}");
        }
    }
    assert_eq!(place.db.count("t").await, CORPUS.len() as u64);
    assert_eq!(place.db.count("kept").await, 0);
    assert!(matches!(place.delete("kept", json!({"id": 1})).await, Outcome::Done(_)));
}

#[tokio::test]
async fn values_and_names_never_become_sql_on_postgresql() {
    nothing_but_values(Engine::Postgres).await;
}

#[tokio::test]
async fn values_and_names_never_become_sql_on_mariadb() {
    nothing_but_values(Engine::MariaDb).await;
}

#[tokio::test]
async fn values_and_names_never_become_sql_on_sqlite() {
    nothing_but_values(Engine::Sqlite).await;
}
