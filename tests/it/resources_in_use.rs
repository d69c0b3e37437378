//! What triggers, components and other resources use cannot be deleted, and the answer says who does; and the schemas.

use serde_json::{Value, json};

use crate::harness::{Home, call, home, on};

async fn users(home: &Home, path: &str) -> String {
    home.delete(path).await.problem(409)["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_resource_in_use_is_kept_and_its_users_are_named() {
    let home = home().await;
    home.resource("secrets", "TOKEN", json!({"value": "0123456789"})).await;
    home.resource("secrets", "REDIS_PW", json!({"value": "0123456789"})).await;
    home.resource("caches", "main", json!({"kind": "redis", "url": "redis://:{{secrets.REDIS_PW}}@127.0.0.1:1"})).await;
    home.resource("brokers", "bus", json!({"kind": "redis", "url": "redis://127.0.0.1:1"})).await;
    home.resource(
        "notifications",
        "mail",
        json!({"from": "a@example.com", "mailbox": true,
        "smtp": {"host": "127.0.0.1", "password": {"secret": "TOKEN"}, "username": "u"},
        "messages": {"hello": {"subject": "s", "text": "t"}}}),
    )
    .await;
    home.resource("storages", "files", json!({"kind": "memory"})).await;
    let mut posted = call("posted", "http://127.0.0.1:1/");
    posted["config"]["auth"] = json!({"bearer": "{{secrets.TOKEN}}"});
    posted["fallback"] = json!([
        {"name": "kept", "type": "cache.set", "config": {"cache": "main", "key": "k", "value": 1}},
        {"name": "told", "type": "broker.publish", "config": {"broker": "bus:{{record.topic}}", "message": 1}},
    ]);
    let actions = json!([
        posted,
        {"name": "mailed", "type": "notification.email",
            "config": {"notification": "mail:hello", "recipients": "b@example.com"}},
        {"name": "stored", "type": "storage.delete", "config": {"storage": "files", "path": "p"}},
    ]);
    home.trigger(on("uses", "uses", actions)).await;
    for (path, used_by) in [
        ("/api/v1/secrets/TOKEN", "secret `TOKEN` is used by notifications/mail, trigger uses"),
        ("/api/v1/secrets/REDIS_PW", "secret `REDIS_PW` is used by caches/main"),
        ("/api/v1/caches/main", "cache `main` is used by trigger uses"),
        ("/api/v1/brokers/bus", "broker `bus` is used by trigger uses"),
        ("/api/v1/notifications/mail", "notification `mail` is used by trigger uses"),
        ("/api/v1/storages/files", "storage `files` is used by trigger uses"),
    ] {
        assert_eq!(users(&home, path).await, used_by);
        home.get(path).await.expect(200);
    }
    home.patch("/api/v1/triggers/uses", json!({"enabled": false})).await.expect(200);
    assert!(users(&home, "/api/v1/caches/main").await.contains("trigger uses"), "it may be enabled again");
    home.delete("/api/v1/triggers/uses").await.expect(204);
    assert!(users(&home, "/api/v1/secrets/REDIS_PW").await.contains("caches/main"));
    for path in
        ["caches/main", "brokers/bus", "notifications/mail", "storages/files", "secrets/TOKEN", "secrets/REDIS_PW"]
    {
        home.delete(&format!("/api/v1/{path}")).await.expect(204);
        home.delete(&format!("/api/v1/{path}")).await.problem(404);
    }
}

#[tokio::test]
async fn another_tenant_s_triggers_do_not_count() {
    let (home, other) = (home().await, home().await);
    home.resource("caches", "main", json!({"kind": "memory"})).await;
    let action = json!([{"type": "cache.delete", "config": {"cache": "main", "key": "k"}}]);
    other.trigger(on("uses", "uses", action)).await;
    home.delete("/api/v1/caches/main").await.expect(204);
}

#[tokio::test]
async fn everything_that_can_be_written_has_a_schema() {
    let home = home().await;
    let listed = home.get("/api/v1/schemas").await.expect(200);
    for (path, names) in [("resources", &listed["resources"]), ("actions", &listed["actions"])] {
        let names: Vec<&str> = names.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(names.len() >= 5, "{names:?}");
        for name in names {
            let schema = home.get(&format!("/api/v1/schemas/{path}/{name}")).await.expect(200);
            // One object, or one for each system that the kind knows.
            let alone = [schema.clone()];
            for one in schema["oneOf"].as_array().map_or(&alone[..], Vec::as_slice) {
                assert_eq!(one["type"], "object", "{path}/{name}: {one}");
                assert_eq!(one["additionalProperties"], false, "{path}/{name}");
                // A sync is of one environment, and so is a hook.
                let by_env = path == "resources" && !["hooks", "syncs"].contains(&name);
                assert_eq!(one["properties"]["envs"].is_object(), by_env, "{path}/{name}");
            }
        }
        home.get(&format!("/api/v1/schemas/{path}/nothing")).await.problem(404);
    }
    let cache = home.get("/api/v1/schemas/resources/caches").await.expect(200);
    assert!(cache["properties"]["envs"].is_object() && cache["properties"]["url"]["description"].is_string());
}
