//! A third party sends to an address of its own: what is signed as its hook asks for becomes one event, everything else none.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::{Answer, Api, Home, Receiver, Server, Settings, call, eventually, home, on, store};

const STANDARD_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Makes a hook; its address.
async fn made(api: &Api, tag: &str, settings: Value) -> String {
    let answer = api.put(&format!("/api/v1/hooks/{tag}"), settings).await;
    assert!(answer.status < 300, "{answer:#?}");
    answer.body["url"].as_str().unwrap().to_owned()
}

/// Sends as a third party does: without a key.
async fn send(api: &Api, url: &str, headers: &[(&str, String)], body: impl Into<reqwest::Body>) -> Answer {
    let request = api.with_key(None).request(Method::POST, url).header("content-type", "application/json");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    api.send(request.body(body)).await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn mac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The headers of a signed request of each kind, with the given key and time.
fn signed(kind: &str, key: &str, id: &str, at: u64, body: &str) -> Vec<(&'static str, String)> {
    match kind {
        "standard_webhooks" => {
            let bytes = STANDARD.decode(key.trim_start_matches("whsec_")).unwrap();
            let signature = STANDARD.encode(mac(&bytes, &format!("{id}.{at}.{body}")));
            vec![
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", at.to_string()),
                ("webhook-signature", format!("v1,{signature}")),
            ]
        }
        "github" => vec![
            ("X-Hub-Signature-256", format!("sha256={}", hex::encode(mac(key.as_bytes(), body)))),
            ("X-GitHub-Event", "push".to_owned()),
            ("X-GitHub-Delivery", id.to_owned()),
        ],
        "stripe" => {
            let code = hex::encode(mac(key.as_bytes(), &format!("{at}.{body}")));
            vec![("Stripe-Signature", format!("t={at},v1={},v1={code},v0=x", "00".repeat(32)))]
        }
        "slack" => vec![
            ("X-Slack-Request-Timestamp", at.to_string()),
            ("X-Slack-Signature", format!("v0={}", hex::encode(mac(key.as_bytes(), &format!("v0:{at}:{body}"))))),
        ],
        "shared_secret" => vec![("X-Webhook-Secret", key.to_owned())],
        other => panic!("{other}"),
    }
}

async fn count(home: &Home) -> Value {
    home.get("/api/v1/inbox").await.expect(200)["total"].clone()
}

#[tokio::test]
async fn what_is_signed_as_the_hook_asks_for_is_an_event_once() {
    for (kind, body, event_type, by_time) in [
        ("standard_webhooks", r#"{"type":"user.created","data":{"n":1}}"#, "user.created", true),
        ("github", r#"{"ref":"refs/heads/main"}"#, "github.push", false),
        ("stripe", r#"{"id":"evt_1","type":"charge.succeeded"}"#, "stripe.charge.succeeded", true),
        ("slack", r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"message"}}"#, "slack.message", true),
    ] {
        let home = home().await;
        let key = if kind == "standard_webhooks" { STANDARD_KEY } else { "it's a secret" };
        let url = made(&home, "in", json!({"verify": {"type": kind, "secret": key}})).await;
        let first = send(&home, &url, &signed(kind, key, "d1", now(), body), body).await;
        assert_eq!(first.header("idempotency-replayed"), "");
        let first = first.expect(202);
        let event = home.detail(first["event_id"].as_str().unwrap()).await;
        assert_eq!((&event["type"], &event["source"]), (&json!(event_type), &json!("hooks/in")), "{kind}");
        assert_eq!(event["payload"], serde_json::from_str::<Value>(body).unwrap());

        // Sent again by the sender, or by somebody who has seen it.
        let again = send(&home, &url, &signed(kind, key, "d1", now() - 1, body), body).await;
        assert_eq!(again.header("idempotency-replayed"), "true", "{kind}");
        assert_eq!(again.expect(202), first, "{kind}");

        let other_key =
            if kind == "standard_webhooks" { "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" } else { "x" };
        let wrong = send(&home, &url, &signed(kind, other_key, "d2", now(), body), body).await.problem(401);
        assert_eq!(wrong["type"], "urn:triggerd:problem:unsigned", "{kind}");
        // Another body under the same signature; no signature at all.
        let changed = body.replace('1', "2").replace("main", "other");
        send(&home, &url, &signed(kind, key, "d2", now(), body), changed).await.problem(401);
        send(&home, &url, &[], body).await.problem(401);
        // Nothing is read before it is known to be the sender's.
        send(&home, &url, &[], "{").await.problem(401);
        if by_time {
            for at in [now() - 310, now() + 310] {
                let late = send(&home, &url, &signed(kind, key, "d3", at, body), body).await.problem(401);
                assert!(late["detail"].as_str().unwrap().contains("time"), "{late}");
            }
        }
        assert_eq!(count(&home).await, 1, "{kind}");
    }
}

#[tokio::test]
async fn slack_s_question_to_a_new_address_is_answered_once_it_is_known_to_be_slack_s() {
    let home = home().await;
    let url = made(&home, "slack", json!({"verify": {"type": "slack", "secret": "s"}})).await;
    let body =
        r#"{"token":"t","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let answer = send(&home, &url, &signed("slack", "s", "", now(), body), body).await.expect(200);
    assert_eq!(answer, json!({"challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}));
    send(&home, &url, &signed("slack", "x", "", now(), body), body).await.problem(401);
    // Of somebody else it is an event like any other.
    let url = made(&home, "plain", json!({"verify": {"type": "none"}})).await;
    send(&home, &url, &[], body).await.expect(202);
    assert_eq!(count(&home).await, 1);
}

#[tokio::test]
async fn the_token_is_the_server_s_and_leads_nowhere_once_it_is_replaced() {
    let home = home().await;
    let settings =
        json!({"verify": {"type": "none"}, "event_type": "in.{{payload.kind}}", "source": "crm", "env": "prd"});
    let first = home.put("/api/v1/hooks/crm", settings.clone()).await.expect(201);
    let (token, url) = (first["token"].as_str().unwrap(), first["url"].as_str().unwrap());
    assert_eq!((token.len(), url), (43, format!("/hooks/{token}").as_str()));
    assert_eq!(first["settings"], settings, "the token is no setting");
    for body in
        [json!({"verify": {"type": "none"}, "token": "mine"}), json!({"verify": {"type": "none"}, "token": null})]
    {
        assert_eq!(home.put("/api/v1/hooks/crm", body).await.problem(422)["errors"][0]["pointer"], "/token");
    }
    assert_eq!(
        home.patch("/api/v1/hooks/crm", json!({"token": null})).await.problem(422)["errors"][0]["pointer"],
        "/token"
    );

    // It stays, whatever else changes.
    assert_eq!(home.put("/api/v1/hooks/crm", settings.clone()).await.expect(200)["token"], token);
    assert_eq!(home.patch("/api/v1/hooks/crm", json!({"source": "other"})).await.expect(200)["token"], token);
    assert_eq!(home.get("/api/v1/hooks/crm").await.expect(200)["url"], url);
    assert_eq!(home.get("/api/v1/hooks").await.expect(200)["hooks"][0]["token"], token);
    // Who may not change a hook is not told what leads to it.
    let reader = home.with_scopes(&["events:read"]).await;
    for shown in [reader.get("/api/v1/hooks/crm").await, reader.get("/api/v1/hooks").await] {
        assert!(!shown.text.contains(token), "{}", shown.text);
        shown.expect(200);
    }
    reader.post("/api/v1/hooks/crm/rotate-token", json!({})).await.problem(403);

    let event = send(&home, url, &[], r#"{"kind":"lead"}"#).await.expect(202);
    let event = home.detail(event["event_id"].as_str().unwrap()).await;
    assert_eq!((&event["type"], &event["source"]), (&json!("in.lead"), &json!("other")));
    assert_eq!((&event["env"], &event["metadata"]), (&json!("prd"), &json!({"hook": "crm"})));

    let rotated = home.post("/api/v1/hooks/crm/rotate-token", json!({})).await.expect(200);
    let new = rotated["url"].as_str().unwrap();
    assert_ne!(new, url);
    send(&home, url, &[], "{}").await.problem(404);
    send(&home, new, &[], "{}").await.expect(202);
    home.post("/api/v1/hooks/nobody/rotate-token", json!({})).await.problem(404);
    home.delete("/api/v1/hooks/crm").await.expect(204);
    send(&home, new, &[], "{}").await.problem(404);
    // Another one of that name has another address.
    assert_ne!(made(&home, "crm", settings).await, new);
}

#[tokio::test]
async fn nobody_can_tell_why_a_token_leads_nowhere() {
    let home = home().await;
    let url = made(&home, "off", json!({"verify": {"type": "github", "secret": "s"}, "enabled": false})).await;
    let mut answers = Vec::new();
    for path in [
        url.as_str(),
        "/hooks/x",
        "/hooks/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        &format!("/hooks/{}", "y".repeat(4000)),
    ] {
        let answer = send(&home, path, &signed("github", "s", "d", now(), "{}"), "{}").await;
        let names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        answers.push((names, answer.problem(404).to_string()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    home.patch("/api/v1/hooks/off", json!({"enabled": true})).await.expect(200);
    send(&home, &url, &signed("github", "s", "d", now(), "{}"), "{}").await.expect(202);
    home.send(home.with_key(None).request(Method::GET, &url)).await.problem(405);
}

#[tokio::test]
async fn secrets_are_replaced_without_a_gap_and_never_shown() {
    let home = home().await;
    home.resource("secrets", "NEW_KEY", json!({"value": "new-canary"})).await;
    let one = json!({"verify": {"type": "github", "secret": "old-canary"}, "headers": ["X-GitHub-Event"]});
    let url = made(&home, "git", one).await;
    let body = "{}";
    let post = async |key: &str, id: &str| send(&home, &url, &signed("github", key, id, now(), body), body).await;
    post("old-canary", "1").await.expect(202);
    post("new-canary", "2").await.problem(401);
    let both = json!({"verify": {"secret": ["old-canary", {"secret": "NEW_KEY"}]}});
    home.patch("/api/v1/hooks/git", both).await.expect(200);
    post("old-canary", "3").await.expect(202);
    let event = post("new-canary", "4").await.expect(202);
    let event = home.detail(event["event_id"].as_str().unwrap()).await;
    assert_eq!(event["metadata"], json!({"hook": "git", "delivery_id": "4", "headers": {"x-github-event": "push"}}));
    // What is read can be written again, and is not the secret.
    let shown = home.get("/api/v1/hooks/git").await;
    assert!(!shown.text.contains("canary"), "{}", shown.text);
    home.put("/api/v1/hooks/git", shown.body["settings"].clone()).await.expect(200);
    post("old-canary", "5").await.expect(202);
    home.patch("/api/v1/hooks/git", json!({"verify": {"secret": {"secret": "NEW_KEY"}}})).await.expect(200);
    post("old-canary", "6").await.problem(401);
    post("new-canary", "6").await.expect(202);
    assert_eq!(home.post("/api/v1/hooks/git/check", json!({})).await.expect(200)["ok"], true);
    let used = home.delete("/api/v1/secrets/NEW_KEY").await.problem(409);
    assert!(used["detail"].as_str().unwrap().contains("hooks/git"), "{used}");
    let log = home.server().log();
    assert!(!log.contains("old-canary") && !log.contains("new-canary"));

    // A secret that is not there is ours to put right: the sender is asked to come again.
    home.patch("/api/v1/hooks/git", json!({"verify": {"secret": "{{secrets.NOT_THERE}}"}})).await.expect(200);
    let answer = post("new-canary", "7").await;
    assert!(!answer.header("retry-after").is_empty());
    assert!(!answer.problem(503).to_string().contains("NOT_THERE"));
    assert_eq!(home.post("/api/v1/hooks/git/check", json!({})).await.expect(200)["ok"], false);
}

#[tokio::test]
async fn a_shared_secret_is_taken_from_its_header_and_a_delivery_from_where_the_hook_says() {
    let home = home().await;
    let settings = json!({
        "verify": {"type": "shared_secret", "secret": "s3cret", "header": "Authorization"},
        "event_type": "form.{{header.X-Kind}}", "delivery_id": "{{payload.uuid}}",
    });
    let url = made(&home, "form", settings).await;
    let post = async |secret: &str, body: &str| {
        send(&home, &url, &[("Authorization", secret.to_owned()), ("X-Kind", "sent".to_owned())], body.to_owned()).await
    };
    let first = post("Bearer s3cret", r#"{"uuid":"u1"}"#).await.expect(202);
    assert_eq!(post("s3cret", r#"{"uuid":"u1","retry":1}"#).await.expect(202), first);
    assert_ne!(post("s3cret", r#"{"uuid":"u2"}"#).await.expect(202), first);
    // Without a name of its own each is an event.
    post("s3cret", "[1]").await.expect(202);
    post("s3cret", "[1]").await.expect(202);
    post("s3cret ", "\"any JSON\"").await.expect(202);
    post("Bearer other", "{}").await.problem(401);
    assert_eq!(home.get("/api/v1/inbox?event_type=form.sent").await.expect(200)["total"], 5);
    // Two hooks may be sent the same names.
    let other = made(&home, "form2", json!({"verify": {"type": "none"}, "delivery_id": "{{payload.uuid}}"})).await;
    assert_ne!(send(&home, &other, &[], r#"{"uuid":"u1"}"#).await.expect(202), first);
}

#[tokio::test]
async fn bodies_are_bounded_and_may_come_compressed() {
    let home = home().await;
    let key = "s";
    let url = made(&home, "git", json!({"verify": {"type": "github", "secret": key}})).await;
    let body = format!(r#"{{"x":"{}"}}"#, "x".repeat(100_000));
    // What is signed is the body, and not how it is sent.
    let mut headers = signed("github", key, "1", now(), &body);
    headers.push(("content-encoding", "zstd".to_owned()));
    send(&home, &url, &headers, zstd::encode_all(body.as_bytes(), 1).unwrap()).await.expect(202);
    let large = "x".repeat(2 << 20);
    send(&home, &url, &signed("github", key, "2", now(), &large), large).await.problem(413);
    send(&home, &url, &signed("github", key, "3", now(), "{"), "{").await.problem(400);
    let request =
        home.with_key(None).request(Method::POST, &url).header("content-type", "application/x-www-form-urlencoded");
    let request = request.header("X-Hub-Signature-256", &signed("github", key, "", 0, "payload=1")[0].1);
    home.send(request.body("payload=1")).await.problem(415);
    assert_eq!(count(&home).await, 1);
}

#[tokio::test]
async fn the_tenant_s_rate_holds_and_triggers_run() {
    let home = home().await;
    let receiver = Receiver::start().await;
    home.trigger(on("hooked", "hook.in", json!([call("tell", &receiver.url("/in"))]))).await;
    let url = made(&home, "in", json!({"verify": {"type": "none"}})).await;
    let traced = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned())];
    send(&home, &url, &traced, r#"{"n":9007199254740993}"#).await.expect(202);
    let seen = receiver.wait_for("/in", 1).await;
    assert_eq!(seen[0].text(), r#"{"n":9007199254740993}"#);
    assert!(seen[0].header("traceparent").starts_with("00-0af7651916cd43dd8448eb211c80319c-"));

    let operator = home.server().api();
    operator.patch(&format!("/api/v1/tenants/{}", home.tenant), json!({"rate_limit": 3})).await.expect(200);
    let mut refused = None;
    for _ in 0..40 {
        let answer = send(&home, &url, &[], "{}").await;
        assert!(!answer.header("ratelimit").is_empty() && !answer.header("ratelimit-policy").is_empty(), "{answer:#?}");
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect(202);
    }
    let refused = refused.expect("40 at once are more than 3 a second");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1, "{refused:#?}");
    refused.problem(429);
}

#[tokio::test]
async fn a_hook_survives_a_restart_and_is_known_on_every_node() {
    let mut server = Server::start();
    let url = made(&server.api(), "in", json!({"verify": {"type": "none"}})).await;
    server.crash_and_restart();
    send(&server.api(), &url, &[], "{}").await.expect(202);

    let shared = store::fresh();
    let nodes: [Server; 2] = std::array::from_fn(|_| Server::with(Settings::default().node_of(&shared)));
    let (one, other) = (nodes[0].api(), nodes[1].api());
    let settings = json!({"verify": {"type": "github", "secret": "s"}});
    let url = made(&one, "in", settings).await;
    let body = "{}";
    let answers = async |url: &str, status: u16| {
        eventually(|| async {
            let answer = send(&other, url, &signed("github", "s", "d0", now(), body), body).await;
            if answer.status == status { Ok(()) } else { Err(format!("{answer:#?}")) }
        })
        .await;
    };
    answers(&url, 202).await;
    // A delivery that comes to both at once is one event.
    let sends = (0..40).map(|n| {
        let (api, url, headers) =
            ([&one, &other][n % 2], &url, signed("github", "s", &format!("d{}", n / 4), now(), body));
        async move { send(api, url, &headers, body).await.expect(202)["event_id"].to_string() }
    });
    let mut ids = futures_util::future::join_all(sends).await;
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 10);
    assert_eq!(one.get("/api/v1/inbox").await.expect(200)["total"], 10);
    let rotated = one.post("/api/v1/hooks/in/rotate-token", json!({})).await.expect(200);
    answers(&url, 404).await;
    answers(rotated["url"].as_str().unwrap(), 202).await;
}
