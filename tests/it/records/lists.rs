//! Lists of rows: what is meant, what is shown, in pages that hold everything once.

use serde_json::{Value, json};

use super::{ENGINES, ORDERS, Shop, encoded};
use crate::harness::sql_server::Engine;

async fn page(shop: &Shop, query: &str) -> Value {
    shop.home.get(&format!("{ORDERS}?{query}")).await.expect(200)
}

/// The ids of all pages.
async fn walked(shop: &Shop, query: &str) -> Vec<i64> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let found = page(shop, &format!("{query}&limit=3{cursor}")).await;
        ids.extend(found["records"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()));
        assert_eq!(found["has_more"] == true, found["cursor"].is_string(), "{found:#}");
        match found["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn pages_hold_every_row_once_in_any_order_on_every_engine() {
    for engine in ENGINES {
        let shop = Shop::of(engine).await;
        let rows: Vec<Value> = (1..=10)
            .map(|id| {
                let amount = if id % 3 == 0 { Value::Null } else { json!(id % 4) };
                json!({"id": id, "amount": amount, "note": format!("n{}", id % 2), "at": format!("2026-01-{:02}T10:00:00.123456Z", 20 - id)})
            })
            .collect();
        shop.post(json!(rows)).await.expect(201);
        shop.db.run("UPDATE orders SET at = '2026-01-01 10:00:00' WHERE id = 4").await;
        assert_eq!(walked(&shop, "").await, (1..=10).collect::<Vec<_>>(), "{engine:?}");
        assert_eq!(walked(&shop, "order=id.desc").await, (1..=10).rev().collect::<Vec<_>>(), "{engine:?}");
        for order in [
            "amount",
            "amount.desc",
            "note.desc,amount",
            "at",
            "at.desc,note",
            "total,id.desc",
            "status.desc,total.desc",
        ] {
            let mut ids = walked(&shop, &format!("order={order}")).await;
            let whole = page(&shop, &format!("order={order}&limit=100")).await;
            let whole: Vec<i64> =
                whole["records"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
            assert_eq!(ids, whole, "{engine:?} by {order}: the pages are the whole");
            ids.sort_unstable();
            assert_eq!(ids, (1..=10).collect::<Vec<_>>(), "{engine:?} by {order}");
        }
        let some = encoded(&json!({"field": "id", "operator": "IN", "value": [2, 4, 6, 8]}));
        assert_eq!(walked(&shop, &some).await, [2, 4, 6, 8]);
        let found = page(&shop, &format!("{some}&select=id,note&order=amount&limit=1")).await;
        assert_eq!((&found["total"], &found["total_is_exact"]), (&json!(4), &json!(true)), "{found:#}");
        assert_eq!(found["records"][0].as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "note"], "{found:#}");
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_is_refused_with_the_place() {
    let shop = Shop::postgres().await;
    shop.post(json!([{"id": 1}, {"id": 2}])).await.expect(201);
    let cursor = page(&shop, "limit=1").await["cursor"].as_str().unwrap().to_owned();
    for query in
        ["limit=0", "limit=1001", "cursor=nonsense", "where=nonsense", "wher=1", &format!("cursor={cursor}&order=note")]
    {
        shop.home.get(&format!("{ORDERS}?{query}")).await.problem(400);
    }
    for query in ["select=idd", "order=idd", &encoded(&json!({"idd": 1})), &encoded(&json!({"jsonpath": "$.a"}))] {
        let problem = shop.home.get(&format!("{ORDERS}?{query}")).await.problem(422);
        assert_eq!(problem["errors"].as_array().map(Vec::len), Some(1), "{query}: {problem:#}");
    }
    assert_eq!(page(&shop, "where={}").await["total"], 2);
    let key = shop.home.with_scopes(&["events:write", "resources:write", "triggers:write"]).await;
    key.get(ORDERS).await.problem(403);
}

#[tokio::test]
async fn rows_are_counted_as_far_as_ten_thousand_and_shown_without_a_key_too() {
    let shop = Shop::of(Engine::Postgres).await;
    shop.db.run("INSERT INTO orders (amount) SELECT 1 FROM generate_series(1, 10050)").await;
    let found = page(&shop, "limit=2").await;
    assert_eq!((&found["total"], &found["total_is_exact"]), (&json!(10_000), &json!(false)), "{found:#}");
    shop.db.run("ALTER TABLE orders DROP CONSTRAINT orders_pkey").await;
    shop.home.resource("databases", "shop", json!({"url": shop.db.url(), "statementTimeout": 4000})).await;
    let found = page(&shop, "limit=2").await;
    assert_eq!((&found["has_more"], &found["cursor"]), (&json!(true), &Value::Null), "{found:#}");
}
