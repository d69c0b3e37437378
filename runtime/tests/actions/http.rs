//! `http.*` against a receiver.

use serde_json::{Value, json};
use triggerd_core::outcome::Outcome;

use crate::harness::http_server::HttpServer;
use crate::harness::smtp_server::{Script, SmtpServer};
use crate::harness::{Bench, dead, done, retried, run};

#[tokio::test]
async fn a_request_carries_its_body_and_the_standard_headers() {
    let (bench, server) = (
        Bench::local().await,
        HttpServer::with_status(201, "x-a: 1\r\nx-a: 2\r\n", r#"{"id": 12345678901234567890123}"#).await,
    );
    let mut cx = bench.context();
    (cx.attempt, cx.replay) = (3, true);
    let config = json!({
        "url": server.url("/a b?x=1"), "headers": {"X-Tag": "t"}, "query": {"q": "a&b=c d", "list": [1, true], "none": null},
        "body": {"n": 1.5},
    });
    let output = done(run(&cx, "http.post", config).await);
    assert_eq!(output["status"], 201);
    assert_eq!(output["headers"]["x-a"], "1, 2");
    assert_eq!(output["body"]["id"].to_string(), "12345678901234567890123", "every digit is kept");
    let seen = server.last();
    assert_eq!(seen.line, "POST /a%20b?x=1&q=a%26b%3Dc+d&list=1&list=true HTTP/1.1");
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("x-tag"), "t");
    assert_eq!(seen.header("idempotency-key"), cx.delivery_id.to_string());
    assert_eq!(seen.header("triggerd-event"), cx.event.id.to_string());
    assert_eq!(seen.header("triggerd-trigger"), "my-trigger");
    assert_eq!(seen.header("triggerd-attempt"), "3");
    assert_eq!(seen.header("triggerd-replay"), "true");
    let traceparent = seen.header("traceparent");
    assert!(
        traceparent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && traceparent.ends_with("-01"),
        "{traceparent}"
    );
    assert!(!traceparent.contains("00f067aa0ba902b7"), "a hop of its own");
    let excerpt = cx.excerpt.lock().clone();
    assert_eq!(excerpt.request.unwrap()["method"], "POST");
    assert_eq!(excerpt.response.unwrap()["status"], 201);
}

#[tokio::test]
async fn the_receiver_s_connection_is_kept_for_the_next_request() {
    let (bench, server) = (Bench::local().await, HttpServer::with_status(200, "", "ok").await);
    for _ in 0..20 {
        done(bench.run("http.get", json!({ "url": server.url("/") })).await);
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(server.received.lock().len(), 20);
}

#[tokio::test]
async fn a_signed_request_verifies_with_the_reference_library() {
    let (bench, server) = (Bench::local().await, HttpServer::with_status(200, "", "").await);
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    bench.put("secrets", "HOOK_KEY", json!({ "value": key })).await;
    for sign_with in [json!(key), json!("HOOK_KEY"), json!(["HOOK_KEY", key])] {
        let cx = bench.context();
        done(
            run(&cx, "http.post", json!({"url": server.url("/"), "body": {"grün": [1, 2.50]}, "signWith": sign_with}))
                .await,
        );
        let seen = server.last();
        assert_eq!(seen.header("webhook-id"), cx.delivery_id.to_string());
        let mut headers = http::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(http::HeaderName::from_static(name), seen.header(name).parse().unwrap());
        }
        let webhook = standardwebhooks::Webhook::new(key).unwrap();
        webhook.verify(seen.body.as_bytes(), &headers).unwrap();
        assert!(!cx.excerpt.lock().request.as_ref().unwrap().to_string().contains("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    }
    let failure = dead(bench.run("http.post", json!({"url": server.url("/"), "signWith": "ABSENT"})).await);
    assert_eq!(failure.code, "SECRET_NOT_FOUND");
}

#[tokio::test]
async fn an_echo_brings_no_secret_back() {
    let bench = Bench::local().await;
    let secret = "canary-4c1f9a";
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("user:{secret}"))
    };
    let body = json!({"raw": secret, "basic": basic, "hex": hex::encode(secret)}).to_string();
    let server = HttpServer::with_status(200, &format!("x-echo: {secret}\r\n"), &body).await;
    let mut cx = bench.context();
    cx.secrets = std::sync::Arc::new(vec![secret.to_owned()]);
    let config = json!({
        "url": server.url(&format!("/{secret}")), "query": {"key": secret}, "headers": {"X-Key": secret},
        "auth": {"basic": {"username": "user", "password": secret}}, "body": {"key": secret},
    });
    let output = done(run(&cx, "http.post", config).await);
    assert_eq!(server.last().header("authorization"), format!("Basic {basic}"));
    let kept = format!("{output} {:?}", cx.excerpt.lock());
    for form in [secret.to_owned(), basic, hex::encode(secret)] {
        assert!(!kept.contains(&form), "{form} in {kept}");
    }
}

#[tokio::test]
async fn failures_have_stable_codes_and_know_whether_to_come_back() {
    let bench = Bench::local().await;
    let get = async |url: String| bench.run("http.get", json!({ "url": url })).await;
    let busy = HttpServer::with_status(503, "retry-after: 7\r\n", "").await;
    match get(busy.url("/")).await {
        Outcome::Retry { failure, after } => {
            assert_eq!(failure.code, "HTTP_503");
            assert_eq!(after.unwrap().as_secs(), 7);
        }
        other => panic!("{other:?}"),
    }
    let moved = HttpServer::with_status(302, "location: http://127.0.0.1:1/\r\n", "").await;
    assert_eq!(dead(get(moved.url("/")).await).code, "HTTP_302");
    assert_eq!(moved.connections(), 1, "redirects are not followed");
    let gone = HttpServer::with_status(404, "", "").await;
    assert_eq!(dead(get(gone.url("/")).await).code, "HTTP_404");
    let cut = HttpServer::answering("").await;
    assert_eq!(retried(get(cut.url("/")).await).code, "ECONNRESET");
    let strange = HttpServer::answering("SMTP hello\r\n\r\n").await;
    assert_eq!(retried(get(strange.url("/")).await).code, "EPROTO");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(retried(get(format!("http://{closed}/")).await).code, "ECONNREFUSED");
    assert_eq!(retried(get("http://does-not-exist.invalid/".into()).await).code, "ENOTFOUND");
    let tls = SmtpServer::start(Script::default()).await;
    assert_eq!(retried(get(format!("https://{}/", tls.address)).await).code, "EPROTO");
}

#[tokio::test]
async fn large_answers_are_read_up_to_the_bound_and_not_expanded() {
    let bench = Bench::local().await;
    let server = HttpServer::with_status(200, "", &"x".repeat(5 << 20)).await;
    let cx = bench.context();
    let output = done(run(&cx, "http.get", json!({ "url": server.url("/") })).await);
    assert_eq!(output["bodyTruncated"], true);
    assert_eq!(output["body"].as_str().unwrap().len(), 1 << 20);
    assert!(cx.excerpt.lock().response.as_ref().unwrap().to_string().len() <= 16 * 1024 + 256);
    let endless = HttpServer::answering(
        [
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
            b"100000\r\n".to_vec(),
            vec![b'y'; 1 << 20],
            b"\r\n100000\r\n".to_vec(),
            vec![b'y'; 1 << 20],
        ]
        .concat(),
    )
    .await;
    assert_eq!(done(bench.run("http.get", json!({ "url": endless.url("/") })).await)["bodyTruncated"], true);
    let headers = HttpServer::answering(
        [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'h'; 10 << 20], b"\r\n\r\n".to_vec()].concat(),
    )
    .await;
    assert_eq!(retried(bench.run("http.get", json!({ "url": headers.url("/") })).await).code, "EPROTO");
    let zipped = HttpServer::with_status(200, "content-encoding: gzip\r\n", "not really gzip").await;
    assert_eq!(done(bench.run("http.get", json!({ "url": zipped.url("/") })).await)["body"], "not really gzip");
}

#[tokio::test]
async fn what_could_be_smuggled_is_refused_before_anything_is_sent() {
    let (bench, server) = (Bench::local().await, HttpServer::with_status(200, "", "").await);
    let url = server.url("/");
    let refused: [(&str, Value); 8] = [
        ("/headers/X-A", json!({"url": url, "headers": {"X-A": "a\r\nX-B: b"}})),
        ("/headers/Host", json!({"url": url, "headers": {"Host": "evil"}})),
        ("/headers/Content-Length", json!({"url": url, "headers": {"Content-Length": "0"}})),
        ("/headers/transfer-encoding", json!({"url": url, "headers": {"transfer-encoding": "chunked"}})),
        ("/headers/Triggerd-Attempt", json!({"url": url, "headers": {"Triggerd-Attempt": "9"}})),
        ("/auth", json!({"url": url, "auth": {"bearer": "a\r\nX: y"}})),
        ("/url", json!({"url": format!("{url}\r\nX: y")})),
        ("/expectStatus", json!({"url": url, "expectStatus": "abc"})),
    ];
    for (place, config) in refused {
        let failure = dead(bench.run("http.post", config).await);
        assert!(failure.message.starts_with(place), "{}", failure.message);
    }
    assert_eq!(server.connections(), 0);
}
