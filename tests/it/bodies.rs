//! Events come in many bodies and become one thing; bodies that are wrong are refused with the place of the mistake.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Home, Receiver, call, home, on};

async fn accepted(home: &Home, body: Value) -> Value {
    let id = home.accept(body).await;
    home.detail(&id).await
}

#[tokio::test]
async fn an_acceptance_names_the_event_and_says_when() {
    let home = home().await;
    for path in ["/events", "/api/v1/events"] {
        let answer = home.post(path, json!({"type": "a.b", "payload": {"n": 1}})).await.expect(202);
        assert_eq!(answer["status"], "accepted");
        assert!(answer["message"].is_string());
        let id = answer["event_id"].as_str().unwrap();
        assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7, "{id}");
        let timestamp = answer["timestamp"].as_str().unwrap();
        assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "milliseconds in UTC: {timestamp}");
        assert_eq!(home.detail(id).await["timestamp"], timestamp);
    }
}

#[tokio::test]
async fn the_payload_s_own_event_type_is_the_type() {
    let home = home().await;
    let event = accepted(&home, json!({"payload": {"event_type": "order.created", "id": 7}})).await;
    assert_eq!(event["type"], "order.created");
    assert_eq!(event["payload"], json!({"event_type": "order.created", "id": 7}));
    assert_eq!(event["customer_id"], home.tenant);
}

#[tokio::test]
async fn type_and_source_are_taken_as_they_are_said() {
    let home = home().await;
    let event =
        accepted(&home, json!({"type": "user.created", "source": "django-app", "payload": {"name": "Ann"}})).await;
    assert_eq!((&event["type"], &event["source"]), (&json!("user.created"), &json!("django-app")));
    assert_eq!(event["payload"], json!({"name": "Ann"}));
    assert_eq!(event["status"], "unmatched");
}

#[tokio::test]
async fn a_row_change_s_type_is_made_of_table_and_operation() {
    let home = home().await;
    for (operation, suffix) in [("insert", "created"), ("update", "updated"), ("delete", "deleted")] {
        let body = json!({
            "operation": operation, "database": "shop", "table": "orders", "record": {"id": 1}, "previousRecord": {"id": 1, "old": true},
            "user": {"id": "u1"}, "env": "prd", "metadata": {"trace": "x"}
        });
        let event = accepted(&home, body).await;
        assert_eq!(event["type"], format!("orders.{suffix}"));
        assert_eq!(event["payload"]["record"], json!({"id": 1}));
    }
}

#[tokio::test]
async fn a_supabase_webhook_is_a_row_change() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let mut trigger = on("supabase", "afterUpdate", json!([call("tell", &receiver.url("/s"))]));
    trigger["tables"] = json!(["leads"]);
    trigger["condition"] = json!({"field": "status", "operator": "CHANGED_TO", "value": "won"});
    home.trigger(trigger).await;
    let body = json!({
        "type": "UPDATE", "table": "leads", "schema": "public",
        "record": {"id": 5, "status": "won"}, "old_record": {"id": 5, "status": "open"}
    });
    let event = accepted(&home, body).await;
    assert_eq!(event["type"], "leads.updated");
    assert_eq!(receiver.wait_for("/s", 1).await[0].json(), json!({"id": 5, "status": "won"}));
}

#[tokio::test]
async fn a_structured_cloudevent_keeps_its_attributes() {
    let home = home().await;
    let body = json!({
        "specversion": "1.0", "id": "ce-1", "source": "/shop", "type": "com.shop.sold", "time": "2026-01-31T12:00:00Z",
        "subject": "tea", "tenantregion": "eu", "data": {"sku": "tea"}
    });
    let answer = home
        .post_raw("/api/v1/events", "application/cloudevents+json; charset=utf-8", body.to_string())
        .await
        .expect(202);
    let event = home.detail(answer["event_id"].as_str().unwrap()).await;
    assert_eq!((&event["type"], &event["source"]), (&json!("com.shop.sold"), &json!("/shop")));
    assert_eq!(event["payload"], json!({"sku": "tea"}));
    assert_eq!(event["attributes"]["id"], "ce-1");
    assert_eq!(event["attributes"]["subject"], "tea");
    assert_eq!(event["attributes"]["tenantregion"], "eu");
}

#[tokio::test]
async fn a_binary_cloudevent_keeps_its_attributes() {
    let home = home().await;
    let request = home
        .request(Method::POST, "/events")
        .header("ce-specversion", "1.0")
        .header("ce-id", "ce-2")
        .header("ce-source", "/shop")
        .header("ce-type", "com.shop.sold")
        .header("ce-subject", "gr%C3%BCner%20Tee")
        .header("content-type", "application/json")
        .body(r#"{"sku": "tea"}"#);
    let answer = home.send(request).await.expect(202);
    let event = home.detail(answer["event_id"].as_str().unwrap()).await;
    assert_eq!(event["type"], "com.shop.sold");
    assert_eq!(event["payload"], json!({"sku": "tea"}));
    assert_eq!(event["attributes"]["subject"], "grüner Tee");
}

#[tokio::test]
async fn a_cloudevents_batch_is_accepted_as_a_whole_request() {
    let home = home().await;
    let one =
        |id: u32| json!({"specversion": "1.0", "id": id.to_string(), "source": "/s", "type": "t.batch", "data": id});
    let answer = home
        .post_raw("/api/v1/events", "application/cloudevents-batch+json", json!([one(1), one(2)]).to_string())
        .await
        .expect(202);
    assert_eq!(answer["results"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!(home.get("/api/v1/inbox?event_type=t.batch").await.expect(200)["total"], 2);
}

#[tokio::test]
async fn what_is_no_json_is_400_and_what_is_no_event_422_with_the_place() {
    let home = home().await;
    let post = async |body: &str| home.post_raw("/api/v1/events", "application/json", body.to_owned()).await;
    for malformed in ["", "{", "nope", "{\"a\":1,}", "{\"type\":\"a\",\"payload\":{\"x\":\"\\ud800\"}}"] {
        post(malformed).await.problem(400);
    }
    for (invalid, pointer) in [
        (r#"{"type": 5, "payload": {}}"#, "/type"),
        (r#"{"type": "a.b", "payload": {}, "sorce": "x"}"#, "/sorce"),
        (r#"{"operation": "upsert", "table": "t", "record": {}}"#, "/operation"),
        (r#"{"type": "a.b", "payload": {}, "metadata": []}"#, "/metadata"),
        (r#"{"type": "a.b", "payload": {}, "timestamp": "yesterday"}"#, "/timestamp"),
    ] {
        let problem = post(invalid).await.problem(422);
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{invalid}: {problem}"));
        assert!(
            errors.iter().any(|error| error["pointer"] == pointer && error["detail"].is_string()),
            "{invalid}: {problem}"
        );
    }
    post("[]").await.problem(422);
    post("{}").await.problem(422);
    assert_eq!(home.get("/api/v1/inbox").await.expect(200)["total"], 0, "nothing of it is kept");
}

#[tokio::test]
async fn an_unknown_field_is_answered_with_the_nearest_known_one() {
    let home = home().await;
    let problem = home.post("/events", json!({"type": "a.b", "payload": {}, "sorce": "x"})).await.problem(422);
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("`source`"), "{problem}");
}

#[tokio::test]
async fn duplicate_keys_are_refused() {
    let home = home().await;
    for body in [r#"{"type":"a.b","type":"a.c","payload":{}}"#, r#"{"type":"a.b","payload":{"x":{"k":1,"k":2}}}"#] {
        let answer = home.post_raw("/api/v1/events", "application/json", body).await;
        assert!(answer.status == 400 || answer.status == 422, "{answer:#?}");
        let status = answer.status;
        let problem = answer.problem(status);
        assert!(problem.to_string().contains("twice") || problem.to_string().contains("duplicate"), "{problem}");
    }
}

#[tokio::test]
async fn a_depth_of_64_is_taken_and_more_refused() {
    let home = home().await;
    let nested = |depth: usize| format!(r#"{{"type":"deep","payload":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    // The body itself is the first level.
    home.post_raw("/api/v1/events", "application/json", nested(63)).await.expect(202);
    for depth in [64, 65, 10_000] {
        let answer = home.post_raw("/api/v1/events", "application/json", nested(depth)).await;
        assert!(answer.status == 400 || answer.status == 422, "{depth}: {answer:#?}");
        let status = answer.status;
        answer.problem(status);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_another_kind_415() {
    let home = home().await;
    let body = |bytes: usize| format!(r#"{{"type":"big","payload":{{"x":"{}"}}}}"#, "x".repeat(bytes));
    home.post_raw("/api/v1/events", "application/json", body((1 << 20) - 200)).await.expect(202);
    home.post_raw("/api/v1/events", "application/json", body(1 << 20)).await.problem(413);
    for media_type in ["text/plain", "application/xml", "application/x-www-form-urlencoded"] {
        home.post_raw("/api/v1/events", media_type, "{}").await.problem(415);
    }
}

#[tokio::test]
async fn numbers_and_texts_reach_a_receiver_byte_for_byte() {
    let home = home().await;
    let receiver = Receiver::start().await;
    home.trigger(on("exact", "exact", json!([call("tell", &receiver.url("/exact"))]))).await;
    let payload = r#"{"z":9007199254740993,"a":123456789012345678901234567890,"f":0.1,"e":1e+400,"d":1.10,"t":"naïve \u0000 \"q\" 🦀","n":null}"#;
    let body = format!(r#"{{"type":"exact","payload":{payload}}}"#);
    home.post_raw("/api/v1/events", "application/json", body).await.expect(202);
    let seen = receiver.wait_for("/exact", 1).await;
    assert_eq!(seen[0].text(), payload);
}

#[tokio::test]
async fn a_traceparent_is_taken_up_and_passed_on() {
    let home = home().await;
    let receiver = Receiver::start().await;
    home.trigger(on("trace", "traced", json!([call("tell", &receiver.url("/trace"))]))).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request =
        home.request(Method::POST, "/events").header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    home.send(request.json(&json!({"type": "traced", "payload": {}}))).await.expect(202);
    let seen = receiver.wait_for("/trace", 1).await;
    let passed_on = seen[0].header("traceparent");
    assert!(passed_on.starts_with(&format!("00-{trace}-")) && passed_on.ends_with("-01"), "{passed_on}");
    // An invalid one is left out; the event is taken all the same.
    let request = home.request(Method::POST, "/events").header("traceparent", "nonsense");
    home.send(request.json(&json!({"type": "traced", "payload": {}}))).await.expect(202);
    assert!(!receiver.wait_for("/trace", 2).await[1].header("traceparent").contains("nonsense"));
}
