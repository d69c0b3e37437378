//! Operators and conditions, on each engine.

use serde_json::{Value, json};

use super::{Place, exact};
use crate::harness::sql_server::Engine;
use crate::harness::{dead, done};

async fn stock(engine: Engine) -> Place {
    let place = Place::on(engine).await;
    let counted = match engine {
        Engine::Postgres => "id bigserial PRIMARY KEY",
        Engine::MariaDb => "id BIGINT AUTO_INCREMENT PRIMARY KEY",
        Engine::Sqlite => "id INTEGER PRIMARY KEY",
    };
    let table = format!(
        "CREATE TABLE stock ({counted}, sku VARCHAR(20) NOT NULL UNIQUE, amount BIGINT, price DECIMAL(30,10), note TEXT)"
    );
    place.db.run(&table).await;
    place
}

async fn operators(engine: Engine) {
    let place = stock(engine).await;
    let row = json!({"sku": "a", "amount": 9007199254740993_i64, "price": exact("10.5"), "note": "x"});
    let output = done(place.insert("stock", row).await);
    assert_eq!(output["rowsAffected"], 1);
    assert_eq!(output["returning"][0]["amount"], 9007199254740993_i64, "{output}");
    assert_eq!(output["returning"][0]["sku"], "a");
    let id = output["returning"][0]["id"].clone();

    let change = json!({"amount": {"$INC": 2}, "price": {"$MUL": exact("1.5")}, "note": {"$UNSET": true}});
    let output = done(place.update("stock", change, json!({"id": id})).await);
    assert_eq!(output["rowsAffected"], 1);
    assert_eq!(place.db.text("amount", "FROM stock").await.unwrap(), "9007199254740995");
    assert_eq!(place.db.text("price * 1000", "FROM stock").await.unwrap().parse::<f64>().unwrap(), 15750.0);
    assert_eq!(place.db.text("note", "FROM stock").await, None);

    let change = json!({"amount": {"$DEC": 5}, "note": {"$SET": "again"}});
    done(place.update("stock", change, json!({"field": "sku", "operator": "EQUALS", "value": "a"})).await);
    assert_eq!(place.db.text("amount", "FROM stock").await.unwrap(), "9007199254740990");

    // NULL counts as zero; an upsert's operators begin there too.
    done(place.insert("stock", json!({"sku": "b"})).await);
    done(place.update("stock", json!({"amount": {"$INC": 3}}), json!({"sku": "b"})).await);
    for (sku, expected) in [("b", "7"), ("c", "4"), ("c", "8")] {
        let row = json!({"sku": sku, "amount": {"$INC": 4}});
        let output = done(place.upsert("stock", row, json!({"keys": ["sku"]})).await);
        assert_eq!(output["rowsAffected"], 1, "{output}");
        let found = place.db.text("amount", &format!("FROM stock WHERE sku = '{sku}'")).await;
        assert_eq!(found.as_deref(), Some(expected), "{sku}");
    }
    let row = json!({"sku": "c", "amount": {"$MUL": 3}});
    done(place.upsert("stock", row, json!({"keys": ["sku"]})).await);
    assert_eq!(place.db.text("amount", "FROM stock WHERE sku = 'c'").await.unwrap(), "24");

    let rows = json!([{"sku": "d", "amount": 1}, {"sku": "e", "amount": 2}, {"sku": "c", "amount": 3}]);
    let output = done(place.upsert("stock", rows, json!({"keys": ["sku"]})).await);
    assert_eq!(output["rowsAffected"], 3);
    assert_eq!(place.db.count("stock").await, 5);
    let output = done(place.delete("stock", json!({"sku": ["d", "e", "none"]})).await);
    assert_eq!(output["rowsAffected"], 2);
    assert_eq!(place.db.count("stock").await, 3);
    conditions(&place).await;
    refusals(&place).await;
}

/// Each condition is counted by what it deletes from a table that is filled anew.
async fn conditions(place: &Place) {
    place.db.run("CREATE TABLE c (id BIGINT PRIMARY KEY, name VARCHAR(20))").await;
    let cases: &[(Value, u64)] = &[
        (json!({"field": "id", "operator": "GREATER_THAN", "value": 2}), 2),
        (json!({"field": "id", "operator": "lessThanOrEquals", "value": 2}), 2),
        (json!({"field": "name", "operator": "NOT_EQUALS", "value": "ann"}), 3),
        (json!({"field": "name", "operator": "IS_NULL"}), 1),
        (json!({"name": null}), 1),
        (json!({"field": "name", "operator": "IS_NOT_EMPTY"}), 3),
        (json!({"field": "id", "operator": "IN", "value": [1, 2, 99]}), 2),
        (json!({"field": "name", "operator": "NOT_IN", "value": ["ann", null]}), 2),
        (json!({"field": "name", "operator": "CONTAINS", "value": "n"}), 2),
        (json!({"field": "name", "operator": "CONTAINS", "value": "%"}), 1),
        (json!({"field": "name", "operator": "STARTS_WITH", "value": "a"}), 1),
        (json!({"field": "name", "operator": "ENDS_WITH", "value": "nn"}), 1),
        (json!({"or": [{"field": "id", "operator": "EQUALS", "value": 1}, {"and": [{"id": 2}, {"name": "ben"}]}]}), 2),
        (json!({"not": {"field": "id", "operator": "EQUALS", "value": 1}}), 3),
    ];
    for (filter, expected) in cases {
        place.db.run("DELETE FROM c").await;
        place.db.run("INSERT INTO c VALUES (1, 'ann'), (2, 'ben'), (3, NULL), (4, '50%')").await;
        let output = done(place.delete("c", filter.clone()).await);
        assert_eq!(output["rowsAffected"], *expected, "{filter}");
        assert_eq!(place.db.count("c").await, 4 - expected, "{filter}");
    }
}

async fn refusals(place: &Place) {
    let before = place.db.count("stock").await;
    for all in [json!({}), json!({"and": []}), json!(null)] {
        assert_eq!(dead(place.delete("stock", all.clone()).await).code, "CONFIG_INVALID", "{all}");
    }
    let failure = dead(place.insert("stocks", json!({"sku": "x"})).await);
    assert_eq!(failure.code, "DB_UNKNOWN_TABLE");
    assert!(failure.message.contains("did you mean `stock`?"), "{}", failure.message);
    let failure = dead(place.insert("stock", json!({"sku": "x", "amonut": 1})).await);
    assert_eq!(failure.code, "DB_UNKNOWN_COLUMN");
    assert!(failure.message.contains("/values/amonut") && failure.message.contains("`amount`"), "{}", failure.message);
    let failure = dead(place.update("stock", json!({"amount": {"$ICN": 1}}), json!({"id": 1})).await);
    assert!(failure.message.contains("did you mean `$INC`?"), "{}", failure.message);
    let failure = dead(place.insert("stock", json!({"sku": "y", "amount": "many"})).await);
    assert_eq!(failure.code, "DB_VALUE");
    assert!(failure.message.contains("`amount`"), "{}", failure.message);
    assert_eq!(dead(place.insert("stock", json!({"sku": "a"})).await).code, "DB_CONSTRAINT");
    assert_eq!(dead(place.insert("stock", json!({"sku": null})).await).code, "DB_CONSTRAINT");
    assert_eq!(dead(place.insert("triggerd_deliveries", json!({"delivery_id": "x"})).await).code, "DB_DENIED");
    let twice = json!([{"sku": "z", "amount": 1}, {"sku": "z", "amount": 2}]);
    assert_eq!(dead(place.upsert("stock", twice, json!({"keys": ["sku"]})).await).code, "CONFIG_INVALID");
    assert_eq!(place.db.count("stock").await, before);
    // A column that is new since the catalog was read is found.
    place.db.run("ALTER TABLE stock ADD COLUMN later INT").await;
    let output = done(place.update("stock", json!({"later": 7}), json!({"sku": "a"})).await);
    assert_eq!(output["rowsAffected"], 1);
    let mut allowed = place.db.settings();
    allowed["tables"] = json!(["c*"]);
    place.bench.put("databases", "db", allowed).await;
    assert_eq!(dead(place.delete("stock", json!({"sku": "a"})).await).code, "DB_DENIED");
    done(place.delete("c", json!({"id": 1})).await);
}

#[tokio::test]
async fn every_operator_and_condition_works_on_postgresql() {
    operators(Engine::Postgres).await;
}

#[tokio::test]
async fn every_operator_and_condition_works_on_mariadb() {
    operators(Engine::MariaDb).await;
}

#[tokio::test]
async fn every_operator_and_condition_works_on_sqlite() {
    operators(Engine::Sqlite).await;
}
