//! `Prefer: resolution=merge-duplicates`: new rows, or those that are there.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ENGINES, ORDERS, Shop};

const MERGE: (&str, &str) = ("prefer", "resolution=merge-duplicates, return=representation");

#[tokio::test]
async fn rows_are_inserted_or_merged_and_told_of_as_what_they_were_on_every_engine() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        shop.told().await;
        shop.post(json!({"id": 1, "amount": 1, "note": "kept"})).await.expect(201);
        let answer =
            shop.ask(Method::POST, ORDERS, &[MERGE], json!([{"id": 1, "amount": 2}, {"id": 2, "amount": 3}])).await;
        assert_eq!(answer.header("preference-applied"), "return=representation, resolution=merge-duplicates");
        let rows = answer.expect(201);
        assert_eq!(
            (&rows[0]["note"], &rows[0]["amount"], &rows[1]["id"]),
            (&json!("kept"), &json!(2), &json!(2)),
            "{engine:?}: {rows:#}"
        );
        let told: Vec<Value> = shop.entries().await.into_iter().map(|entry| entry[0].clone()).collect();
        assert_eq!(told.len(), 3, "{engine:?}");
        assert!(told[1..].contains(&json!("insert")) && told[1..].contains(&json!("update")), "{engine:?}: {told:?}");
        let again = shop.ask(Method::POST, ORDERS, &[MERGE], json!({"id": 2, "amount": 4})).await.expect(200);
        assert_eq!((&again["id"], &again["amount"]), (&json!(2), &json!(4)), "{engine:?}: one row comes alone");
        shop.ask(Method::POST, ORDERS, &[MERGE], json!([{"id": 5}, {"id": 5}])).await.problem(422);
        shop.ask(Method::POST, ORDERS, &[MERGE], json!({"amount": 5})).await.problem(422);
        assert_eq!(shop.orders().await, 2);
    }
}

#[tokio::test]
async fn guards_see_an_upsert_as_what_it_comes_to() {
    let shop = Shop::postgres().await;
    let note = |text: &str| json!([{"type": "record.set", "config": {"fields": {"note": text}}}]);
    shop.before("new", "beforeInsert", note("new")).await;
    shop.before("changed", "beforeUpdate", note("{{previousRecord.amount}} to {{record.amount}}")).await;
    let rows = shop.ask(Method::POST, ORDERS, &[MERGE], json!([{"id": 1, "amount": 1}])).await.expect(201);
    assert_eq!(rows[0]["note"], "new");
    let rows = shop.ask(Method::POST, ORDERS, &[MERGE], json!([{"id": 1, "amount": 2}])).await.expect(200);
    assert_eq!(rows[0]["note"], "1 to 2");
    shop.db.run("ALTER TABLE orders ADD code text UNIQUE; UPDATE orders SET code = 'a'").await;
    let by_code = format!("{ORDERS}?on_conflict=code");
    let rows = shop.ask(Method::POST, &by_code, &[MERGE], json!([{"code": "a", "amount": 3}])).await.expect(200);
    assert_eq!((&rows[0]["id"], &rows[0]["note"]), (&json!(1), &json!("2 to 3")), "{rows:#}");
    shop.ask(Method::POST, &by_code, &[], json!({"code": "b"})).await.problem(400);
    let taken = shop.ask(Method::POST, &by_code, &[MERGE], json!({"code": "c", "id": 1})).await.problem(409);
    assert!(taken["detail"].as_str().unwrap().contains("orders_pkey"), "{taken:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_upserts_of_one_row_end_as_one_row() {
    for guarded in [false, true] {
        let shop = Shop::postgres().await;
        shop.told().await;
        if guarded {
            shop.before("seen", "beforeWrite", json!([{"type": "log.info", "config": {"message": "seen"}}])).await;
        }
        let tries = (0..12).map(|n| shop.ask(Method::POST, ORDERS, &[MERGE], json!({"id": 1, "amount": n})));
        let answers = futures_util::future::join_all(tries).await;
        let done = answers.iter().filter(|answer| matches!(answer.status, 200 | 201)).count();
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 201 | 409)), "{answers:#?}");
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "one of them inserts");
        assert_eq!((shop.orders().await, shop.entries().await.len()), (1, done), "guarded: {guarded}");
    }
}
