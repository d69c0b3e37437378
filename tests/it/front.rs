//! What every answer has, whatever it answers: the request's id, headers for browsers and caches, and other origins.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Api, Server, Settings, home};

const ORIGIN: &str = "https://console.example.com";

/// Answers of every kind: of routes, of the guard, of no route at all.
async fn answers_of_all_kinds(api: &Api) -> Vec<Answer> {
    let send = |method: Method, path: &str| api.send(api.request(method, path).header("X-Request-Id", "mine-1"));
    vec![
        send(Method::GET, "/health").await,
        send(Method::GET, "/api/v1/inbox").await,
        send(Method::GET, "/api/v1/triggers/absent").await,
        send(Method::GET, "/nowhere").await,
        send(Method::DELETE, "/api/v1/inbox").await,
        send(Method::GET, "/api/v1/openapi.json").await,
        api.with_key(Some("wrong"))
            .send(api.with_key(None).request(Method::GET, "/api/v1/inbox").header("X-Request-Id", "mine-1"))
            .await,
    ]
}

#[tokio::test]
async fn a_request_s_id_is_in_its_answer_and_in_no_body() {
    let home = home().await;
    for answer in answers_of_all_kinds(&home).await {
        assert_eq!(answer.header("x-request-id"), "mine-1", "{answer:?}");
        assert!(!answer.text.contains("mine-1"), "{answer:?}");
    }
    let made = home.get("/health").await;
    assert_eq!(uuid::Uuid::parse_str(made.header("x-request-id")).unwrap().get_version_num(), 7);
    let strange = home.send(home.request(Method::GET, "/health").header("X-Request-Id", "two words")).await;
    assert_eq!(strange.header("x-request-id").len(), 36, "{strange:?}");
}

#[tokio::test]
async fn every_answer_tells_browsers_and_caches_to_keep_away() {
    let home = home().await;
    for answer in answers_of_all_kinds(&home).await {
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{answer:?}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{answer:?}");
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'; frame-ancestors 'none'",
            "{answer:?}"
        );
        assert_eq!(answer.header("strict-transport-security"), "", "there is no TLS to keep to: {answer:?}");
    }
}

/// What a browser asks before it lets a page of `origin` send an event.
async fn preflight(api: &Api, origin: &str) -> Answer {
    let nobody = api.with_key(None);
    let request = nobody.request(Method::OPTIONS, "/api/v1/events").header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", "POST");
    nobody.send(request.header("Access-Control-Request-Headers", "authorization,ce-subject,idempotency-key")).await
}

#[tokio::test]
async fn pages_of_other_origins_are_kept_out_unless_the_operator_names_them() {
    let home = home().await;
    let refused = preflight(&home, ORIGIN).await;
    assert_eq!(refused.header("access-control-allow-origin"), "");
    refused.problem(405);
    let answer = home.send(home.request(Method::GET, "/api/v1/inbox").header("Origin", ORIGIN)).await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{answer:?}");
}

#[tokio::test]
async fn a_named_origin_s_pages_ask_without_a_key_and_read_what_they_need() {
    let origins = format!("{ORIGIN},http://localhost:3000");
    let server = Server::with(Settings::default().set("CORS_ORIGINS", &origins).set("RATE_LIMIT", "1000"));
    let api = server.api();
    let allowed = preflight(&api, ORIGIN).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert_eq!(allowed.header("access-control-allow-origin"), ORIGIN);
    assert!(allowed.header("access-control-allow-methods").contains("PATCH"), "{allowed:?}");
    assert_eq!(allowed.header("access-control-allow-headers"), "authorization,ce-subject,idempotency-key");
    assert_eq!(allowed.header("access-control-allow-credentials"), "", "keys are sent by pages, not by browsers");
    assert!(!allowed.header("x-request-id").is_empty());
    let foreign = preflight(&api, "https://console.example.com.evil.example").await;
    assert_eq!(foreign.header("access-control-allow-origin"), "");

    let send = |origin: &str| {
        let request = api.request(Method::POST, "/api/v1/events").header("Origin", origin);
        api.send(request.header("Idempotency-Key", "once").json(&json!({"type": "from.a.page", "payload": {}})))
    };
    let first = send(ORIGIN).await;
    let again = send(ORIGIN).await;
    assert_eq!(again.header("access-control-allow-origin"), ORIGIN);
    let told = again.header("access-control-expose-headers").to_owned();
    for name in ["ratelimit", "ratelimit-policy", "retry-after", "idempotency-replayed", "x-request-id"] {
        assert!(told.split(',').any(|header| header == name), "{name}: {told}");
    }
    assert_eq!(
        (again.header("idempotency-replayed"), again.header("ratelimit-policy")),
        ("true", "\"tenant\";q=1000;w=1")
    );
    assert_eq!(first.expect(202)["event_id"], again.expect(202)["event_id"]);
    // Refusals are for the page to read as well.
    let refused = api.with_key(None);
    let refused = refused.send(refused.request(Method::GET, "/api/v1/inbox").header("Origin", ORIGIN)).await;
    assert_eq!(refused.header("access-control-allow-origin"), ORIGIN);
    refused.problem(401);
    // What is no preflight is no matter of CORS.
    let bare = api.send(api.request(Method::OPTIONS, "/api/v1/events").header("Origin", ORIGIN)).await;
    assert_eq!(bare.status, 405);
}

#[tokio::test]
async fn every_origin_can_be_let_in() {
    let server = Server::with(Settings::default().set("CORS_ORIGINS", "*"));
    let allowed = preflight(&server.api(), "https://anybody.example").await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, "*"), "{allowed:?}");
}
