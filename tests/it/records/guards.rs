//! Before-triggers: they see each row, change what is written, and refuse without a trace.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ENGINES, ORDERS, SHOW, Shop};
use crate::harness::guest;
use crate::harness::sql_server::Engine;

#[tokio::test]
async fn a_rejection_is_422_with_the_trigger_and_its_words_and_leaves_nothing() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        shop.told().await;
        let reject = json!([{"type": "record.reject", "condition": {"field": "record.total", "operator": "EQUALS", "value": 0},
            "config": {"message": "Order {{record.id}} is free", "code": "FREE"}}]);
        shop.before("no-free-orders", "beforeInsert", reject).await;
        let request = shop.ask(
            Method::POST,
            ORDERS,
            &[("idempotency-key", "k")],
            json!([{"id": 6, "total": 1}, {"id": 7, "total": 0}]),
        );
        let problem = request.await.problem(422);
        assert_eq!(
            problem["rejection"],
            json!({"trigger": "no-free-orders", "code": "FREE", "message": "Order 7 is free"})
        );
        assert_eq!((&problem["code"], &problem["errors"][0]["pointer"]), (&json!("FREE"), &json!("/1")));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("no-free-orders") && detail.contains("Order 7 is free"), "{problem:#}");
        assert_eq!((shop.orders().await, !shop.entries().await.is_empty()), (0, false), "{engine:?}");
        assert_eq!(shop.db.count("triggerd_deliveries").await, 0, "a refusal can be tried again under its key");
        shop.post(json!({"id": 8, "total": 1})).await.expect(201);
    }
}

#[tokio::test]
async fn before_triggers_change_what_is_written_in_order() {
    let shop = Shop::postgres().await;
    let set = |fields: Value| json!([{"type": "record.set", "config": {"fields": fields}}]);
    shop.trigger("second", "beforeWrite", 2, set(json!({"note": "{{record.status}} of {{user}}"}))).await;
    shop.trigger("first", "beforeInsert", 1, set(json!({"status": "checked"}))).await;
    let answer = shop.ask(Method::POST, ORDERS, &[SHOW, ("triggerd-user", "ann")], json!({"status": "x"})).await;
    let row = answer.expect(201);
    assert_eq!((&row["status"], &row["note"]), (&json!("checked"), &json!("checked of ann")), "{row:#}");
    shop.trigger("third", "beforeInsert", 3, set(json!({"nots": 1}))).await;
    let problem = shop.post(json!({})).await.problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("did you mean `note`?"), "{problem:#}");
    shop.trigger("third", "beforeInsert", 3, json!([{"type": "http.get", "config": {"url": "http://127.0.0.1:1/"}}]))
        .await;
    let problem = shop.post(json!({})).await.problem(422);
    assert_eq!(problem["rejection"]["trigger"], "third", "a failing trigger refuses: {problem:#}");
    assert_eq!(shop.orders().await, 1);
}

#[tokio::test]
async fn a_guard_in_wasm_changes_or_refuses_the_row() {
    let shop = Shop::postgres().await;
    shop.db.run("ALTER TABLE orders ADD currency text").await;
    shop.home.component("order-guard", guest("order-guard")).await;
    let input = json!({"currencies": ["EUR"], "maxTotal": 1000});
    let check = json!([{"name": "check", "type": "custom", "config": {"component": "order-guard", "input": input}}]);
    shop.before("check-order", "beforeInsert", check).await;
    let order =
        |currency: &str| json!({"currency": currency, "items": [{"sku": "TEA", "quantity": 2, "price": "12.50"}]});
    let row = shop.ask(Method::POST, ORDERS, &[SHOW], order("eur")).await.expect(201);
    assert_eq!((&row["currency"], row["total"].to_string().as_str()), (&json!("EUR"), "25.00"), "{row:#}");
    let problem = shop.post(order("USD")).await.problem(422);
    assert_eq!((&problem["rejection"]["trigger"], &problem["code"]), (&json!("check-order"), &json!("ORDER_INVALID")));
    assert_eq!(shop.orders().await, 1);
}

#[tokio::test]
async fn before_update_sees_both_rows_and_what_operators_make_of_them_on_every_engine() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        shop.told().await;
        let actions = json!([
            {"type": "record.reject", "condition": {"field": "record.amount", "operator": "LESS_THAN", "value": 0},
             "config": {"message": "{{previousRecord.amount}} are there, {{record.amount}} would be left"}},
            {"type": "record.set", "config": {"fields": {"note": "was {{previousRecord.amount}}, is {{record.amount}}"}}},
        ]);
        shop.before("stock", "beforeUpdate", actions).await;
        shop.post(json!([{"id": 1, "amount": 5}, {"id": 2, "amount": 3}, {"id": 3, "status": "paid"}]))
            .await
            .expect(201);
        let take =
            |n: u32| json!({"values": {"amount": {"$DEC": n}, "at": {"$NOW": true}}, "where": {"status": "new"}});
        let rows = shop.ask(Method::PATCH, ORDERS, &[SHOW], take(3)).await.expect(200);
        let seen: Vec<(&Value, &Value)> =
            rows.as_array().unwrap().iter().map(|row| (&row["amount"], &row["note"])).collect();
        assert_eq!(seen, [(&json!(2), &json!("was 5, is 2")), (&json!(0), &json!("was 3, is 0"))], "{engine:?}");
        let problem = shop.home.patch(ORDERS, take(1)).await.problem(422);
        assert_eq!(problem["rejection"]["message"], "0 are there, -1 would be left", "{engine:?}: {problem:#}");
        let amounts = shop.db.text("amount", "FROM orders WHERE id = 1").await.unwrap();
        assert_eq!(amounts, "2", "one refused row refuses all");
        let updates = shop.entries().await.into_iter().filter(|entry| entry[0] == "update").count();
        assert_eq!(updates, 2, "{engine:?}");
        let none = json!({"values": {"amount": 1}, "where": {"id": 99}});
        assert_eq!(shop.home.patch(ORDERS, none).await.expect(200), json!({"count": 0}));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_patches_lose_no_update_on_every_engine() {
    for engine in ENGINES {
        for guarded in [true, false] {
            let shop = Shop::of(engine).await;
            shop.told().await;
            if guarded {
                let log = json!([{"type": "log.info", "config": {"message": "{{record.amount}}"}}]);
                shop.before("seen", "beforeUpdate", log).await;
            }
            shop.post(json!({"id": 1, "amount": 0})).await.expect(201);
            let patch = json!({"values": {"amount": {"$INC": 1}}, "where": {"id": 1}});
            let tries = (0..24).map(|_| shop.home.patch(ORDERS, patch.clone()));
            let answers = futures_util::future::join_all(tries).await;
            let done = answers.iter().filter(|answer| answer.status == 200).count();
            assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)), "{engine:?}: {answers:#?}");
            let amount = shop.db.text("amount", "FROM orders").await.unwrap();
            assert_eq!(amount, done.to_string(), "{engine:?}, guarded: {guarded}");
            assert!(done >= 20, "{engine:?}, guarded: {guarded}: {done} of 24 were done");
            let entries = shop.entries().await;
            let steps: Vec<(i64, i64)> = entries[1..]
                .iter()
                .map(|entry| (entry[1]["amount"].as_i64().unwrap(), entry[2]["amount"].as_i64().unwrap()))
                .collect();
            assert!(steps.iter().all(|(old, new)| old + 1 == *new) && steps.len() == done, "{engine:?}: {steps:?}");
        }
    }
}

#[tokio::test]
async fn a_row_that_changes_while_its_guard_thinks_is_judged_again() {
    let shop = Shop::postgres().await;
    shop.post(json!({"id": 1, "amount": 1})).await.expect(201);
    // The guard itself changes the row behind its back, until there are three of it.
    let meddle = json!([
        {"type": "database.update", "condition": {"field": "previousRecord.amount", "operator": "LESS_THAN", "value": 3},
         "config": {"database": "shop", "table": "orders", "values": {"amount": {"$INC": 1}}, "where": {"id": 1}}},
        {"type": "record.set", "config": {"fields": {"note": "seen at {{previousRecord.amount}}"}}},
    ]);
    shop.before("meddle", "beforeUpdate", meddle).await;
    let rows = shop
        .ask(Method::PATCH, ORDERS, &[SHOW], json!({"values": {"status": "x"}, "where": {"id": 1}}))
        .await
        .expect(200);
    assert_eq!((&rows[0]["amount"], &rows[0]["note"]), (&json!(3), &json!("seen at 3")), "{rows:#}");
    let for_ever = json!([{"type": "database.update", "config": {"database": "shop", "table": "orders",
        "values": {"amount": {"$INC": 1}}, "where": {"id": 1}}}]);
    shop.before("meddle", "beforeUpdate", for_ever).await;
    shop.home.patch(ORDERS, json!({"values": {"status": "y"}, "where": {"id": 1}})).await.problem(409);
    assert_eq!(shop.db.text("status", "FROM orders").await.unwrap(), "x");
}

#[tokio::test]
async fn before_delete_may_refuse_on_every_engine() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        shop.told().await;
        let keep = json!([{"type": "record.reject", "condition": {"field": "previousRecord.status", "operator": "EQUALS", "value": "paid"},
            "config": {"message": "order {{previousRecord.id}} is paid"}}]);
        shop.before("keep-paid", "beforeDelete", keep).await;
        shop.post(json!([{"id": 1}, {"id": 2, "status": "paid"}])).await.expect(201);
        let both = json!({"where": {"field": "id", "operator": "GREATER_THAN", "value": 0}});
        let problem = shop.ask(Method::DELETE, ORDERS, &[], both).await.problem(422);
        assert_eq!(problem["rejection"]["message"], "order 2 is paid", "{engine:?}: {problem:#}");
        assert_eq!(shop.orders().await, 2);
        let one = shop.ask(Method::DELETE, ORDERS, &[], json!({"where": {"id": 1}})).await.expect(200);
        assert_eq!((one, shop.orders().await), (json!({"count": 1}), 1), "{engine:?}");
    }
}

#[tokio::test]
async fn rows_that_cannot_be_told_apart_or_are_too_many_are_not_changed_under_guard() {
    let shop = Shop::of(Engine::Postgres).await;
    shop.before("seen", "beforeUpdate", json!([{"type": "log.info", "config": {"message": "seen"}}])).await;
    shop.db.run("INSERT INTO orders (amount) SELECT 1 FROM generate_series(1, 1001)").await;
    let problem = shop.home.patch(ORDERS, json!({"values": {"amount": 2}, "where": {"amount": 1}})).await.problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("more than 1000"), "{problem:#}");
    shop.db.run("ALTER TABLE orders DROP CONSTRAINT orders_pkey").await;
    shop.home.resource("databases", "shop", json!({"url": shop.db.url(), "statementTimeout": 4000})).await;
    let problem = shop.home.patch(ORDERS, json!({"values": {"amount": 2}, "where": {"id": 1}})).await.problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("no primary key"), "{problem:#}");
    assert_eq!(shop.db.count("orders WHERE amount = 2").await, 0);
}

#[tokio::test]
async fn another_name_of_the_table_or_a_column_leads_past_no_guard() {
    let shop = Shop::postgres().await;
    let cheap = json!([{"type": "record.reject", "condition": {"field": "record.total", "operator": "LESS_THAN", "value": 5},
        "config": {"message": "no"}}]);
    shop.before("closed", "beforeWrite", cheap).await;
    let problem = shop.post(json!({"record.total": 1})).await.problem(422);
    assert_eq!(problem["code"], "DB_UNKNOWN_COLUMN", "{problem:#}");
    shop.post(json!({"id": 1, "total": 9})).await.expect(201);
    for values in [json!({"record.total": 1}), json!({"record.total": {"$DEC": 8}}), json!({"total": {"$DEC": 8}})] {
        shop.home.patch(ORDERS, json!({"values": values, "where": {"id": 1}})).await.problem(422);
    }
    assert_eq!(shop.db.count("orders WHERE total = 9").await, shop.orders().await);
    shop.ask(Method::DELETE, ORDERS, &[], json!({"where": {"id": 1}})).await.expect(200);
    shop.before("closed", "beforeWrite", json!([{"type": "record.reject", "config": {"message": "no"}}])).await;
    for table in ["orders", "public.orders"] {
        let path = format!("/api/v1/databases/shop/tables/{table}/records");
        shop.home.post(&path, json!({})).await.problem(422);
    }
    assert_eq!(shop.orders().await, 0);
}
