//! Every guest example does on the server what its definition says, and keeps what it is to keep.

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Reply, Server, eventually, guest, guest_examples, home, on};

/// A guest example with its component uploaded and its trigger stored.
async fn example(home: &Home, wanted: &str) -> (Value, Value) {
    let (name, trigger, event) = guest_examples().into_iter().find(|(name, ..)| name == wanted).unwrap();
    home.component(&name, guest(&name)).await;
    (trigger, event)
}

#[tokio::test]
async fn every_example_has_its_trigger_stored_and_its_event_run() {
    let home = home().await;
    for (name, trigger, event) in guest_examples() {
        let component = home.component(&name, guest(&name)).await;
        assert_eq!((&component["name"], &component["version"]), (&json!(name), &json!(1)));
        home.trigger(trigger.clone()).await;
        if event.get("context").is_some() {
            let answer = home.post("/api/v1/execute", event).await.expect(200);
            assert_eq!(answer["allowed"], true, "{name}: {answer:#}");
            continue;
        }
        if name == "currency-convert" {
            // Its service is on the public Internet: it has a test of its own below.
            continue;
        }
        let id = home.accept(event).await;
        let ended = home.ended(&id).await;
        assert_eq!(
            (&ended["status"], &ended["runs"][0]["trigger"]),
            (&json!("delivered"), &trigger["tag"]),
            "{name}: {ended:#}"
        );
    }
}

#[tokio::test]
async fn lead_scoring_adds_up_in_durable_state_that_survives_a_crash() {
    let mut server = Server::start();
    let api = server.api();
    let (name, trigger, event) = guest_examples().into_iter().find(|(name, ..)| name == "lead-score").unwrap();
    api.component(&name, guest(&name)).await;
    api.trigger(trigger).await;
    let score = async |api: &crate::harness::Api| {
        let id = api.accept(event.clone()).await;
        let ended = api.ended(&id).await;
        assert_eq!(ended["status"], "delivered", "{ended:#}");
        ended["runs"][0]["actions"][0]["output"].clone()
    };
    let first = score(&api).await;
    assert_eq!((&first["touches"], &first["score"], &first["grade"]), (&json!(1), &json!(44), &json!("warm")));
    assert_eq!(score(&api).await["score"], 84);
    server.crash_and_restart();
    let third = score(&server.api()).await;
    assert_eq!((&third["touches"], &third["score"], &third["grade"]), (&json!(3), &json!(124), &json!("hot")));
}

#[tokio::test]
async fn one_tenant_s_state_is_not_another_s() {
    let (one, other) = (home().await, home().await);
    for home in [&one, &other] {
        let (trigger, event) = example(home, "lead-score").await;
        home.trigger(trigger).await;
        let id = home.accept(event).await;
        assert_eq!(home.ended(&id).await["runs"][0]["actions"][0]["output"]["touches"], 1);
    }
}

#[tokio::test]
async fn currency_conversion_asks_the_granted_host_and_caches_its_answer() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let (mut trigger, event) = example(&home, "currency-convert").await;
    let rates = |target: &str| {
        receiver.script(target, [Reply::status(503), Reply::json(200, json!({"base": "USD", "rates": {"EUR": 0.5}}))]);
    };
    rates("/v1/latest");
    let config = &mut trigger["actions"][0]["config"];
    config["input"]["endpoint"] = json!(receiver.url("/v1"));
    config["capabilities"]["http"] = json!([format!("127.0.0.1:{}", receiver.port())]);
    trigger["actions"][0]["retry"] = json!({"maxAttempts": 4, "initialDelay": 20, "jitter": "none"});
    home.trigger(trigger.clone()).await;
    let id = home.accept(event.clone()).await;
    let ended = home.ended(&id).await;
    assert_eq!(ended["status"], "delivered", "{ended:#}");
    let output = &ended["runs"][0]["actions"][0]["output"];
    assert_eq!(output["currency"], "EUR");
    assert_eq!(output["amount"].to_string().parse::<f64>().unwrap(), 60.0);
    let asked = receiver.seen().len();
    let id = home.accept(event.clone()).await;
    assert_eq!(home.ended(&id).await["status"], "delivered");
    assert_eq!(receiver.seen().len(), asked, "the rate comes from the cache");
    let converted = home.get("/api/v1/inbox?event_type=invoice.converted").await.expect(200);
    assert_eq!(converted["total"], 2);
    // Without the grant the host is not reached.
    trigger["tag"] = json!("ungranted");
    trigger["actions"][0]["config"]["capabilities"] = json!({"http": ["rates.example.com"]});
    home.delete("/api/v1/triggers/convert-invoice").await.expect(204);
    home.trigger(trigger).await;
    let id = home.accept(event).await;
    let ended = home.ended(&id).await;
    assert_eq!(
        (&ended["status"], &ended["runs"][0]["error_code"]),
        (&json!("failed"), &json!("WASM_FORBIDDEN")),
        "{ended:#}"
    );
    assert_eq!(receiver.seen().len(), asked);
}

#[tokio::test]
async fn a_transform_redacts_what_identifies_a_person() {
    let home = home().await;
    let (trigger, event) = example(&home, "pii-redact").await;
    home.trigger(trigger).await;
    let id = home.accept(event).await;
    let ended = home.ended(&id).await;
    assert_eq!(ended["status"], "delivered", "{ended:#}");
    let passed_on = home.get("/api/v1/inbox?event_type=ticket.redacted").await.expect(200);
    let payload = &passed_on["events"][0]["payload"];
    let text = payload.to_string();
    for secret in ["ann.lee@mail", "1234-5678", "4111", "1980-02-29", "030 1234567"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    assert_eq!((&payload["id"], &payload["assignee"]), (&json!(17), &json!("kim@support.example")));
}

#[tokio::test]
async fn a_condition_in_wasm_decides_whether_a_run_s_actions_run() {
    let home = home().await;
    let (trigger, mut event) = example(&home, "vip-condition").await;
    home.trigger(trigger).await;
    for (tier, email, ran) in
        [("gold", "x@y.test", true), ("silver", "x@y.test", false), ("none", "x@mail.example.com", true)]
    {
        event["record"] = json!({"id": 1, "email": email, "tier": tier, "lifetime_value": 1});
        let id = home.accept(event.clone()).await;
        let ended = home.ended(&id).await;
        let action = &ended["runs"][0]["actions"][0];
        let wanted = if ran { json!(["delivered", null]) } else { json!(["skipped", "condition"]) };
        assert_eq!(json!([action["status"], action["reason"]]), wanted, "{tier} {email}: {ended:#}");
    }
    event["record"] = json!({"id": 2, "email": ""});
    let id = home.accept(event).await;
    assert_eq!(home.ended(&id).await["status"], "unmatched", "the part that is no component is asked first");
}

#[tokio::test]
async fn a_component_is_invoked_on_a_sample_event_with_its_logs() {
    let home = home().await;
    let (trigger, event) = example(&home, "lead-score").await;
    let input = json!({"lead": "l-1", "touch": "demo", "weights": {"demo": 40}});
    let call = json!({"event": event, "input": input, "capabilities": {"state": true}});
    let answer = home.post("/api/v1/components/lead-score/invoke", call).await.expect(200);
    assert_eq!(answer["error"], Value::Null, "{answer:#}");
    assert_eq!(answer["result"]["score"], 40);
    assert!(answer["logs"].to_string().contains("Scored"), "{answer:#}");
    assert!(answer["duration_ms"].is_number() && answer["memory_bytes"].as_u64().unwrap() > 0, "{answer:#}");
    let refused =
        home.post("/api/v1/components/lead-score/invoke", json!({"event": event, "input": input})).await.expect(200);
    assert_eq!(refused["error"]["code"], "WASM_FORBIDDEN", "{refused:#}");
    assert_eq!(trigger["actions"][0]["type"], "custom");
}

#[tokio::test]
async fn a_guest_s_retryable_failure_is_tried_again_with_the_same_delivery_id() {
    let home = home().await;
    home.component("hostile", guest("hostile")).await;
    let action = |mode: &str| json!([{"name": "fail", "type": "custom", "retry": crate::harness::fast(3), "config": {"component": "hostile", "input": {"mode": mode}}}]);
    home.trigger(on("again", "again", action("retryable"))).await;
    home.trigger(on("never", "never", action("permanent"))).await;
    let again = home.event_ended("again", json!({})).await;
    let attempts = again["runs"][0]["actions"][0]["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[2]["error_code"]), (3, &json!("ASKED_FOR")));
    let never = home.event_ended("never", json!({})).await;
    assert_eq!(never["runs"][0]["actions"][0]["attempts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_guest_is_told_all_about_its_call() {
    let home = home().await;
    home.component("hostile", guest("hostile")).await;
    let first = json!({"name": "first", "type": "log.info", "config": {"message": "x"}});
    let echo = json!({"name": "echo", "type": "custom", "config": {"component": "hostile", "input": {"mode": "echo"}}});
    home.trigger(json!({"tag": "echoes", "tables": ["orders"], "events": ["afterUpdate"], "actions": [first, echo]}))
        .await;
    let body = json!({
        "operation": "update", "database": "shop", "table": "orders", "source": "it", "env": "prd",
        "record": {"id": 9_007_199_254_740_993_u64, "a": 1, "b": 2}, "previousRecord": {"id": 9_007_199_254_740_993_u64, "a": 1, "b": 1},
        "user": {"id": "u"}, "metadata": {"m": 1}
    });
    let id = home.accept(body.clone()).await;
    let ended = home.ended(&id).await;
    let action = &ended["runs"][0]["actions"][1];
    let told = &action["output"];
    assert_eq!(
        (&told["event_id"], &told["delivery_id"], &told["attempt"]),
        (&json!(id), &action["delivery_id"], &json!(1)),
        "{ended:#}"
    );
    assert_eq!(
        (&told["trigger"], &told["action"], &told["event_name"]),
        (&json!("echoes"), &json!("echo"), &json!("afterUpdate"))
    );
    for field in ["operation", "database", "table", "env", "source", "record", "user", "metadata"] {
        assert_eq!(told[field], body[field], "{field}: {told:#}");
    }
    assert_eq!((&told["previous_record"], &told["changed_fields"]), (&body["previousRecord"], &json!(["b"])));
    assert!(told["results"].get("first").is_some(), "{told:#}");
}

#[tokio::test]
async fn a_guest_in_a_run_logs_into_the_server_s_log() {
    let home = home().await;
    let (trigger, event) = example(&home, "pii-redact").await;
    home.trigger(trigger).await;
    let id = home.accept(event).await;
    let ended = home.ended(&id).await;
    let kept = ended["runs"][0]["actions"][0]["attempts"][0].to_string();
    eventually(|| async {
        if kept.contains("Redacted") || home.server().log().contains("Redacted") {
            Ok(())
        } else {
            Err("the line is nowhere".to_owned())
        }
    })
    .await;
}
