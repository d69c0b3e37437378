//! What goes with a sync while it lives, and with it when it is deleted: its component, its runs, its conflicts.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::sql_server::Database;
use crate::harness::{Api, Server, Settings, eventually, guest, home};
use crate::sync::{TABLE, both_hold, conflicts, file, two_way};

#[tokio::test]
async fn a_component_that_a_sync_calls_cannot_be_deleted() {
    let home = home().await;
    home.component("row-merge", guest("row-merge")).await;
    let settings = |more: Value| {
        let mut settings =
            json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"}});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    };
    home.resource("syncs", "made", settings(json!({"transform": {"component": "row-merge@1"}}))).await;
    home.resource("syncs", "asked", settings(json!({"conflict": {"component": "row-merge"}}))).await;
    home.resource("syncs", "waits", settings(json!({"transform": {"component": "not-there"}}))).await;
    let users = async || home.delete("/api/v1/components/row-merge").await.problem(409)["detail"].clone();
    assert_eq!(users().await, "component `row-merge` is used by syncs/asked, syncs/made");
    home.get("/api/v1/components/row-merge").await.expect(200);
    home.delete("/api/v1/components/not-there").await.problem(404);
    home.delete("/api/v1/syncs/made").await.expect(204);
    assert_eq!(users().await, "component `row-merge` is used by syncs/asked");
    home.delete("/api/v1/syncs/asked").await.expect(204);
    home.delete("/api/v1/components/row-merge").await.expect(204);
}

#[tokio::test]
async fn a_sync_is_of_one_environment() {
    let home = home().await;
    let settings = json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"},
        "envs": {"prd": {"deletes": false}}});
    let problem = home.put("/api/v1/syncs/items", settings).await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/envs", "{problem:#}");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("`env`"), "{problem:#}");
}

#[tokio::test]
async fn what_waits_when_a_sync_is_deleted_ends_without_a_dead_letter() {
    let home = home().await;
    let (a, mut b) = (file(&home), Database::postgres().await);
    two_way(&home, &a, &b, json!({})).await;
    a.run("INSERT INTO items VALUES (1, 'one', 1, NULL)").await;
    both_hold(&a, &b, "items", &["id", "name"], &["1|one"]).await;
    b.stop();
    a.run("INSERT INTO items VALUES (2, 'two', 2, NULL)").await;
    let waiting = eventually(|| async {
        let inbox = home.get("/api/v1/inbox?table=items&status=pending").await.expect(200);
        let event = inbox["events"][0].clone();
        if event["delivery_attempts"].as_u64() >= Some(1) { Ok(event) } else { Err(format!("{inbox:#}")) }
    })
    .await;
    home.delete("/api/v1/syncs/items").await.expect(204);
    let ended = home.ended(waiting["event_id"].as_str().unwrap()).await;
    assert_eq!(ended["status"], "delivered", "{ended:#}");
    let action = &ended["runs"][0]["actions"][0];
    // It ended from the store, or in memory where an attempt was just on its way.
    let skipped = action["reason"] == "sync gone" || action["output"]["skipped"] == "the sync is gone";
    assert!(skipped, "{ended:#}");
    assert_eq!(home.get("/api/v1/dead-letters").await.expect(200)["total"], 0);
}

/// Makes a conflict: a change that is older than what it would replace.
async fn stale_change(api: &Api, b: &Database, number: usize) {
    b.run(&format!("UPDATE items SET name = 'stale {number}', updated_at = '2025-12-22T09:00:00Z'")).await;
    eventually(|| async {
        let listed = conflicts(api, "items").await.len();
        let undone = b.count("items WHERE name = 'one'").await;
        if (listed, undone) == (number, 1) { Ok(()) } else { Err(format!("{listed} conflicts, {undone} undone")) }
    })
    .await;
}

#[tokio::test]
async fn resolved_conflicts_go_with_time_and_the_oldest_where_there_are_too_many() {
    let settings = Settings::default().set("RATE_LIMIT", "0").set("RETENTION", "1s").set("MAX_SYNC_CONFLICTS", "3");
    let mut server = Server::with(settings);
    let files = server.data_dir().join("databases");
    std::fs::create_dir_all(&files).unwrap();
    let (a, b, api) = (Database::file(&files), Database::file(&files), server.api());
    for (tag, db) in [("a", &a), ("b", &b)] {
        db.run(TABLE).await;
        api.resource("databases", tag, db.settings()).await;
    }
    let settings = json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"},
        "conflict": {"policy": "newest", "by": "updated_at"}});
    api.resource("syncs", "items", settings).await;
    a.run("INSERT INTO items VALUES (1, 'one', 1, '2025-12-22T10:00:00Z')").await;
    both_hold(&a, &b, "items", &["id", "name"], &["1|one"]).await;
    for number in 1..=5 {
        stale_change(&api, &b, number).await;
    }
    // What the alerts ask for is what is told.
    let told = api.get("/metrics").await.text;
    let rules = include_str!("../../deploy/prometheus/syncs.rules.yml");
    let asked: Vec<&str> = rules.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).collect();
    let asked: Vec<&&str> = asked.iter().filter(|word| word.starts_with("triggerd_")).collect();
    assert!(asked.len() >= 5, "{asked:?}");
    for metric in asked {
        assert!(told.contains(&format!("{metric}{{")), "{metric} is not told:\n{told}");
    }
    let newest = conflicts(&api, "items").await[0].clone();
    let path = format!("/api/v1/syncs/items/conflicts/{}/restore", newest["id"].as_str().unwrap());
    api.post(&path, json!({})).await.expect(200);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // Looked at once a minute, and at the start.
    server.stop();
    server.up();
    let api = server.api();
    let left = eventually(|| async {
        let left = conflicts(&api, "items").await;
        if left.len() == 3 { Ok(left) } else { Err(format!("{left:#?}")) }
    })
    .await;
    let names: Vec<&Value> = left.iter().map(|conflict| &conflict["lost"]["name"]).collect();
    assert_eq!(names, ["stale 4", "stale 3", "stale 2"], "the restored one and the oldest are gone");
    let told = api.get("/metrics").await.text;
    assert!(told.contains("triggerd_sync_conflicts_dropped_total{sync=\"items\"} 1"), "{told}");
}
