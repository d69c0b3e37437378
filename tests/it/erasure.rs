//! Events can be taken out as they are, and what they say about somebody can be forgotten.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Api, Receiver, Reply, Server, Settings, call, change, eventually, fast, home, on, store};

const ADA: &str = "ada.lovelace@example.com";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_export_has_every_event_once_oldest_first_and_goes_on_where_it_broke_off() {
    let home = home().await;
    home.trigger(on("noted", "x.noted", json!([{"name": "n", "type": "log.info", "config": {"message": "m"}}]))).await;
    let mut kept = Vec::new();
    for n in 0..5 {
        kept.push(home.event(&format!("x.{}", n % 2), json!({"n": n})).await);
    }
    kept.push(home.event_ended("x.noted", json!({})).await["event_id"].as_str().unwrap().to_owned());
    let answer = home.get("/api/v1/events/export").await;
    assert!(answer.header("content-type").starts_with("application/x-ndjson"));
    let all = lines(&answer.text);
    assert_eq!(ids(&all), kept);
    assert_eq!(
        (&all[1]["payload"]["n"], &all[1]["status"], &all[1]["env"]),
        (&json!(1), &json!("unmatched"), &json!("default"))
    );
    assert_eq!(all[5]["runs"], Value::Null, "runs come where they are asked for");
    let rest = lines(&home.get(&format!("/api/v1/events/export?runs=true&after={}", kept[3])).await.text);
    assert_eq!(ids(&rest), kept[4..]);
    assert_eq!(rest[1]["runs"][0]["actions"][0]["status"], "delivered");
    let some = lines(&home.get("/api/v1/events/export?event_type=x.1").await.text);
    assert_eq!(ids(&some), [&kept[1], &kept[3]]);
    let from = all[4]["timestamp"].as_str().unwrap();
    let later = lines(&home.get(&format!("/api/v1/events/export?start_time={from}")).await.text);
    assert!(ids(&later).ends_with(&[kept[4].as_str(), kept[5].as_str()]) && later.len() < 6);
    home.get(&format!("/api/v1/events/export?after={}", uuid::Uuid::now_v7())).await.problem(404);
    home.get("/api/v1/events/export?limit=3").await.problem(400);
}

/// Whether a file has these bytes somewhere.
fn has(file: &Path, bytes: &str) -> bool {
    let content = std::fs::read(file).unwrap_or_default();
    content.windows(bytes.len()).any(|window| window == bytes.as_bytes())
}

async fn ended(api: &Api, id: &str) -> Value {
    eventually(|| async {
        let event = api.detail(id).await;
        if event["status"] == "pending" { Err(format!("{event:#}")) } else { Ok(event) }
    })
    .await
}

#[tokio::test]
async fn what_events_say_about_somebody_is_erased_and_what_became_of_them_stays() {
    let server = Server::with(Settings::default());
    let api = server.api();
    let receiver = Receiver::start().await;
    receiver.script("/bad", [Reply::json(400, json!({"echo": ADA}))]);
    receiver.script("/later", [Reply::status(503)]);
    for (name, delay) in [("good", 20), ("bad", 20), ("later", 600_000)] {
        let mut action = call("c", &receiver.url(&format!("/{name}")));
        action["retry"] = fast(3);
        action["retry"]["initialDelay"] = json!(delay);
        action["retry"]["maxDelay"] = json!(delay);
        let mut trigger = on(name, &format!("e.{name}"), json!([action]));
        trigger["ordering"] = json!({"key": "{{record.customer.email}}"});
        api.trigger(trigger).await;
    }
    let of = |email: &str| json!({"customer": {"email": email, "note": "n".repeat(9000)}, "amount": 5});
    let good = api.event("e.good", of(ADA)).await;
    let bad = api.event("e.bad", of(ADA)).await;
    let later = api.event("e.later", of(ADA)).await;
    let none = api.event("e.none", of(ADA)).await;
    let row = api.accept(change("update", "customers", json!({"id": 1}), of(ADA))).await;
    let by_user = {
        let mut body = change("insert", "orders", json!({"id": 2}), Value::Null);
        body["user"] = json!({"id": "user-77", "name": "Ada"});
        api.accept(body).await
    };
    let other = api.event("e.good", of("bob@example.com")).await;
    for id in [&good, &bad, &other] {
        ended(&api, id).await;
    }
    receiver.wait_for("/later", 1).await;

    let named = json!({"path": "$.customer.email", "value": ADA});
    let mut dry = named.clone();
    dry["dry_run"] = json!(true);
    let preview = api.post("/api/v1/events/erase", dry).await.expect(200);
    assert_eq!((&preview["events"], &preview["dry_run"]), (&json!(5), &json!(true)), "{preview:#}");
    assert_eq!(api.detail(&good).await["payload"]["customer"]["email"], ADA, "nothing was done");

    let report = api.post("/api/v1/events/erase", named.clone()).await.expect(200);
    assert_eq!(
        (&report["events"], &report["runs"], &report["ended_runs"]),
        (&json!(5), &json!(3), &json!(1)),
        "{report:#}"
    );
    assert_eq!(report["event_ids"], json!([good, bad, later, none, row]));
    assert_eq!(report["overwritten"], !store::is_postgres());
    for (id, status) in [(&good, "delivered"), (&bad, "failed"), (&later, "delivered"), (&none, "unmatched")] {
        let event = api.detail(id).await;
        assert_eq!((&event["status"], &event["payload"]), (&json!(status), &Value::Null), "{event:#}");
        assert!(event["erased_at"].is_string() && !event.to_string().contains(ADA), "{event:#}");
    }
    let dead = api.detail(&bad).await;
    let attempt = &dead["runs"][0]["actions"][0]["attempts"][0];
    assert_eq!((&attempt["error_code"], &attempt["response"]), (&json!("HTTP_400"), &Value::Null));
    let skipped = api.detail(&later).await;
    assert_eq!(skipped["runs"][0]["actions"][0]["reason"], "erased", "what had not ended is not done");
    assert_eq!(api.detail(&row).await["payload"]["table"], "customers");
    assert_eq!(api.detail(&other).await["payload"]["customer"]["email"], "bob@example.com");
    assert_eq!(api.detail(&by_user).await["user"]["name"], "Ada");
    let again = api.post("/api/v1/events/erase", named).await.expect(200);
    assert_eq!(again["events"], 0, "what is erased is not found again");
    let user = api.post("/api/v1/events/erase", json!({"user": "user-77"})).await.expect(200);
    assert_eq!(user["event_ids"], json!([by_user]));

    // A replay has nothing left to send.
    let sent = receiver.seen().len();
    api.post("/api/v1/replay", json!({"status": "failed"})).await.expect(202);
    let replayed = ended(&api, &bad).await;
    assert_eq!((&replayed["status"], receiver.seen().len()), (&json!("delivered"), sent), "{replayed:#}");

    if !store::is_postgres() {
        for file in ["triggerd.db", "triggerd.db-wal"] {
            let path = server.data_dir().join(file);
            assert!(!has(&path, ADA) && !has(&path, "user-77"), "{file} still holds what was erased");
        }
        assert!(has(&server.data_dir().join("triggerd.db"), "bob@example.com"), "what is looked at is the store");
    }
}

#[tokio::test]
async fn whom_to_erase_is_to_be_said_and_only_the_tenant_s_admin_may() {
    let home = home().await;
    for (wrong, pointer) in [
        (json!({}), "/path"),
        (json!({"path": "$.a"}), "/value"),
        (json!({"value": 1}), "/path"),
        (json!({"path": "$.[", "value": 1}), "/path"),
        (json!({"path": "$.a", "value": []}), "/value"),
        (json!({"path": "$.a", "value": 1, "user": 1}), "/user"),
        (json!({"user": 1, "colour": "red"}), "/colour"),
    ] {
        let problem = home.post("/api/v1/events/erase", wrong).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem:#}");
    }
    let writer = home.with_scopes(&["events:write", "events:read"]).await;
    writer.post("/api/v1/events/erase", json!({"user": 1})).await.problem(403);
}
