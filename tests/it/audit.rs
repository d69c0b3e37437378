//! The audit log: what it tells, to whom, and that it cannot be gone round.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Cli, Home, Server, Settings, eventually, home, on};

fn action() -> Value {
    json!([{"type": "log.debug", "config": {"message": "m"}}])
}

async fn entries(home: &Home, query: &str) -> Vec<Value> {
    let page = home.get(&format!("/api/v1/audit?{query}")).await.expect(200);
    page["entries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_change_is_told_with_who_made_it_and_what_was_there_before_and_after() {
    let home = home().await;
    let made = home.post("/api/v1/keys", json!({"name": "ci", "scopes": ["triggers:write", "resources:write"]})).await;
    let made = made.expect(201);
    let ci = home.with_key(made["key"].as_str());
    ci.trigger(on("t", "x", action())).await;
    ci.trigger(on("t", "y", action())).await;
    ci.delete("/api/v1/triggers/t").await.expect(204);
    ci.resource("secrets", "TOKEN", json!({"value": "hunter2-canary"})).await;
    ci.resource("secrets", "TOKEN", json!({"value": "hunter3-canary"})).await;
    ci.post("/api/v1/keys", json!({"scopes": ["admin"]})).await.problem(403);
    ci.put("/api/v1/triggers/u", json!({"tag": "u"})).await.problem(422);
    ci.delete("/api/v1/triggers/absent").await.problem(404);
    let by_ci = entries(&home, &format!("key={}", made["id"].as_str().unwrap())).await;
    let told: Vec<Value> = by_ci
        .iter()
        .rev()
        .map(|entry| json!([entry["method"], entry["path"], entry["outcome"], entry["before"], entry["after"]]))
        .collect();
    let version = |n: u32| json!({"trigger": "t", "version": n});
    assert_eq!(
        told,
        [
            json!(["PUT", "/api/v1/triggers/t", "done", null, version(1)]),
            json!(["PUT", "/api/v1/triggers/t", "done", version(1), version(2)]),
            json!(["DELETE", "/api/v1/triggers/t", "done", version(2), null]),
            json!(["PUT", "/api/v1/secrets/TOKEN", "done", null, {"version": 1}]),
            json!(["PUT", "/api/v1/secrets/TOKEN", "done", {"version": 1}, {"version": 2}]),
            json!(["POST", "/api/v1/keys", "refused", null, null]),
            json!(["PUT", "/api/v1/triggers/u", "refused", null, null]),
            json!(["DELETE", "/api/v1/triggers/absent", "refused", null, null]),
        ]
    );
    assert_eq!(
        (&by_ci[2]["status"], &by_ci[1]["status"], &by_ci[0]["status"]),
        (&json!(403), &json!(422), &json!(404))
    );
    assert_eq!(by_ci[0]["tenant"], home.tenant);
    // Keys and tenants are told with what they may, and nothing that is secret is told at all.
    let keys = entries(&home, "path=/api/v1/keys&outcome=done").await;
    assert_eq!(keys[0]["key"], "admin");
    assert_eq!(keys[0]["after"]["scopes"], json!(["triggers:write", "resources:write"]));
    let all = home.get("/api/v1/audit?limit=1000").await.text;
    assert!(!all.contains("canary") && !all.contains(made["key"].as_str().unwrap()), "{all}");
    let operator = home.server().api().in_tenant(&home.tenant);
    operator.patch(&format!("/api/v1/tenants/{}", home.tenant), json!({"quotas": {"max_keys": 7}})).await.expect(200);
    let changed = &entries(&home, "path=/api/v1/tenants").await[0];
    assert_eq!((&changed["before"]["quotas"], &changed["after"]["quotas"]), (&json!({}), &json!({"max_keys": 7})));
}

#[tokio::test]
async fn the_log_is_read_in_pages_by_filters_as_lines_and_by_its_tenant_alone() {
    let (home, other) = (home().await, home().await);
    for n in 0..5 {
        home.resource("caches", &format!("c{n}"), json!({"kind": "memory"})).await;
    }
    let page = home.get("/api/v1/audit?limit=2").await.expect(200);
    assert_eq!((&page["total"], &page["has_more"]), (&json!(5), &json!(true)));
    let next = format!("/api/v1/audit?limit=4&cursor={}", page["cursor"].as_str().unwrap());
    let next = home.get(&next).await.expect(200);
    let paths: Vec<&str> = [&page, &next]
        .iter()
        .flat_map(|page| page["entries"].as_array().unwrap())
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    let wanted: Vec<String> = (0..5).rev().map(|n| format!("/api/v1/caches/c{n}")).collect();
    assert_eq!((paths, &next["has_more"]), (wanted.iter().map(String::as_str).collect(), &json!(false)));
    assert_eq!(entries(&home, "path=/api/v1/caches/c1").await.len(), 1);
    assert_eq!(entries(&home, "path=/api/v1/cache").await.len(), 0, "a path is not the beginning of another");
    assert_eq!(entries(&home, "method=put&end_time=2020-01-01T00:00:00Z").await.len(), 0);
    home.get("/api/v1/audit?outcome=fine").await.problem(400);
    let request =
        home.request(Method::GET, "/api/v1/audit?path=/api/v1/caches").header("accept", "application/x-ndjson");
    let lines = home.send(request).await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let ids: Vec<Value> =
        lines.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["path"].clone()).collect();
    assert_eq!(ids, wanted);
    assert_eq!(other.get("/api/v1/audit").await.expect(200)["total"], 0);
    home.with_scopes(&["events:read", "triggers:write"]).await.get("/api/v1/audit").await.problem(403);
    // The command line shows the same.
    let key = home.post("/api/v1/keys", json!({"scopes": ["admin"]})).await.expect(201);
    let key = key["key"].as_str().unwrap().to_owned();
    let cli = Cli { url: home.server().url(), key, tenant: None, data_dir: None };
    let shown = cli.run(&["audit", "--path", "/api/v1/caches", "--json"]).await.json();
    assert_eq!(shown.as_array().unwrap().len(), 5, "{shown:#}");
    let exported = cli.run(&["audit", "--export", "--method", "PUT"]).await.ok();
    assert_eq!(exported.lines().count(), 5);
    assert!(cli.run(&["audit"]).await.ok().contains("PUT"));
}

#[tokio::test]
async fn entries_of_changes_outlive_the_process_and_are_let_go_when_they_are_old() {
    let mut server = Server::with(Settings::default());
    for n in 0..20 {
        server.api().trigger(on(&format!("t{n}"), "x", action())).await;
    }
    server.crash_and_restart();
    let page = server.api().get("/api/v1/audit?path=/api/v1/triggers").await.expect(200);
    assert_eq!(page["total"], 20, "an entry is committed with what it tells of");
    server.set("AUDIT_RETENTION", "1s");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    server.crash_and_restart();
    eventually(|| async {
        let page = server.api().get("/api/v1/audit").await.expect(200);
        if page["total"] == 0 { Ok(()) } else { Err(format!("{} are left", page["total"])) }
    })
    .await;
}
