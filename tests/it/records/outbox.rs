//! Who tells of a change: the table's own row triggers where there are any, else the API.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ENGINES, ORDERS, Shop};
use crate::harness::eventually;

#[tokio::test]
async fn every_change_is_told_of_once_with_who_made_it_on_every_engine() {
    for engine in ENGINES {
        for named in [true, false] {
            let shop = Shop::of(engine).await;
            // By the table's own row triggers, and by the API alone, for a trigger that no capture is made for.
            let log = json!([{"type": "log.info", "config": {"message": "{{user.id}}"}}]);
            let mut definition = json!({"tag": "told", "tables": ["orders"], "events": ["afterWrite"], "actions": log});
            if named {
                definition["database"] = json!("shop");
            }
            shop.home.trigger(definition).await;
            let by = |user: &'static str| [("triggerd-user", user)];
            shop.ask(Method::POST, ORDERS, &by(r#"{"id": 7}"#), json!({"id": 1, "amount": 1})).await.expect(201);
            shop.ask(Method::POST, ORDERS, &by("ann"), json!([{"id": 2}, {"id": 3}])).await.expect(201);
            let patch = json!({"values": {"amount": {"$INC": 1}}, "where": {"id": 1}});
            shop.ask(Method::PATCH, ORDERS, &by("bob"), patch.clone()).await.expect(200);
            shop.ask(Method::PATCH, ORDERS, &[], patch).await.expect(200);
            let mut users = Vec::new();
            for event in shop.told_events().await {
                let detail = shop.home.ended(event["event_id"].as_str().unwrap()).await;
                assert_eq!(detail["status"], "delivered", "{engine:?}: {detail:#}");
                users.push(detail["user"]["id"].clone());
            }
            let expected = [json!(7), json!("ann"), json!("ann"), json!("bob"), Value::Null];
            assert_eq!(users, expected, "{engine:?}, named: {named}");
        }
    }
}

#[tokio::test]
async fn a_trigger_that_names_no_database_is_told_beside_one_that_captures_less() {
    let shop = Shop::postgres().await;
    let log = json!([{"type": "log.info", "config": {"message": "x"}}]);
    let only = json!({"field": "record.status", "operator": "EQUALS", "value": "paid"});
    let captured = json!({"tag": "captured", "database": "shop", "tables": ["orders"], "events": ["afterInsert"],
        "condition": only, "actions": log});
    shop.home.trigger(captured).await;
    shop.home.trigger(json!({"tag": "by-type", "events": ["orders.created"], "actions": log})).await;
    shop.post(json!([{"id": 1, "status": "new"}, {"id": 2, "status": "paid"}])).await.expect(201);
    let events = shop.told_events().await;
    assert_eq!(events.len(), 2, "{events:#?}");
    let detail = shop.home.ended(events[1]["event_id"].as_str().unwrap()).await;
    assert_eq!(detail["runs"].as_array().unwrap().len(), 2, "{detail:#}");
}

#[tokio::test]
async fn nobody_is_told_where_no_trigger_wants_to_know() {
    let shop = Shop::postgres().await;
    let log = json!([{"type": "log.info", "config": {"message": "told"}}]);
    shop.trigger("updates", "afterUpdate", 1, log.clone()).await;
    shop.post(json!({"id": 1})).await.expect(201);
    assert_eq!(shop.entries().await.len(), 0);
    shop.home.trigger(json!({"tag": "by-type", "events": ["orders.created"], "actions": log})).await;
    shop.post(json!({"id": 2})).await.expect(201);
    assert_eq!(shop.entries().await.len(), 1, "an event type is a wish to know, too");
}

#[tokio::test]
async fn an_entry_that_cannot_be_made_undoes_the_write_on_every_engine() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        shop.told().await;
        shop.post(json!({"id": 1, "amount": 1})).await.expect(201);
        shop.entries().await;
        shop.db.run("DROP TABLE triggerd_outbox").await;
        shop.db.run("CREATE TABLE triggerd_outbox (id INTEGER PRIMARY KEY, other INTEGER)").await;
        let patch = json!({"values": {"amount": 2}, "where": {"id": 1}});
        assert!(shop.post(json!([{"id": 2}, {"id": 3}])).await.status >= 400, "{engine:?}");
        assert!(shop.home.patch(ORDERS, patch).await.status >= 400, "{engine:?}");
        assert!(shop.ask(Method::DELETE, ORDERS, &[], json!({"where": {"id": 1}})).await.status >= 400, "{engine:?}");
        let unchanged = shop.db.count("orders WHERE id = 1 AND amount = 1").await;
        assert_eq!((shop.orders().await, unchanged), (1, 1), "{engine:?}");
    }
}

#[tokio::test]
async fn an_outbox_that_was_dropped_is_made_anew() {
    let shop = Shop::postgres().await;
    // Nothing is captured for it: the API alone writes into the outbox.
    let log = json!([{"type": "log.info", "config": {"message": "x"}}]);
    shop.home.trigger(json!({"tag": "by-type", "events": ["orders.created"], "actions": log})).await;
    shop.post(json!({"id": 1})).await.expect(201);
    assert_eq!(shop.entries().await.len(), 1);
    shop.db.run("DROP TABLE triggerd_outbox").await;
    eventually(|| async {
        let answer = shop.post(json!({"id": 2})).await;
        if answer.status == 201 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    eventually(|| async {
        let events = shop.told_events().await.len();
        if events == 2 { Ok(()) } else { Err(format!("{events} events")) }
    })
    .await;
    assert_eq!(shop.orders().await, 2);
}
