//! Spans: one trace from the caller's request to the receiver of the webhook, as a collector is told of it.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Receiver, Server, Settings, call, eventually, guest, on};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ABOVE: &str = "00f067aa0ba902b7";

/// A server that exports to `collector`, and does so soon.
fn exporting(collector: &Receiver) -> Settings {
    Settings::default().set("OTLP_ENDPOINT", &collector.url("")).environment("OTEL_BSP_SCHEDULE_DELAY", "100")
}

/// All spans that the collector has been sent.
fn told(collector: &Receiver) -> Vec<Span> {
    let requests = collector.seen_at("/v1/traces").into_iter().map(|seen| {
        assert_eq!(seen.header("content-type"), "application/x-protobuf");
        ExportTraceServiceRequest::decode(&seen.body[..]).expect("it is OTLP")
    });
    let resources = requests.flat_map(|request| request.resource_spans);
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

/// The spans of a trace by their names, once there are those of `names`.
async fn spans_of(collector: &Receiver, trace: &str, names: &[&str]) -> HashMap<String, Span> {
    eventually(|| async {
        let of_trace = told(collector).into_iter().filter(|span| hex::encode(&span.trace_id) == trace);
        let found: HashMap<String, Span> = of_trace.map(|span| (span.name.clone(), span)).collect();
        if names.iter().all(|name| found.contains_key(*name)) { Ok(found) } else { Err(format!("{:?}", found.keys())) }
    })
    .await
}

fn text(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

async fn send(server: &Server, event_type: &str, traceparent: Option<&str>) -> String {
    let api = server.api();
    let request = api.request(Method::POST, "/api/v1/events");
    let request = match traceparent {
        Some(text) => request.header("traceparent", text).header("tracestate", "vendor=1"),
        None => request,
    };
    let body =
        json!({"type": event_type, "payload": {"customer_id": "c1", "total": 5, "secret": "not-for-collectors"}});
    let answer = api.send(request.json(&body)).await.expect(202);
    answer["event_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_trace_goes_from_the_caller_through_all_that_it_leads_to() {
    let (collector, receiver) = (Receiver::start().await, Receiver::start().await);
    let server = Server::with(exporting(&collector));
    let api = server.api();
    api.component("lead-score", guest("lead-score")).await;
    let score = json!({"type": "custom", "name": "score", "config": {"component": "lead-score",
        "input": {"lead": "{{payload.customer_id}}", "touch": "order", "total": "{{payload.total}}"},
        "capabilities": {"state": true}}});
    api.trigger(on("traced", "traced", json!([call("hook", &receiver.url("/hook")), score]))).await;
    let id = send(&server, "traced", Some(&format!("00-{TRACE}-{ABOVE}-01"))).await;
    let event = api.ended(&id).await;
    let names = ["POST /api/v1/events", "match", "run traced", "http.post hook", "custom score", "wasm lead-score"];
    let found = spans_of(&collector, TRACE, &names).await;
    let above = |name: &str| hex::encode(&found[name].parent_span_id);
    let own = |name: &str| hex::encode(&found[name].span_id);
    assert_eq!(above("POST /api/v1/events"), ABOVE);
    assert_eq!(above("match"), own("POST /api/v1/events"));
    assert_eq!(above("run traced"), own("POST /api/v1/events"));
    assert_eq!(above("http.post hook"), own("run traced"));
    assert_eq!(above("custom score"), own("run traced"));
    assert_eq!(above("wasm lead-score"), own("custom score"));
    assert_eq!(text(&found["POST /api/v1/events"], "http.response.status_code").as_deref(), Some("202"));
    assert_eq!(text(&found["match"], "triggerd.matches").as_deref(), Some("1"));
    assert_eq!(text(&found["run traced"], "triggerd.event.id").as_deref(), Some(id.as_str()));
    // The receiver's span goes below the attempt's.
    let seen = receiver.wait_for("/hook", 1).await.remove(0);
    assert_eq!(seen.header("traceparent"), format!("00-{TRACE}-{}-01", own("http.post hook")));
    assert_eq!(seen.header("tracestate"), "vendor=1");
    assert_eq!(event["traceparent"], format!("00-{TRACE}-{}-01", own("POST /api/v1/events")), "{event:#}");
    assert!(collector.seen().iter().all(|seen| !seen.text().contains("not-for-collectors")));
}

#[tokio::test]
async fn a_failed_attempt_says_so_and_the_next_one_is_in_the_same_trace_after_a_crash() {
    let collector = Receiver::start().await;
    let receiver = Receiver::start().await;
    receiver.script("/hook", [crate::harness::Reply::status(500), crate::harness::Reply::status(200)]);
    let mut server = Server::with(exporting(&collector));
    let mut hook = call("hook", &receiver.url("/hook"));
    hook["retry"] = json!({"maxAttempts": 3, "initialDelay": 3000, "maxDelay": 3000, "jitter": "none"});
    server.api().trigger(on("traced", "traced", json!([hook]))).await;
    let id = send(&server, "traced", Some(&format!("00-{TRACE}-{ABOVE}-01"))).await;
    let first = spans_of(&collector, TRACE, &["http.post hook", "run traced"]).await;
    let failed = &first["http.post hook"];
    assert_eq!(failed.status.as_ref().unwrap().code, 2, "an error: {failed:?}");
    assert_eq!(text(failed, "error.type").as_deref(), Some("HTTP_500"));
    server.crash_and_restart();
    server.api().ended(&id).await;
    let seen = receiver.wait_for("/hook", 2).await;
    assert!(seen[1].header("traceparent").starts_with(&format!("00-{TRACE}-")));
    eventually(|| async {
        let runs = told(&collector).into_iter().filter(|span| span.name == "run traced");
        let runs: Vec<Span> = runs.filter(|span| hex::encode(&span.trace_id) == TRACE).collect();
        if runs.len() == 2 { Ok(()) } else { Err(format!("{} runs", runs.len())) }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_sampled_is_not_exported_and_the_caller_s_word_counts() {
    let collector = Receiver::start().await;
    let receiver = Receiver::start().await;
    let mut server = Server::with(exporting(&collector).set("OTLP_SAMPLE_RATIO", "0"));
    server.api().trigger(on("traced", "traced", json!([call("hook", &receiver.url("/hook"))]))).await;
    let alone = send(&server, "traced", None).await;
    let unsampled = send(&server, "traced", Some(&format!("00-{}-{ABOVE}-00", "a".repeat(32)))).await;
    let sampled = send(&server, "traced", Some(&format!("00-{TRACE}-{ABOVE}-01"))).await;
    for id in [alone, unsampled, sampled] {
        server.api().ended(&id).await;
    }
    spans_of(&collector, TRACE, &["http.post hook"]).await;
    // What is left is exported at the end, and there is nothing else.
    assert!(tokio::task::spawn_blocking(move || server.stop()).await.unwrap().success());
    let all = told(&collector);
    assert!(all.iter().all(|span| hex::encode(&span.trace_id) == TRACE), "{all:?}");
    let flags: Vec<String> =
        receiver.seen_at("/hook").iter().map(|seen| seen.header("traceparent")[53..].to_owned()).collect();
    assert_eq!(flags.iter().filter(|flags| *flags == "00").count(), 2, "{flags:?}");
}

#[tokio::test]
async fn a_collector_that_cannot_be_reached_holds_nothing_up() {
    let settings = Settings::default().environment("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let mut server = Server::with(settings.environment("OTEL_BSP_SCHEDULE_DELAY", "100"));
    let api = server.api();
    api.trigger(on("traced", "traced", json!([{"type": "log.info", "config": {"message": "m"}}]))).await;
    for _ in 0..20 {
        assert_eq!(api.event_ended("traced", json!({})).await["status"], "delivered");
    }
    eventually(|| async {
        // Told of, and not with every export in the words of a stack.
        if server.log().contains("opentelemetry") { Ok(()) } else { Err(server.log_tail(5)) }
    })
    .await;
    assert!(tokio::task::spawn_blocking(move || server.stop()).await.unwrap().success());
}
