//! The same `Idempotency-Key` with the same body is the same event.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, Receiver, Reply, Server, call, home, on};

async fn post(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    api.send(api.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await
}

#[tokio::test]
async fn the_first_answer_comes_again_and_nothing_is_done_twice() {
    let home = home().await;
    let body = json!({"type": "once", "payload": {"n": 1}});
    let first = post(&home, "/api/v1/events", "key-1", &body).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let first = first.expect(202);
    for path in ["/api/v1/events", "/events"] {
        let again = post(&home, path, "key-1", &body).await;
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.expect(202), first);
    }
    assert_eq!(home.get("/api/v1/inbox").await.expect(200)["total"], 1);
}

#[tokio::test]
async fn a_quoted_key_is_the_same_as_a_bare_one() {
    let home = home().await;
    let body = json!({"type": "once", "payload": {}});
    let bare = post(&home, "/events", "key-2", &body).await.expect(202);
    assert_eq!(post(&home, "/events", "\"key-2\"", &body).await.expect(202), bare);
}

#[tokio::test]
async fn the_key_with_another_body_is_422() {
    let home = home().await;
    post(&home, "/events", "key-3", &json!({"type": "once", "payload": {"n": 1}})).await.expect(202);
    post(&home, "/events", "key-3", &json!({"type": "once", "payload": {"n": 2}})).await.problem(422);
}

#[tokio::test]
async fn a_key_belongs_to_its_tenant() {
    let (one, other) = (home().await, home().await);
    let body = json!({"type": "once", "payload": {}});
    let first = post(&one, "/events", "key-4", &body).await.expect(202);
    let second = post(&other, "/events", "key-4", &body).await;
    assert_eq!(second.header("idempotency-replayed"), "");
    assert_ne!(second.expect(202)["event_id"], first["event_id"]);
}

#[tokio::test]
async fn two_at_once_make_one_event() {
    let home = home().await;
    let body = json!({"type": "raced", "payload": {}});
    let answers = futures_util::future::join_all((0..8).map(|_| post(&home, "/events", "key-5", &body))).await;
    let ids: std::collections::BTreeSet<String> = answers
        .into_iter()
        .filter(|answer| {
            assert!(answer.status == 202 || answer.status == 409, "{answer:#?}");
            answer.status == 202
        })
        .map(|answer| answer.body["event_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(home.get("/api/v1/inbox").await.expect(200)["total"], 1);
}

#[tokio::test]
async fn a_refused_body_does_not_use_the_key_up() {
    let home = home().await;
    post(&home, "/events", "key-6", &json!({"type": 1, "payload": {}})).await.problem(422);
    post(&home, "/events", "key-6", &json!({"type": "right", "payload": {}})).await.expect(202);
}

#[tokio::test]
async fn a_key_holds_for_batches_too() {
    let home = home().await;
    let batch = json!([{"type": "b", "payload": {}}, {"type": "b", "payload": {}}]);
    let first = post(&home, "/api/v1/events/batch", "key-7", &batch).await.expect(202);
    let again = post(&home, "/api/v1/events/batch", "key-7", &batch).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.expect(202), first);
    assert_eq!(home.get("/api/v1/inbox").await.expect(200)["total"], 2);
}

#[tokio::test]
async fn a_key_survives_a_crash() {
    let mut server = Server::start();
    let api = server.api();
    let body = json!({"type": "once", "payload": {}});
    let first = post(&api, "/events", "key-8", &body).await.expect(202);
    server.crash_and_restart();
    let again = post(&server.api(), "/events", "key-8", &body).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.expect(202), first);
}

#[tokio::test]
async fn a_request_still_in_progress_is_409() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/slow", [Reply::status(200).held()]);
    let mut action = call("slow", &receiver.url("/slow"));
    action["timing"] = json!("sync");
    home.trigger(on("slow", "slow", json!([action]))).await;
    let body = json!({"type": "slow", "payload": {}});
    let batch = json!([body]);
    let api = home.with_scopes(&["events:write"]).await;
    let (other, first) = (api.clone(), batch.clone());
    let first = tokio::spawn(async move { post(&other, "/api/v1/events/batch", "key-9", &first).await });
    receiver.wait_for("/slow", 1).await;
    // Its answer waits for the sync action, but the event is kept: the second request is told so or to wait.
    let second = post(&api, "/api/v1/events/batch", "key-9", &batch).await;
    assert!(second.status == 409 || second.header("idempotency-replayed") == "true", "{second:#?}");
    receiver.release(1);
    first.await.unwrap().expect(202);
    assert_eq!(receiver.seen_at("/slow").len(), 1);
}
