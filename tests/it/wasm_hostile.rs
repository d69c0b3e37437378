//! A guest that does harm ends with its code, in its own run only.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Server, call, guest, home, on};

async fn hostile(home: &Home, tag: &str, input: Value) -> Value {
    let action = json!([{"name": "harm", "type": "custom", "retry": {"maxAttempts": 1}, "config": {"component": "hostile", "input": input}}]);
    home.trigger(on(tag, tag, action)).await;
    let event = home.event_ended(tag, json!({})).await;
    event["runs"][0].clone()
}

#[tokio::test]
async fn every_harm_ends_with_its_code_while_a_healthy_trigger_goes_on() {
    let home = home().await;
    let receiver = Receiver::start().await;
    home.component("hostile", guest("hostile")).await;
    home.trigger(on("healthy", "healthy", json!([call("c", &receiver.url("/ok")), {"name": "wasm", "type": "custom", "config": {"component": "hostile", "input": {"mode": "echo"}}}]))).await;
    let harms = [
        ("loop", "WASM_TIMEOUT"),
        ("memory", "WASM_MEMORY"),
        ("trap", "WASM_TRAP"),
        ("stack", "WASM_TRAP"),
        ("result", "WASM_RESULT"),
        ("state-forbidden", "WASM_FORBIDDEN"),
        ("secret-forbidden", "WASM_FORBIDDEN"),
        ("http", "WASM_FORBIDDEN"),
    ];
    let harmed = async {
        for (mode, code) in harms {
            let run = hostile(&home, mode, json!({"mode": mode})).await;
            assert_eq!((&run["status"], &run["error_code"]), (&json!("failed"), &json!(code)), "{mode}: {run:#}");
        }
    };
    let healthy = async {
        for _ in 0..10 {
            assert_eq!(home.event_ended("healthy", json!({})).await["status"], "delivered");
        }
    };
    tokio::join!(harmed, healthy);
    assert_eq!(receiver.seen_at("/ok").len(), 10);
}

#[tokio::test]
async fn a_loop_is_ended_soon_after_its_second_of_cpu() {
    let home = home().await;
    home.component("hostile", guest("hostile")).await;
    let began = Instant::now();
    let run = hostile(&home, "spin", json!({"mode": "loop"})).await;
    assert_eq!(run["error_code"], "WASM_TIMEOUT");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_trap_comes_with_a_backtrace_in_the_guest_s_terms() {
    let home = home().await;
    home.component("hostile", guest("hostile")).await;
    let run = hostile(&home, "crash", json!({"mode": "trap"})).await;
    let error = run["error"].as_str().unwrap();
    assert!(error.contains("unreachable") || error.contains("hostile"), "{error}");
}

#[tokio::test]
async fn floods_of_log_lines_are_cut_and_do_not_fail_the_call() {
    let home = home().await;
    home.component("hostile", guest("hostile")).await;
    for mode in ["logs", "stdout"] {
        let run = hostile(&home, mode, json!({"mode": mode, "amount": 2000})).await;
        assert_eq!(run["status"], "delivered", "{mode}: {run:#}");
    }
    let endless = hostile(&home, "endless", json!({"mode": "logs"})).await;
    assert!(endless["error_code"].as_str().unwrap().starts_with("WASM_"), "{endless:#}");
}

#[tokio::test]
async fn the_host_s_environment_arguments_and_files_are_not_seen() {
    let home = home().await;
    home.component("hostile", guest("hostile")).await;
    let run = hostile(&home, "snoop", json!({"mode": "snoop"})).await;
    assert_eq!(run["status"], "delivered", "{run:#}");
    let output = run["actions"][0]["output"].to_string();
    for told in ["TRIGGERD", "/root", "root:", "admin"] {
        assert!(!output.contains(told), "{output}");
    }
}

#[tokio::test]
async fn a_guest_s_way_out_is_guarded_like_every_other() {
    let server = Server::with(crate::harness::Settings::default().set("ENVIRONMENT", "production"));
    let api = server.api();
    let receiver = Receiver::start().await;
    api.component("hostile", guest("hostile")).await;
    let config = json!({"component": "hostile", "input": {"mode": "http", "url": receiver.url("/in")}, "capabilities": {"http": [format!("127.0.0.1:{}", receiver.port())]}});
    api.trigger(on(
        "inside",
        "inside",
        json!([{"name": "go", "type": "custom", "retry": {"maxAttempts": 1}, "config": config}]),
    ))
    .await;
    let event = api.event_ended("inside", json!({})).await;
    assert_eq!(event["status"], "failed", "{event:#}");
    assert_eq!(receiver.connections(), 0, "granted by the tenant is not allowed by the operator");
}

#[tokio::test]
async fn two_hundred_harms_at_once_do_not_stop_the_others() {
    let home = home().await;
    home.component("hostile", guest("hostile")).await;
    for mode in ["trap", "memory", "stack", "result"] {
        let action = json!([{"name": "harm", "type": "custom", "retry": {"maxAttempts": 1}, "config": {"component": "hostile", "input": {"mode": mode}}}]);
        home.trigger(on(mode, "harm", action)).await;
    }
    home.trigger(on(
        "good",
        "good",
        json!([{"name": "echo", "type": "custom", "config": {"component": "hostile", "input": {"mode": "echo"}}}]),
    ))
    .await;
    let harms: Vec<Value> = (0..50).map(|n| json!({"type": "harm", "payload": {"n": n}})).collect();
    let answer = home.post("/api/v1/events/batch", json!(harms)).await.expect(202);
    for _ in 0..5 {
        assert_eq!(home.event_ended("good", json!({})).await["status"], "delivered");
    }
    for result in answer["results"].as_array().unwrap() {
        let event = home.ended(result["event_id"].as_str().unwrap()).await;
        let runs = event["runs"].as_array().unwrap();
        assert!(
            runs.len() == 4 && runs.iter().all(|run| run["error_code"].as_str().unwrap().starts_with("WASM_")),
            "{event:#}"
        );
    }
}
