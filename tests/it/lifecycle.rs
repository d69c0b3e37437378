//! Starting, stopping, and who may use a data directory.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;
use tokio::task::block_in_place;

use crate::harness::{Receiver, Reply, Server, Settings, call, eventually, free_port, on, signal};

#[tokio::test]
async fn a_second_process_on_the_same_data_directory_is_refused() {
    let server = Server::start();
    let mut second = Command::new(env!("CARGO_BIN_EXE_triggerd"));
    second
        .arg("serve")
        .env_clear()
        .env("TRIGGERD_DATA_DIR", server.data_dir())
        .env("TRIGGERD_LISTEN", format!("127.0.0.1:{}", free_port()));
    let output = tokio::task::spawn_blocking(move || second.output().unwrap()).await.unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&*server.data_dir().to_string_lossy()), "it names the directory: {said}");
    server.api().event("still", json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_finishes_what_runs_and_ends_well() {
    let mut server = Server::start();
    let receiver = Receiver::start().await;
    receiver.script("/held", [Reply::status(200).late(500)]);
    server.api().trigger(on("held", "held", json!([call("c", &receiver.url("/held"))]))).await;
    let id = server.api().event("held", json!({})).await;
    receiver.wait_for("/held", 1).await;
    assert!(block_in_place(|| server.stop()).success(), "{}", server.log_tail(20));
    server.up();
    let event = server.api().ended(&id).await;
    assert_eq!(event["status"], "delivered");
    assert_eq!(receiver.seen_at("/held").len(), 1, "it was finished before the end: {event:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_says_so_and_answers_until_others_have_noticed() {
    let mut server = Server::with(Settings::default().set("SERVER_DRAIN_DELAY", "3s"));
    let receiver = Receiver::start().await;
    let api = server.api();
    api.trigger(on("late", "late", json!([call("c", &receiver.url("/late"))]))).await;
    api.get("/ready").await.expect(200);
    signal("TERM", server.process_id());
    let told = eventually(|| async {
        let answer = api.get("/ready").await;
        let is_told = answer.status == 503 && answer.header("connection") == "close";
        if is_told { Ok(answer) } else { Err(answer.text) }
    })
    .await;
    assert!(told.problem(503)["detail"].as_str().unwrap().contains("draining"));
    api.get("/health").await.expect(200);
    let accepted = api.post("/api/v1/events", json!({"type": "late", "payload": {}})).await;
    assert_eq!(accepted.header("connection"), "close");
    accepted.expect(202);
    assert!(block_in_place(|| server.wait_for_exit()).success(), "{}", server.log_tail(20));
    assert_eq!(receiver.seen_at("/late").len(), 1, "what was accepted was done before the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_finished_in_time_is_handed_back() {
    let mut server = Server::with(Settings::default().set("SERVER_DRAIN_TIMEOUT", "1s"));
    let receiver = Receiver::start().await;
    receiver.script("/hang", [Reply::Hang, Reply::status(200)]);
    server.api().trigger(on("hang", "hang", json!([call("c", &receiver.url("/hang"))]))).await;
    let id = server.api().event("hang", json!({})).await;
    receiver.wait_for("/hang", 1).await;
    assert!(block_in_place(|| server.stop()).success(), "{}", server.log_tail(20));
    server.up();
    let seen = receiver.wait_for("/hang", 2).await;
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
    assert_eq!(server.api().ended(&id).await["status"], "delivered");
}

#[tokio::test]
async fn a_run_that_a_crash_interrupts_goes_on_at_its_first_unfinished_action() {
    let mut server = Server::start();
    let receiver = Receiver::start().await;
    receiver.script("/second", [Reply::Hang, Reply::status(200)]);
    let definition =
        on("resumed", "resumed", json!([call("one", &receiver.url("/first")), call("two", &receiver.url("/second"))]));
    server.api().trigger(definition).await;
    let id = server.api().event("resumed", json!({})).await;
    receiver.wait_for("/second", 1).await;
    server.crash_and_restart();
    let event = server.api().ended(&id).await;
    assert_eq!(event["status"], "delivered");
    assert_eq!(receiver.seen_at("/first").len(), 1);
    let attempts = event["runs"][0]["actions"][1]["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["outcome"]), (2, &json!("lost")), "{event:#}");
    let seen = receiver.seen_at("/second");
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
    assert_eq!((seen[0].header("triggerd-attempt"), seen[1].header("triggerd-attempt")), ("1", "2"));
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_key() {
    let server = Server::start();
    let nobody = server.api().with_key(None);
    let health = nobody.get("/health").await.expect(200);
    assert_eq!((&health["status"], &health["environment"]), (&json!("healthy"), &json!("development")));
    nobody.get("/ready").await.expect(200);
    server.api().event("counted", json!({})).await;
    let metrics = nobody.get("/metrics").await;
    assert!(metrics.status == 200 && metrics.text.contains("triggerd_events_total"), "{}", metrics.text);
}

#[tokio::test]
async fn a_generated_admin_key_is_printed_once_and_kept_for_its_owner_alone() {
    let mut server = Server::with(Settings::default().set("ADMIN_KEY", ""));
    let file = server.data_dir().join("admin.key");
    let key = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.log().matches(&key).count(), 1);
    server.api().with_key(Some(&key)).get("/api/v1/inbox").await.expect(200);
    server.crash_and_restart();
    server.api().with_key(Some(&key)).get("/api/v1/inbox").await.expect(200);
    assert_eq!(server.log().matches(&key).count(), 1);
}

#[tokio::test]
async fn a_wrong_setting_ends_the_start_with_its_name() {
    for (name, value, said) in
        [("LISTN", "x", "LISTEN"), ("LISTEN", "nowhere", "listen"), ("RETENTION", "soon", "retention")]
    {
        let mut server = Server::prepare(Settings::default().set(name, value));
        server.spawn();
        assert!(!server.wait_for_exit().success());
        assert!(server.log().to_lowercase().contains(&said.to_lowercase()), "{name}: {}", server.log());
    }
}

#[tokio::test]
async fn a_condition_64_deep_is_stored_shown_and_in_force_after_a_restart() {
    let mut server = Server::start();
    // By hand: the libraries of this test stop at 127 levels of JSON.
    let condition =
        r#"{"and":["#.repeat(63) + r#"{"field":"record.n","operator":"EQUALS","value":1}"# + &"]}".repeat(63);
    let definition = |condition: &str| {
        format!(
            r#"{{"tag":"deep","events":["deep"],"condition":{condition},"actions":[{{"type":"log.info","config":{{"message":"m"}}}}]}}"#
        )
    };
    let api = server.api();
    api.post_raw("/api/v1/triggers", "application/json", definition(&condition)).await.expect(201);
    let deeper = definition(&format!(r#"{{"not":{{"not":{condition}}}}}"#));
    let problem = api.post_raw("/api/v1/triggers/validate", "application/json", deeper).await.expect(200);
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("64"), "{problem}");
    server.kill();
    server.up();
    let api = server.api();
    assert!(api.get("/api/v1/triggers/deep").await.text.contains(&condition));
    assert_eq!(api.event_ended("deep", json!({"n": 1})).await["status"], "delivered");
    let other = api.event("deep", json!({"n": 2})).await;
    let explained = api.get(&format!("/api/v1/events/{other}")).await.text;
    assert!(explained.contains(r#""status":"unmatched""#) && explained.contains(r#""wanted":1"#), "{explained}");
}
