//! Who tells of a change: the table's own row triggers where there are any, else the API.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ENGINES, ORDERS, Shop};
use crate::harness::sql_server::Engine;

/// Row triggers as capture installs them, as far as the API has to do with them.
async fn capture(shop: &Shop) {
    let statements: &[&str] = match shop.db.engine {
        Engine::Postgres => &[
            "CREATE FUNCTION triggerd_capture() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO triggerd_outbox (operation, table_name, old_row, new_row, user_info, type) VALUES (lower(TG_OP), TG_TABLE_NAME, \
             row_to_json(OLD), row_to_json(NEW), NULLIF(current_setting('triggerd.user', true), '')::json, 'captured'); \
             RETURN NULL; END $$",
            "CREATE TRIGGER triggerd_capture AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION triggerd_capture()",
        ],
        Engine::MariaDb => &[
            "CREATE TRIGGER triggerd_orders_insert AFTER INSERT ON orders FOR EACH ROW INSERT INTO triggerd_outbox \
             (operation, table_name, user_info, type) VALUES ('insert', 'orders', @triggerd_user, 'captured')",
            "CREATE TRIGGER triggerd_orders_update AFTER UPDATE ON orders FOR EACH ROW INSERT INTO triggerd_outbox \
             (operation, table_name, user_info, type) VALUES ('update', 'orders', @triggerd_user, 'captured')",
        ],
        Engine::Sqlite => &[
            "CREATE TABLE triggerd_session (name TEXT PRIMARY KEY, value TEXT)",
            "CREATE TRIGGER triggerd_orders_insert AFTER INSERT ON orders BEGIN INSERT INTO triggerd_outbox \
             (operation, table_name, user_info, type) VALUES ('insert', 'orders', (SELECT value FROM triggerd_session WHERE name = 'user'), 'captured'); END",
            "CREATE TRIGGER triggerd_orders_update AFTER UPDATE ON orders BEGIN INSERT INTO triggerd_outbox \
             (operation, table_name, user_info, type) VALUES ('update', 'orders', (SELECT value FROM triggerd_session WHERE name = 'user'), 'captured'); END",
        ],
    };
    for sql in statements {
        shop.db.run(sql).await;
    }
}

#[tokio::test]
async fn a_captured_table_tells_of_itself_and_of_the_user_once_on_every_engine() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        shop.told().await;
        let by = |user: &'static str| [("triggerd-user", user)];
        let users = async || {
            let mut users = Vec::new();
            for n in 0..shop.db.count("triggerd_outbox").await {
                let rest = format!("FROM triggerd_outbox ORDER BY id LIMIT 1 OFFSET {n}");
                let user = shop
                    .db
                    .text("user_info", &rest)
                    .await
                    .map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
                users.push(json!([shop.db.text("type", &rest).await, user]));
            }
            users
        };
        shop.ask(Method::POST, ORDERS, &by(r#"{"id": 7}"#), json!({"id": 1, "amount": 1})).await.expect(201);
        assert_eq!(users().await, [json!([null, {"id": 7}])], "{engine:?}");
        capture(&shop).await;
        shop.ask(Method::POST, ORDERS, &by("ann"), json!([{"id": 2}, {"id": 3}])).await.expect(201);
        let patch = json!({"values": {"amount": {"$INC": 1}}, "where": {"id": 1}});
        shop.ask(Method::PATCH, ORDERS, &by("bob"), patch.clone()).await.expect(200);
        shop.ask(Method::PATCH, ORDERS, &[], patch).await.expect(200);
        let captured = |user: &str| json!(["captured", user]);
        let expected =
            [json!([null, {"id": 7}]), captured("ann"), captured("ann"), captured("bob"), json!(["captured", null])];
        assert_eq!(users().await, expected, "{engine:?}: each change is told of once, and by nobody who wrote before");
    }
}

#[tokio::test]
async fn nobody_is_told_where_no_trigger_wants_to_know() {
    let shop = Shop::postgres().await;
    let log = json!([{"type": "log.info", "config": {"message": "told"}}]);
    shop.trigger("updates", "afterUpdate", 1, log.clone()).await;
    shop.post(json!({"id": 1})).await.expect(201);
    assert!(!shop.is_told_of().await);
    shop.home.trigger(json!({"tag": "by-type", "events": ["orders.created"], "actions": log})).await;
    shop.post(json!({"id": 2})).await.expect(201);
    assert_eq!(shop.entries().await.len(), 1, "an event type is a wish to know, too");
    let row = "FROM triggerd_outbox";
    assert_eq!(shop.db.text("table_name", row).await.as_deref(), Some("orders"));
    assert_eq!(shop.db.text("schema_name", row).await.as_deref(), Some("public"));
    assert!(shop.db.text("transaction", row).await.is_some_and(|id| id.parse::<u64>().is_ok()));
}

#[tokio::test]
async fn an_entry_that_cannot_be_made_undoes_the_write_on_every_engine() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        shop.told().await;
        shop.post(json!({"id": 1, "amount": 1})).await.expect(201);
        shop.db.run("DELETE FROM triggerd_outbox").await;
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
    shop.told().await;
    shop.post(json!({"id": 1})).await.expect(201);
    shop.db.run("DROP TABLE triggerd_outbox").await;
    shop.post(json!({"id": 2})).await.problem(503);
    shop.post(json!({"id": 2})).await.expect(201);
    assert_eq!((shop.orders().await, shop.entries().await.len()), (2, 1));
}
