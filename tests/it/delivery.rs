//! What a receiver is sent, and what is kept of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::harness::{Receiver, Reply, call, home, on};

#[tokio::test]
async fn every_request_says_which_event_trigger_and_attempt_it_is_of() {
    let home = home().await;
    let receiver = Receiver::start().await;
    home.trigger(on("headers", "sent", json!([call("c", &receiver.url("/in"))]))).await;
    let id = home.event("sent", json!({"a": [1, "x"]})).await;
    let seen = receiver.wait_for("/in", 1).await.remove(0);
    let event = home.ended(&id).await;
    assert_eq!((seen.method.as_str(), seen.text().as_str()), ("POST", r#"{"a":[1,"x"]}"#));
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("triggerd-event"), id);
    assert_eq!(seen.header("triggerd-trigger"), "headers");
    assert_eq!(seen.header("triggerd-attempt"), "1");
    assert_eq!(seen.header("idempotency-key"), event["runs"][0]["actions"][0]["delivery_id"].as_str().unwrap());
    assert_eq!(seen.header("traceparent").split('-').count(), 4, "{:?}", seen.headers);
}

#[tokio::test]
async fn the_idempotency_key_is_the_same_on_every_try_and_another_for_every_other_action() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/a", [Reply::status(500), Reply::status(502), Reply::status(200)]);
    home.trigger(on("keys-1", "keyed", json!([call("one", &receiver.url("/a")), call("two", &receiver.url("/b"))])))
        .await;
    home.trigger(on("keys-2", "keyed", json!([call("one", &receiver.url("/c"))]))).await;
    let id = home.event("keyed", json!({})).await;
    assert_eq!(home.ended(&id).await["status"], "delivered");
    home.event_ended("keyed", json!({})).await;
    let keys = |path: &str| -> Vec<String> {
        receiver.seen_at(path).iter().map(|s| s.header("idempotency-key").to_owned()).collect()
    };
    let a = keys("/a");
    assert_eq!(a.len(), 4, "three tries of the first event and one of the second");
    assert!(a[0] == a[1] && a[1] == a[2] && a[2] != a[3], "{a:?}");
    let attempts: Vec<String> =
        receiver.seen_at("/a").iter().map(|s| s.header("triggerd-attempt").to_owned()).collect();
    assert_eq!(attempts, ["1", "2", "3", "1"]);
    let all: BTreeSet<String> = ["/a", "/b", "/c"].into_iter().flat_map(keys).collect();
    assert_eq!(all.len(), 6, "one for each of two events' three actions");
}

#[tokio::test]
async fn every_method_sends_what_its_settings_say() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let config = |path: &str| json!({"url": receiver.url(path), "query": {"q": "{{record.q}}", "n": 1}, "headers": {"x-mine": "{{record.q}}"}});
    let mut with_body = config("/put");
    with_body["body"] = json!("plain {{record.q}}");
    with_body["headers"]["content-type"] = json!("text/plain");
    let mut alias = config("/alias");
    alias["method"] = json!("PATCH");
    alias["body"] = json!({"whole": "{{record}}"});
    home.trigger(on("methods", "methods", json!([
        {"name": "g", "type": "http.get", "config": config("/get")},
        {"name": "p", "type": "http.put", "config": with_body},
        {"name": "d", "type": "http.delete", "config": config("/delete")},
        {"name": "c", "type": "CUSTOM_HTTP", "config": alias},
        {"name": "b", "type": "http.post", "config": {"url": receiver.url("/basic"), "auth": {"basic": {"username": "u", "password": "p:w"}}}}
    ])))
    .await;
    let event = home.event_ended("methods", json!({"q": "a b&c"})).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    for (path, method) in [("/get", "GET"), ("/put", "PUT"), ("/delete", "DELETE"), ("/alias", "PATCH")] {
        let seen = &receiver.seen_at(path)[0];
        assert_eq!((seen.method.as_str(), seen.header("x-mine")), (method, "a b&c"));
        assert!(
            seen.target.contains("n=1") && (seen.target.contains("q=a%20b%26c") || seen.target.contains("q=a+b%26c")),
            "{}",
            seen.target
        );
    }
    assert_eq!(receiver.seen_at("/put")[0].text(), "plain a b&c");
    assert_eq!(receiver.seen_at("/put")[0].header("content-type"), "text/plain");
    assert_eq!(receiver.seen_at("/alias")[0].json(), json!({"whole": {"q": "a b&c"}}));
    assert_eq!(receiver.seen_at("/basic")[0].header("authorization"), "Basic dTpwOnc=");
}

#[tokio::test]
async fn an_answer_is_the_output_that_later_actions_read() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/first", [Reply::json(201, json!({"id": 42, "tags": ["x"]})).header("x-made", "yes")]);
    let mut second = call("second", &receiver.url("/second/{{actions.first.output.body.id}}"));
    second["config"]["body"] = json!({"id": "{{actions.first.output.body.id}}", "status": "{{actions.first.output.status}}", "made": "{{actions.first.output.headers.x-made}}"});
    home.trigger(on("chain", "chain", json!([call("first", &receiver.url("/first")), second]))).await;
    let event = home.event_ended("chain", json!({})).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    let output = &event["runs"][0]["actions"][0]["output"];
    assert_eq!((&output["status"], &output["body"]), (&json!(201), &json!({"id": 42, "tags": ["x"]})));
    assert_eq!(receiver.seen_at("/second/42")[0].json(), json!({"id": 42, "status": 201, "made": "yes"}));
}

#[tokio::test]
async fn a_signed_request_is_verified_by_standard_webhooks() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/signed", [Reply::status(503), Reply::status(200)]);
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
    home.resource("secrets", "HOOK", json!({"value": key})).await;
    let mut action = call("c", &receiver.url("/signed"));
    action["config"]["signWith"] = json!("HOOK");
    home.trigger(on("signed", "signed", json!([action]))).await;
    home.event_ended("signed", json!({"n": 1, "t": "ü"})).await;
    let verifier = Webhook::new(key).unwrap();
    let seen = receiver.seen_at("/signed");
    assert_eq!(seen.len(), 2);
    for one in &seen {
        let mut headers = http::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(name, one.header(name).parse().unwrap());
        }
        verifier.verify(&one.body, &headers).unwrap();
        assert!(verifier.verify(b"{}", &headers).is_err(), "the signature covers the body");
    }
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    assert_eq!(seen[0].header("webhook-id"), seen[0].header("idempotency-key"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let home = home().await;
    let receiver = Receiver::start().await;
    for status in [301, 302, 307, 308] {
        receiver
            .script(&format!("/r{status}"), [Reply::status(status).header("location", &receiver.url("/elsewhere"))]);
    }
    home.trigger(on("moved", "moved", json!([call("c", &receiver.url("/r{{record.status}}"))]))).await;
    for status in [301, 302, 307, 308] {
        let event = home.event_ended("moved", json!({"status": status})).await;
        assert_eq!(event["status"], "failed");
        assert_eq!(event["runs"][0]["error_code"], format!("HTTP_{status}"), "{event:#}");
    }
    assert_eq!(receiver.seen_at("/elsewhere").len(), 0);
}

#[tokio::test]
async fn a_large_answer_is_kept_as_an_excerpt() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let large = Reply::Answer {
        status: 400,
        headers: vec![("content-type".into(), "text/plain".into())],
        body: vec![b'x'; 3 << 20],
    };
    receiver.script("/large", [large]);
    home.trigger(on("large", "large", json!([call("c", &receiver.url("/large"))]))).await;
    let event = home.event_ended("large", json!({})).await;
    let attempt = &event["runs"][0]["actions"][0]["attempts"][0];
    assert_eq!(attempt["error_code"], "HTTP_400");
    let kept = attempt["response"].to_string().len();
    assert!((1000..64 * 1024).contains(&kept), "{kept} bytes are kept");
}

#[tokio::test]
async fn a_header_cannot_be_split_by_what_is_rendered_into_it() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let mut action = call("c", &receiver.url("/h"));
    action["config"]["headers"] = json!({"x-name": "{{record.name}}"});
    home.trigger(on("split", "split", json!([action]))).await;
    let event = home.event_ended("split", json!({"name": "a\r\nx-evil: 1"})).await;
    assert_eq!(event["status"], "failed", "{event:#}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn an_expected_status_is_a_success_and_another_is_not() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/gone", [Reply::status(410)]);
    receiver.script("/ok", [Reply::status(200)]);
    let action = |name: &str, path: &str, expected: Value| {
        let mut action = call(name, &receiver.url(path));
        action["config"]["expectStatus"] = expected;
        action
    };
    home.trigger(on(
        "expected",
        "expected",
        json!([action("gone", "/gone", json!([200, 410])), action("ok", "/ok", json!(204))]),
    ))
    .await;
    let event = home.event_ended("expected", json!({})).await;
    let actions = &event["runs"][0]["actions"];
    assert_eq!((&actions[0]["status"], &actions[1]["status"]), (&json!("delivered"), &json!("failed")), "{event:#}");
}
