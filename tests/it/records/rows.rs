//! Rows are written all or none, answered as the database has them, and refused with the place.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ENGINES, ORDERS, SHOW, Shop, encoded};
use crate::harness::home;
use crate::harness::sql_server::{Database, Engine};

#[tokio::test]
async fn a_row_is_answered_as_the_database_has_it_and_told_of_on_every_engine() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        shop.told().await;
        let answer = shop.ask(Method::POST, ORDERS, &[SHOW], json!({"total": 12.5, "items": [{"sku": "a"}]})).await;
        assert_eq!(answer.header("preference-applied"), "return=representation");
        let row = answer.expect(201);
        assert_eq!(
            (&row["id"], &row["status"], &row["items"]),
            (&json!(1), &json!("new"), &json!([{"sku": "a"}])),
            "{row:#}"
        );
        assert!(row["at"].as_str().is_some_and(|at| at.starts_with("20")), "{row:#}");
        let answer = shop.post(json!([{"total": 1, "note": "it's"}, {"status": "paid"}])).await;
        assert_eq!(answer.expect(201), json!({"count": 2}), "{engine:?}");
        let entries = shop.entries().await;
        assert_eq!(entries.len(), 3, "{engine:?}: {entries:#?}");
        assert_eq!(entries[0], json!(["insert", null, row]), "{engine:?}");
        assert_eq!((&entries[2][2]["id"], &entries[2][2]["status"]), (&json!(3), &json!("paid")));

        let patch = json!({"values": {"amount": {"$INC": 2}, "note": null}, "where": {"id": 2}});
        let rows = shop.ask(Method::PATCH, ORDERS, &[SHOW], patch).await.expect(200);
        assert_eq!(
            (&rows[0]["amount"], &rows[0]["note"], &rows[0]["total"]),
            (&json!(2), &Value::Null, &entries[1][2]["total"])
        );
        let entries = shop.entries().await;
        assert_eq!(entries[3], json!(["update", entries[1][2], rows[0]]), "{engine:?}");

        let paid = encoded(&json!({"field": "status", "operator": "EQUALS", "value": "paid"}));
        let gone = shop.ask(Method::DELETE, &format!("{ORDERS}?{paid}"), &[SHOW], json!({})).await.expect(200);
        assert_eq!(gone, json!([entries[2][2]]), "{engine:?}");
        assert_eq!(shop.entries().await[4], json!(["delete", entries[2][2], null]), "{engine:?}");
        assert_eq!(shop.orders().await, 2);
    }
}

#[tokio::test]
async fn an_array_with_one_bad_row_leaves_nothing() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        shop.told().await;
        let bad = json!([{"id": 1}, {"id": 2, "total": 5}, {"id": 1}]);
        let problem = shop.post(bad).await.problem(409);
        assert_eq!(problem["code"], "DB_CONSTRAINT", "{problem:#}");
        let constraint = ["orders_pkey", "PRIMARY", "orders.id"];
        assert!(constraint.iter().any(|name| problem["detail"].as_str().unwrap().contains(name)), "{problem:#}");
        let problem = shop.post(json!([{"total": 1}, {"total": -1}])).await.problem(409);
        assert!(problem["detail"].as_str().unwrap().contains("total_is_no_debt"), "{problem:#}");
        assert_eq!((shop.orders().await, !shop.entries().await.is_empty()), (0, false), "{engine:?}");
    }
}

#[tokio::test]
async fn without_triggers_rows_are_changed_in_one_statement_on_every_engine() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        let rows: Vec<Value> = (1..=1200).map(|id| json!({"id": id, "amount": id % 2})).collect();
        for chunk in rows.chunks(1000) {
            shop.post(json!(chunk)).await.expect(201);
        }
        let patch = json!({"values": {"amount": {"$MUL": 10}, "at": {"$NOW": true}}, "where": {"amount": 1}});
        assert_eq!(shop.home.patch(ORDERS, patch).await.expect(200), json!({"count": 600}), "{engine:?}");
        assert_eq!(shop.db.count("orders WHERE amount = 10").await, 600);
        let all = json!({"where": {"field": "id", "operator": "GREATER_THAN", "value": 100}});
        let gone = shop.ask(Method::DELETE, ORDERS, &[], all.clone()).await.expect(200);
        assert_eq!(
            (gone, !shop.entries().await.is_empty()),
            (json!({"count": 1100}), false),
            "nobody is told, so nothing is kept"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_place_on_every_engine() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        let absent = shop.home.post("/api/v1/databases/nope/tables/orders/records", json!({})).await.problem(404);
        assert!(absent["detail"].as_str().unwrap().contains("nope"), "{absent:#}");
        let unknown = shop.home.post("/api/v1/databases/shop/tables/order/records", json!({})).await.problem(422);
        assert!(unknown["detail"].as_str().unwrap().contains("did you mean `orders`?"), "{unknown:#}");
        for (body, pointer) in [
            (json!({"totl": 1}), "/totl"),
            (json!([{"total": 1}, {"total": "much"}]), "/1/total"),
            (json!([1]), "/0"),
            (json!([]), ""),
            (json!("x"), ""),
        ] {
            let problem = shop.post(body.clone()).await.problem(422);
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{engine:?} {body}: {problem:#}");
        }
        for (body, pointer) in [
            (json!({"values": {"total": 1}}), "/where"),
            (json!({"values": {"total": 1}, "where": {}}), "/where"),
            (json!({"values": {"totl": 1}, "where": {"id": 1}}), "/values/totl"),
            (json!({"values": {}, "where": {"id": 1}}), "/values"),
            (json!({"values": {"total": {"$ADD": 1}}, "where": {"id": 1}}), "/values/total"),
            (json!({"values": {"total": 1}, "where": {"i": 1}}), "/where/i"),
            (json!({"valeus": {"total": 1}, "where": {"id": 1}}), "/valeus"),
        ] {
            let problem = shop.home.patch(ORDERS, body.clone()).await.problem(422);
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{engine:?} {body}: {problem:#}");
        }
        shop.ask(Method::DELETE, ORDERS, &[], json!({})).await.problem(422);
        if engine != Engine::Sqlite {
            let long = shop.post(json!({"status": "x".repeat(21)})).await.problem(422);
            assert!(long["detail"].as_str().unwrap().contains("status"), "{long:#}");
            let large = shop.post(json!({"amount": 3_000_000_000_u64})).await.problem(422);
            assert!(large["detail"].as_str().unwrap().contains("amount"), "{large:#}");
        }
        assert_eq!(shop.orders().await, 0);
    }
}

#[tokio::test]
async fn hostile_names_and_values_reach_the_database_as_names_and_values() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        shop.told().await;
        let evil = "x'); DROP TABLE orders; --\" ` \\";
        shop.post(json!({"note": evil})).await.expect(201);
        for name in ["id\") VALUES (1); DROP TABLE orders; --", "id`; DROP TABLE orders; --", "note' OR '1'='1"] {
            shop.post(json!({name: 1})).await.problem(422);
            let body = json!({"values": {name: 1}, "where": {"id": 1}});
            shop.home.patch(ORDERS, body).await.problem(422);
            shop.home.patch(ORDERS, json!({"values": {"note": "y"}, "where": {name: 1}})).await.problem(422);
            let query = [("order", name), ("select", name)];
            for pair in query {
                let url = reqwest::Url::parse_with_params("http://x/", [pair]).unwrap();
                let answer = shop.home.get(&format!("{ORDERS}?{}", url.query().unwrap())).await;
                answer.problem(422);
            }
            let path = format!("/api/v1/databases/shop/tables/{}/records", urlencode(name));
            shop.home.post(&path, json!({"note": 1})).await.problem(422);
        }
        let none = encoded(&json!({"note": "x' OR '1'='1"}));
        assert_eq!(shop.home.get(&format!("{ORDERS}?{none}")).await.expect(200)["records"], json!([]));
        let one = encoded(&json!({"note": evil}));
        let found = shop.home.get(&format!("{ORDERS}?{one}")).await.expect(200);
        assert_eq!((&found["records"][0]["note"], &found["total"]), (&json!(evil), &json!(1)), "{engine:?}");
        let user = shop.ask(Method::POST, ORDERS, &[("triggerd-user", "a' OR 1=1 --")], json!({})).await;
        user.expect(201);
        assert_eq!(shop.orders().await, 2);
    }
}

#[tokio::test]
async fn only_the_tables_that_the_resource_names_are_there_and_never_triggerd_s_own() {
    let shop = Shop::postgres().await;
    shop.told().await;
    shop.db.run("CREATE TABLE secrets (id int PRIMARY KEY)").await;
    shop.post(json!({})).await.expect(201);
    shop.home.resource("databases", "shop", json!({"url": shop.db.url(), "tables": ["ord*"]})).await;
    shop.post(json!({})).await.expect(201);
    for table in ["secrets", "triggerd_deliveries", "triggerd_outbox", "public.secrets", "pg_catalog.pg_authid"] {
        let path = format!("/api/v1/databases/shop/tables/{table}/records");
        shop.home.get(&path).await.problem(422);
        shop.home.post(&path, json!({"id": 1})).await.problem(422);
        shop.ask(Method::DELETE, &path, &[], json!({"where": {"id": 1}})).await.problem(422);
    }
    assert_eq!(shop.db.count("secrets").await, 0);
}

#[tokio::test]
async fn a_database_that_is_down_is_503_with_retry_after() {
    let mut shop = Shop::postgres().await;
    shop.post(json!({})).await.expect(201);
    shop.db.stop();
    for answer in [shop.post(json!({})).await, shop.home.get(ORDERS).await] {
        assert!(!answer.header("retry-after").is_empty(), "{answer:#?}");
        answer.problem(503);
    }
    shop.db.start().await;
    shop.post(json!({})).await.expect(201);
}

#[tokio::test]
async fn the_environment_says_which_database_and_which_triggers() {
    let home = home().await;
    let (prd, dev) = (Database::postgres().await, Database::postgres().await);
    for db in [&prd, &dev] {
        db.run("CREATE TABLE t (id int PRIMARY KEY, who text)").await;
    }
    home.resource("databases", "shop", json!({"url": prd.url(), "envs": {"dev": {"url": dev.url()}}})).await;
    let set = json!([{"type": "record.set", "config": {"fields": {"who": "{{user.name}} in {{env}}"}}}]);
    home.trigger(json!({"tag": "who", "env": "dev", "tables": ["t"], "events": ["beforeInsert"], "actions": set}))
        .await;
    let path = "/api/v1/databases/shop/tables/t/records";
    home.post(path, json!({"id": 1})).await.expect(201);
    let request = home.request(Method::POST, &format!("{path}?env=dev")).json(&json!({"id": 2}));
    home.send(request.header("triggerd-user", r#"{"name": "Ann"}"#)).await.expect(201);
    let request = home.request(Method::POST, path).json(&json!({"id": 3}));
    home.send(request.header("triggerd-env", "dev")).await.expect(201);
    assert_eq!((prd.count("t").await, dev.count("t").await), (1, 2));
    assert_eq!(dev.text("who", "FROM t WHERE id = 2").await.unwrap(), "Ann in dev");
}

fn urlencode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
