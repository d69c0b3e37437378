//! W3C Trace Context: what a sender says of its trace reaches whoever is called in the end, and nothing that is not valid.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Reply, Seen, call, fast, home, on};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Sends an event with these headers; its id.
async fn sent(home: &Home, event_type: &str, headers: &[(&str, &str)]) -> String {
    let mut request = home.request(Method::POST, "/api/v1/events");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = home.send(request.json(&json!({"type": event_type, "payload": {}}))).await.expect(202);
    answer["event_id"].as_str().unwrap().to_owned()
}

/// The span in a request's `traceparent`, which must be of the trace that was sent.
fn span(seen: &Seen) -> String {
    let text = seen.header("traceparent").to_owned();
    let parts: Vec<&str> = text.split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE, "01"), "{text}");
    parts[2].to_owned()
}

#[tokio::test]
async fn a_trace_goes_on_in_every_attempt_with_a_span_of_its_own() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/hook", [Reply::status(503), Reply::status(200)]);
    let mut hook = call("c", &receiver.url("/hook"));
    hook["retry"] = fast(3);
    home.trigger(on("traced", "traced", json!([hook]))).await;
    let selector = json!({"type": "event_type", "value": "traced"});
    let subscription = json!({"event_selector": selector, "webhook_url": receiver.url("/subscribed")});
    home.post("/api/v1/subscriptions", subscription).await.expect(201);
    let id =
        sent(&home, "traced", &[("traceparent", PARENT), ("tracestate", "rojo=1"), ("tracestate", "congo=t61")]).await;
    let event = home.ended(&id).await;
    assert_eq!(
        (&event["traceparent"], &event["tracestate"]),
        (&json!(PARENT), &json!("rojo=1,congo=t61")),
        "{event:#}"
    );
    let mut seen = receiver.seen_at("/hook");
    seen.append(&mut receiver.seen_at("/subscribed"));
    assert_eq!(seen.len(), 3);
    let spans: HashSet<String> = seen.iter().map(span).collect();
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(!spans.contains("00f067aa0ba902b7"), "the sender's span is the sender's");
    assert!(seen.iter().all(|seen| seen.header("tracestate") == "rojo=1,congo=t61"));
}

#[tokio::test]
async fn what_is_not_valid_is_ignored() {
    let home = home().await;
    let receiver = Receiver::start().await;
    home.trigger(on("traced", "traced", json!([call("c", &receiver.url("/hook"))]))).await;
    let two_states = [("traceparent", PARENT), ("tracestate", "a=1,a=2")];
    let event = home.ended(&sent(&home, "traced", &two_states).await).await;
    assert_eq!((&event["traceparent"], &event["tracestate"]), (&json!(PARENT), &Value::Null), "the state alone");
    let zeros = [("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"), ("tracestate", "a=1")];
    let event = home.ended(&sent(&home, "traced", &zeros).await).await;
    assert_eq!((&event["traceparent"], &event["tracestate"]), (&Value::Null, &Value::Null), "with its state");
    let seen = receiver.wait_for("/hook", 2).await;
    assert!(seen.iter().all(|seen| seen.header("tracestate").is_empty()));
    let trace = event["event_id"].as_str().unwrap().replace('-', "");
    assert!(
        seen[1].header("traceparent").starts_with(&format!("00-{trace}-")),
        "a trace that is named after the event"
    );
}

#[tokio::test]
async fn a_message_says_where_its_event_began_and_which_attempt_sent_it() {
    let home = home().await;
    let publish =
        json!({"type": "broker.publish", "config": {"broker": "embedded:traces", "message": {}, "cloudEvents": true}});
    home.trigger(on("traced", "traced", json!([publish]))).await;
    home.ended(&sent(&home, "traced", &[("traceparent", PARENT), ("tracestate", "a=1")]).await).await;
    let list = home.get("/api/v1/brokers/embedded/topics/traces/messages").await.expect(200);
    let headers = &list["messages"][0]["headers"];
    assert_eq!((&headers["ce-traceparent"], &headers["ce-tracestate"]), (&json!(PARENT), &json!("a=1")), "{list:#}");
    let own = headers["traceparent"].as_str().unwrap();
    assert!(own.starts_with(&format!("00-{TRACE}-")) && own != PARENT, "{own}");
    assert_eq!(headers["tracestate"], "a=1");
}
