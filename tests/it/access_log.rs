//! The access log: a line for each request, with what an operator looks for and without what nobody may read.

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, Settings, eventually};

fn logging(which: &str) -> Server {
    Server::with(Settings::default().set("ACCESS_LOG", which).set("LOG_FORMAT", "json"))
}

/// Its lines with that request id, once there is one.
async fn lines(server: &Server, id: &str) -> Vec<Value> {
    eventually(|| async {
        let found = all(server).into_iter().filter(|line| line["request.id"] == id).collect::<Vec<_>>();
        if found.is_empty() { Err(format!("no line of {id}")) } else { Ok(found) }
    })
    .await
}

fn all(server: &Server) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "triggerd::access").collect()
}

#[tokio::test]
async fn a_request_is_logged_once_with_who_asked_for_what_and_how_it_went() {
    let server = logging("all");
    let operator = server.api();
    operator.post("/api/v1/tenants", json!({"id": "acme"})).await.expect(201);
    let made =
        operator.in_tenant("acme").post("/api/v1/keys", json!({"name": "n", "scopes": ["admin"]})).await.expect(201);
    let api = operator.with_key(made["key"].as_str());
    let request = api.request(Method::POST, "/api/v1/events").header("X-Request-Id", "sent-1");
    let answer = api.send(request.json(&json!({"type": "a.b", "payload": {"card": "4111-secret"}}))).await;
    let length = answer.text.len();
    answer.expect(202);
    let lines = lines(&server, "sent-1").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!((&line["http.method"], &line["http.route"]), (&json!("POST"), &json!("/api/v1/events")), "{line}");
    assert_eq!((&line["http.status"], &line["bytes"]), (&json!(202), &json!(length)), "{line}");
    assert_eq!((&line["tenant"], &line["key.id"]), (&json!("acme"), &made["id"]), "{line}");
    assert_eq!(line["peer"], "127.0.0.1");
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0, "{line}");
    let key = made["key"].as_str().unwrap();
    assert!(!server.log().contains("4111-secret") && !server.log().contains(key));
}

#[tokio::test]
async fn paths_are_logged_as_their_routes() {
    let server = logging("all");
    let api = server.api();
    for (path, route) in [
        ("/api/v1/events/01234567-0123-7123-8123-0123456789ab?secret=s3cr3t", "/api/v1/events/{id}"),
        ("/hooks-s3cr3t/s3cr3t", "none"),
        ("/api/v1/caches/main/entries/s3cr3t", "/api/v1/caches/{tag}/entries/{key}"),
    ] {
        api.send(api.request(Method::GET, path).header("X-Request-Id", route)).await;
        let line = lines(&server, route).await.remove(0);
        assert_eq!((&line["http.route"], &line["http.status"]), (&json!(route), &json!(404)), "{line}");
    }
    assert!(!server.log().contains("s3cr3t"), "{}", server.log());
}

#[tokio::test]
async fn a_stream_is_logged_at_its_end_with_all_that_went_out() {
    let server = logging("all");
    let api = server.api();
    let request = api.request(Method::GET, "/api/v1/events/stream").header("X-Request-Id", "followed");
    let mut stream = request.send().await.unwrap().bytes_stream();
    api.event("told", json!({})).await;
    let seen = stream.next().await.unwrap().unwrap().len();
    assert!(all(&server).iter().all(|line| line["request.id"] != "followed"));
    drop(stream);
    let line = lines(&server, "followed").await.remove(0);
    assert!(line["bytes"].as_u64().unwrap() >= seen as u64, "{line}");
}

#[tokio::test]
async fn errors_alone_are_logged_where_that_is_wanted_and_nothing_by_itself() {
    let server = logging("errors");
    let api = server.api();
    api.get("/api/v1/inbox").await.expect(200);
    let refused = api.with_key(Some("not-a-key-of-anybody"));
    let refused = refused.send(refused.request(Method::GET, "/api/v1/inbox").header("X-Request-Id", "refused")).await;
    refused.problem(401);
    let line = lines(&server, "refused").await.remove(0);
    assert_eq!(
        (line["http.status"].as_u64(), line.get("tenant"), line.get("key.id")),
        (Some(401), None, None),
        "{line}"
    );
    assert_eq!(all(&server).len(), 1);
    assert!(!server.log().contains("not-a-key-of-anybody"));

    let quiet = Server::with(Settings::default().set("LOG_FORMAT", "json"));
    quiet.api().get("/api/v1/triggers/absent").await.problem(404);
    assert!(all(&quiet).is_empty());
}
