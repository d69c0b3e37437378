//! The inbox: what came in, what became of it, and why other triggers did not match.

use serde_json::{Value, json};

use crate::harness::{Listener, Receiver, Reply, call, change, fast, free_port, home, on};

fn types(page: &Value) -> Vec<String> {
    page["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn events_are_listed_newest_first_page_by_page() {
    let home = home().await;
    for n in 0..7 {
        home.event(&format!("page.e{n}"), json!({})).await;
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = home.get(&format!("/api/v1/inbox?limit=3{cursor}")).await.expect(200);
        found.extend(types(&page));
        // What comes in meanwhile does not shift the pages.
        home.event("late", json!({})).await;
        if page["has_more"] == false {
            assert_eq!(page["cursor"], Value::Null);
            break;
        }
        cursor = format!("&cursor={}", page["cursor"].as_str().unwrap());
    }
    let wanted: Vec<String> = (0..7).rev().map(|n| format!("page.e{n}")).collect();
    assert_eq!(found, wanted);
    assert_eq!(home.get("/api/v1/inbox?limit=1").await.expect(200)["total"], 10);
}

#[tokio::test]
async fn filters_let_through_what_they_say_and_wrong_ones_are_refused() {
    let home = home().await;
    home.accept(json!({"type": "f.a", "source": "app", "payload": {}})).await;
    home.accept(json!({"type": "f.b", "source": "web", "payload": {}})).await;
    home.accept(change("insert", "leads", json!({"id": 1}), Value::Null)).await;
    let all = home.get("/api/v1/inbox").await.expect(200);
    let middle = all["events"][1]["timestamp"].as_str().unwrap().to_owned();
    for (filter, wanted) in [
        ("event_type=f.a", vec!["f.a"]),
        ("source=web", vec!["f.b"]),
        ("table=leads", vec!["leads.created"]),
        ("status=unmatched", vec!["leads.created", "f.b", "f.a"]),
        ("status=failed", vec![]),
        ("start_time=2100-01-01T00:00:00Z", vec![]),
        ("end_time=2100-01-01T00:00:00Z&event_type=f.b", vec!["f.b"]),
    ] {
        let page = home.get(&format!("/api/v1/inbox?{filter}")).await.expect(200);
        assert_eq!(types(&page), wanted, "{filter}");
        assert_eq!(page["total"], wanted.len(), "{filter}");
    }
    let from = home.get(&format!("/api/v1/inbox?start_time={middle}")).await.expect(200);
    let until = home.get(&format!("/api/v1/inbox?end_time={middle}")).await.expect(200);
    assert_eq!(
        from["total"].as_u64().unwrap() + until["total"].as_u64().unwrap(),
        3,
        "the end is exclusive, the start not"
    );
    for wrong in ["limit=0", "limit=1001", "limit=x", "status=done", "start_time=now", "cursor=%00", "colour=red"] {
        home.get(&format!("/api/v1/inbox?{wrong}")).await.problem(400);
    }
}

#[tokio::test]
async fn an_event_has_the_fields_that_clients_read() {
    let home = home().await;
    home.trigger(on("fields", "fields", json!([{"name": "note", "type": "log.info", "config": {"message": "x"}}])))
        .await;
    let event = home.event_ended("fields", json!({"a": 1})).await;
    let listed = &home.get("/api/v1/inbox").await.expect(200)["events"][0];
    for field in [
        "event_id",
        "customer_id",
        "type",
        "payload",
        "status",
        "timestamp",
        "delivery_attempts",
        "last_delivery_timestamp",
    ] {
        assert!(!listed[field].is_null(), "{field}: {listed}");
        assert_eq!(listed[field], event[field], "{field}");
    }
    assert_eq!((&listed["status"], &listed["delivery_attempts"]), (&json!("delivered"), &json!(1)));
    let run = &event["runs"][0];
    assert_eq!((&run["trigger"], &run["version"], &run["status"]), (&json!("fields"), &json!(1), &json!("delivered")));
    let action = &run["actions"][0];
    assert_eq!(
        (&action["name"], &action["type"], &action["status"]),
        (&json!("note"), &json!("log.info"), &json!("delivered"))
    );
    assert!(action["delivery_id"].is_string() && run["run_id"].is_string());
    let attempt = &action["attempts"][0];
    assert_eq!((&attempt["attempt"], &attempt["outcome"]), (&json!(1), &json!("delivered")));
    assert!(attempt["started_at"].is_string() && attempt["duration_ms"].is_u64());
}

#[tokio::test]
async fn the_statuses_are_pending_delivered_failed_and_unmatched() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/held", [Reply::status(200).held()]);
    receiver.script("/bad", [Reply::status(400)]);
    home.trigger(on("held", "s.held", json!([call("c", &receiver.url("/held"))]))).await;
    home.trigger(on("bad", "s.bad", json!([call("c", &receiver.url("/bad"))]))).await;
    let held = home.event("s.held", json!({})).await;
    let bad = home.event("s.bad", json!({})).await;
    let none = home.event("s.none", json!({})).await;
    receiver.wait_for("/held", 1).await;
    assert_eq!(home.detail(&held).await["status"], "pending");
    assert_eq!(home.ended(&bad).await["status"], "failed");
    assert_eq!(home.detail(&none).await["status"], "unmatched");
    receiver.release(1);
    assert_eq!(home.ended(&held).await["status"], "delivered");
    for (status, id) in [("delivered", &held), ("failed", &bad), ("unmatched", &none)] {
        let page = home.get(&format!("/api/v1/inbox?status={status}")).await.expect(200);
        assert_eq!((&page["total"], &page["events"][0]["event_id"]), (&json!(1), &json!(id)), "{status}");
    }
}

#[tokio::test]
async fn a_trigger_that_did_not_match_says_which_part_of_its_condition_said_no() {
    let home = home().await;
    let mut trigger =
        on("big-only", "afterInsert", json!([{"name": "note", "type": "log.info", "config": {"message": "x"}}]));
    trigger["tables"] = json!(["orders"]);
    trigger["condition"] = json!({"and": [
        {"field": "record.status", "operator": "EQUALS", "value": "paid"},
        {"field": "record.total", "operator": "GREATER_THAN", "value": 100}
    ]});
    home.trigger(trigger).await;
    home.trigger(on("elsewhere", "other.type", json!([{"type": "log.info", "config": {"message": "x"}}]))).await;
    let id = home.accept(change("insert", "orders", json!({"status": "paid", "total": 50}), Value::Null)).await;
    let event = home.detail(&id).await;
    let not_matched = event["not_matched"].as_array().unwrap();
    assert_eq!(not_matched.len(), 1, "only triggers of that table or type: {event:#}");
    assert_eq!(not_matched[0]["trigger"], "big-only");
    let tree = &not_matched[0]["explanation"];
    assert_eq!((&tree["node"], &tree["verdict"]), (&json!("and"), &json!(false)));
    let children = tree["children"].as_array().unwrap();
    assert_eq!(children[0]["verdict"], true);
    let no = &children[1];
    assert_eq!(
        (&no["node"], &no["verdict"], &no["path"], &no["operator"]),
        (&json!("field"), &json!(false), &json!("record.total"), &json!("GREATER_THAN"))
    );
    assert_eq!((&no["found"], &no["wanted"]), (&json!(50), &json!(100)));
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let home = home().await;
    let unknown = uuid::Uuid::now_v7();
    for path in [
        format!("/api/v1/events/{unknown}"),
        "/api/v1/events/nonsense".into(),
        format!("/api/v1/dead-letters/{unknown}"),
        "/api/v1/nothing".into(),
    ] {
        home.get(&path).await.problem(404);
    }
    home.post(&format!("/api/v1/events/{unknown}/replay"), json!({})).await.problem(404);
}

#[tokio::test]
async fn whoever_waits_gets_the_finished_runs() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/flaky", [Reply::status(503), Reply::json(200, json!({"ok": true}))]);
    home.trigger(on("waited", "waited", json!([call("c", &receiver.url("/flaky"))]))).await;
    let body = json!({"type": "waited", "payload": {}});
    let answer = home.post("/api/v1/events?wait=true", body).await.expect(200);
    assert_eq!(answer["status"], "delivered", "{answer:#}");
    let action = &answer["runs"][0]["actions"][0];
    assert_eq!(action["output"]["status"], 200);
    assert_eq!(action["attempts"].as_array().unwrap().len(), 2);
    // An event without runs has nothing to wait for.
    let answer = home.post("/api/v1/events?wait=true", json!({"type": "other", "payload": {}})).await.expect(200);
    assert_eq!((&answer["status"], &answer["runs"]), (&json!("unmatched"), &json!([])));
}

#[tokio::test]
async fn whoever_waits_too_long_gets_202() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/held", [Reply::status(200).held()]);
    home.trigger(on("held", "held", json!([call("c", &receiver.url("/held"))]))).await;
    let answer = home.post("/api/v1/events?wait=true&timeout=200", json!({"type": "held", "payload": {}})).await;
    let id = answer.expect(202)["event_id"].as_str().unwrap().to_owned();
    receiver.release(1);
    assert_eq!(home.ended(&id).await["status"], "delivered");
}

#[tokio::test]
async fn a_listener_is_told_of_events_and_of_what_becomes_of_them() {
    let (home, other) = (home().await, home().await);
    let mut failing = call("c", &format!("http://127.0.0.1:{}/closed", free_port()));
    failing["retry"] = fast(1);
    home.trigger(on("told", "told", json!([failing]))).await;
    let mut listener = Listener::at(&home, "").await;
    other.event("told", json!({})).await;
    let id = home.event("told", json!({})).await;
    listener.until(|item| item["status"] == "failed").await;
    let items = listener.items;
    assert!(items.iter().all(|item| item["event_id"] == id), "nothing of another tenant: {items:?}");
    assert_eq!(items[0]["status"], "accepted", "{items:?}");
    let last = items.last().unwrap();
    assert_eq!((&last["status"], &last["trigger"], &last["type"]), (&json!("failed"), &json!("told"), &json!("told")));
}

#[tokio::test]
async fn a_listener_that_comes_back_gets_what_happened_meanwhile_and_nothing_twice() {
    let home = home().await;
    let mut listener = Listener::at(&home, "?event_type=back").await;
    let first = home.event("back", json!({})).await;
    home.event("else", json!({})).await;
    listener.until(|item| item["event_id"] == first.as_str()).await;
    let last_id = listener.last_id.clone();
    drop(listener);
    let second = home.event("back", json!({})).await;
    let mut listener = Listener::after(&home, "?event_type=back", &last_id).await;
    let third = home.event("back", json!({})).await;
    listener.until(|item| item["event_id"] == third.as_str()).await;
    let told: Vec<&str> = listener.items.iter().map(|item| item["event_id"].as_str().unwrap()).collect();
    assert_eq!(told, [&second, &third]);
    let mut late = Listener::after(&home, "", "elsewhere.1.1000").await;
    late.until(|item| item["missed"] == true).await;
}

#[tokio::test]
async fn a_listener_is_told_of_what_its_filters_let_through() {
    let home = home().await;
    let mut by_source = Listener::at(&home, "?source=web&status=unmatched").await;
    let mut by_table = Listener::at(&home, "?table=leads").await;
    home.accept(json!({"type": "f.a", "source": "app", "payload": {}})).await;
    let web = home.accept(json!({"type": "f.b", "source": "web", "payload": {}})).await;
    let row = home.accept(change("insert", "leads", json!({"id": 1}), Value::Null)).await;
    by_source.until(|item| item["event_id"] == web.as_str()).await;
    by_table.until(|item| item["event_id"] == row.as_str()).await;
    assert_eq!((by_source.items.len(), by_table.items.len()), (1, 1));
    for wrong in ["status=done", "colour=red", "limit=1"] {
        home.get(&format!("/api/v1/events/stream?{wrong}")).await.problem(400);
    }
}
