//! `notification.push` against servers that follow the APIs of Firebase, of browsers' push services, and of Apple's:
//! they check the tokens' signatures and open what was encrypted.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use triggerd::config::Net;
use triggerd_core::outcome::Outcome;
use web_push_native::p256::SecretKey;
use web_push_native::p256::elliptic_curve::sec1::ToEncodedPoint as _;
use web_push_native::p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use web_push_native::{Auth, decrypt};

use crate::harness::provider::{Got, Provider, Reply};
use crate::harness::{Bench, dead, done, retried, run};

/// A fresh RSA key and its public part, as PEM.
pub fn rsa() -> (String, String) {
    let openssl = |arguments: &[&str], input: &str| {
        use std::io::Write as _;
        let mut command = Command::new("openssl");
        command.args(arguments).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("openssl can be started");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let private = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "");
    let public = openssl(&["pkey", "-pubout"], &private);
    (private, public)
}

/// The bytes 1 to 32 in some order: any number below the curve's order is a key.
pub fn ec(seed: u8) -> SecretKey {
    SecretKey::from_slice(&std::array::from_fn::<u8, 32, _>(|i| (i as u8) ^ seed | 1)).unwrap()
}

/// As a `.p8` file has it.
pub fn pem(key: &SecretKey) -> String {
    key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

fn claims(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Value> {
    let mut validation = Validation::new(algorithm);
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<Value>(token, key, &validation).ok().map(|data| data.claims)
}

/// Firebase: its token service and its sending.
struct Firebase {
    provider: Provider,
    account: Value,
    /// The sending refuses tokens made before it was set.
    forgets: Arc<AtomicBool>,
    grants: Arc<AtomicUsize>,
}

impl Firebase {
    async fn start() -> Self {
        let (private, public) = rsa();
        let (forgets, grants) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (forgotten, granted) = (forgets.clone(), grants.clone());
        let key = DecodingKey::from_rsa_pem(public.as_bytes()).unwrap();
        let provider = Provider::start(move |got| match got.path.as_str() {
            "/token" => {
                assert_eq!(got.field("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
                let assertion = got.field("assertion");
                let Some(claims) = claims(&assertion, &key, Algorithm::RS256) else {
                    return Reply::new(400, json!({"error": "invalid_grant"}));
                };
                assert_eq!(claims["iss"], "push@shop.example");
                assert_eq!(claims["scope"], "https://www.googleapis.com/auth/firebase.messaging");
                assert!(claims["aud"].as_str().unwrap().ends_with("/token"));
                let number = granted.fetch_add(1, Ordering::SeqCst) + 1;
                Reply::new(
                    200,
                    json!({"access_token": format!("granted-{number}"), "expires_in": 3599, "token_type": "Bearer"}),
                )
            }
            "/v1/projects/shop/messages:send" => {
                let newest = format!("Bearer granted-{}", granted.load(Ordering::SeqCst));
                if got.header("authorization") != newest || forgotten.swap(false, Ordering::SeqCst) {
                    return Reply::new(401, json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}}));
                }
                firebase(got)
            }
            other => panic!("{other}"),
        })
        .await;
        let account = json!({
            "type": "service_account", "project_id": "shop", "client_email": "push@shop.example",
            "private_key_id": "k1", "private_key": private, "token_uri": provider.url("/token"),
        });
        Self { provider, account, forgets, grants }
    }

    fn service(&self) -> Value {
        json!({
            "push": {"fcm": {"serviceAccount": self.account, "baseUrl": self.provider.url("")}},
            "messages": {"news": {"push": {"title": "From {{sender}}", "body": "{{preview}}",
                "data": {"kind": "news", "about": "{{sender}}"}, "ttl": 60, "urgency": "high"}}},
        })
    }
}

fn firebase(got: &Got) -> Reply {
    let error = |status: u16, code: &str, details: Value| {
        Reply::new(status, json!({"error": {"code": status, "status": code, "message": "no", "details": details}}))
    };
    let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
    match got.json()["message"]["token"].as_str().unwrap() {
        "gone" => error(404, "NOT_FOUND", json!([{"@type": kind, "errorCode": "UNREGISTERED"}])),
        "garbled" => error(
            400,
            "INVALID_ARGUMENT",
            json!([{"@type": kind, "errorCode": "INVALID_ARGUMENT"},
            {"fieldViolations": [{"field": "message.token"}]}]),
        ),
        "foreign" => error(403, "PERMISSION_DENIED", json!([{"@type": kind, "errorCode": "SENDER_ID_MISMATCH"}])),
        "busy" => error(503, "UNAVAILABLE", json!([])).header("retry-after", "11"),
        "strange" => Reply::new(200, "{"),
        token => Reply::new(200, json!({"name": format!("projects/shop/messages/{token}")})),
    }
}

fn news(tokens: Value) -> Value {
    json!({"notification": "push:news", "device_tokens": tokens, "title": {"sender": "Ann"}, "body": {"preview": "Hi"},
        "data": {"messageId": 7, "list": [1]}})
}

#[tokio::test]
async fn firebase_gets_one_token_and_each_message_and_says_which_devices_are_gone() {
    let (bench, firebase) = (Bench::local().await, Firebase::start().await);
    bench.put("notifications", "push", firebase.service()).await;
    let output = done(bench.run("notification.push", news(json!(["a", "gone", "garbled", "foreign", "b", "a"]))).await);
    assert_eq!(output["ids"], json!(["projects/shop/messages/a", "projects/shop/messages/b"]));
    assert_eq!(output["invalid"], json!(["gone", "garbled"]));
    assert_eq!(
        (&output["failed"][0]["recipient"], &output["failed"][0]["code"]),
        (&json!("foreign"), &json!("PUSH_REFUSED"))
    );
    let sent = firebase.provider.got_at("/v1/projects/shop/messages:send");
    assert_eq!((sent.len(), firebase.grants.load(Ordering::SeqCst)), (5, 1));
    let of_a = sent.iter().map(Got::json).find(|sent| sent["message"]["token"] == "a").unwrap();
    assert_eq!(
        of_a["message"],
        json!({
            "token": "a", "notification": {"title": "From Ann", "body": "Hi"},
            "data": {"kind": "news", "about": "Ann", "messageId": "7", "list": "[1]"}, "android": {"ttl": "60s", "priority": "high"},
        })
    );
    // A token that is taken back is replaced.
    firebase.forgets.store(true, Ordering::SeqCst);
    done(bench.run("notification.push", news(json!("c"))).await);
    assert_eq!(firebase.grants.load(Ordering::SeqCst), 2);
    done(
        bench
            .run(
                "notification.push",
                json!({"notification": "push", "device_tokens": ["d"], "title": "T", "body": "B"}),
            )
            .await,
    );
    let check = bench.services.resources.check(&bench.tenant(), "notifications", "push", "").await.unwrap();
    assert!(check.ok, "{}", check.detail);
    let shown = bench.services.resources.get(&bench.tenant(), "notifications", "push").unwrap().settings.to_string();
    assert!(!shown.contains("PRIVATE KEY"), "the key is sealed");
}

#[tokio::test]
async fn firebase_s_failures_are_told_apart() {
    let (bench, firebase) = (Bench::local().await, Firebase::start().await);
    bench.put("notifications", "push", firebase.service()).await;
    let failure = dead(bench.run("notification.push", news(json!(["gone", "garbled"]))).await);
    assert_eq!(failure.code, "PUSH_TOKEN_INVALID");
    assert!(failure.message.contains("UNREGISTERED") && failure.message.contains("garbled"), "{}", failure.message);
    assert_eq!(dead(bench.run("notification.push", news(json!(["foreign"]))).await).code, "PUSH_REFUSED");
    assert_eq!(retried(bench.run("notification.push", news(json!(["strange"]))).await).code, "EPROTO");
    let cx = bench.context();
    let outcome = run(&cx, "notification.push", news(json!(["a", "busy"]))).await;
    assert!(
        matches!(&outcome, Outcome::Retry { after: Some(after), .. } if *after == Duration::from_secs(11)),
        "{outcome:?}"
    );
    assert_eq!(retried(outcome).code, "HTTP_503");
    retried(run(&cx, "notification.push", news(json!(["a", "busy"]))).await);
    let to_a = firebase
        .provider
        .got()
        .iter()
        .filter(|got| got.path.ends_with(":send") && got.json()["message"]["token"] == "a")
        .count();
    assert_eq!(to_a, 1, "whoever has it is left out");
    // A key that Google does not know, text in place of an object.
    let mut account = firebase.account.clone();
    account["private_key"] = json!(rsa().0);
    let service = |account: Value| json!({"push": {"provider": "fcm", "serviceAccount": account, "baseUrl": firebase.provider.url("")}});
    bench.put("notifications", "push", service(json!(account.to_string()))).await;
    let inline = json!({"notification": "push", "device_tokens": ["a"], "body": "x"});
    let failure = dead(bench.run("notification.push", inline.clone()).await);
    assert_eq!((failure.code.as_str(), failure.message.contains("invalid_grant")), ("PUSH_REFUSED", true));
    account["private_key"] = json!("-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----\n");
    bench.put("notifications", "push", service(account)).await;
    assert_eq!(dead(bench.run("notification.push", inline.clone()).await).code, "RESOURCE_INVALID");
    let guarded = Bench::guarded().await;
    guarded.put("notifications", "push", firebase.service()).await;
    assert_eq!(dead(guarded.run("notification.push", inline).await).code, "EGRESS_DENIED");
}

/// A browser: its key, its secret, and its subscription at a push service.
fn browser(provider: &Provider, path: &str) -> Value {
    let public = URL_SAFE_NO_PAD.encode(ec(7).public_key().to_encoded_point(false).as_bytes());
    json!({"endpoint": provider.url(path), "expirationTime": null, "keys": {"p256dh": public, "auth": URL_SAFE_NO_PAD.encode([5; 16])}})
}

#[tokio::test]
async fn browsers_can_open_what_they_get_and_push_services_can_tell_whose_it_is() {
    let provider = Provider::start(|got| match got.path.as_str() {
        "/gone" => Reply::new(410, ""),
        "/unknown" => Reply::new(404, ""),
        "/denied" => Reply::new(403, "another key"),
        "/busy" => Reply::new(429, "").header("retry-after", "5"),
        path => Reply::new(201, "").header("location", &format!("/m{path}")),
    })
    .await;
    let bench = Bench::local().await;
    let vapid = URL_SAFE_NO_PAD.encode(ec(3).to_bytes());
    let service = json!({
        "push": {"webpush": {"privateKey": vapid, "subject": "mailto:ops@shop.example", "ttl": 3600, "urgency": "low"}},
        "messages": {"news": {"push": {"title": "{{sender}}", "body": "{{preview}}", "urgency": "high"}}},
    });
    bench.put("notifications", "push", service).await;
    let tokens = json!([browser(&provider, "/a"), browser(&provider, "/gone"), browser(&provider, "/unknown"),
        browser(&provider, "/denied"), {"endpoint": "http://x/", "keys": {}}]);
    let cx = bench.context();
    let output = done(run(&cx, "notification.push", news(tokens.clone())).await);
    assert_eq!(output["ids"], json!(["/m/a"]));
    assert_eq!(output["invalid"], json!([tokens[1], tokens[2], tokens[4]]));
    assert_eq!(output["failed"][0]["recipient"], tokens[3]["endpoint"]);
    let got = provider.got_at("/a").pop().unwrap();
    for (name, value) in [("ttl", "3600"), ("urgency", "high"), ("content-encoding", "aes128gcm")] {
        assert_eq!(got.header(name), value, "{name}");
    }
    assert!(got.header("topic").len() == 22, "{}", got.header("topic"));
    let plain = decrypt(got.body.to_vec(), &ec(7), &Auth::from([5; 16])).unwrap();
    let plain: Value = serde_json::from_slice(&plain).unwrap();
    assert_eq!(plain, json!({"title": "Ann", "body": "Hi", "data": {"messageId": 7, "list": [1]}}));
    let (token, key) = got.header("authorization").strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
    let public = ec(3).public_key().to_encoded_point(false);
    assert_eq!(URL_SAFE_NO_PAD.decode(key).unwrap(), public.as_bytes());
    let of_key = DecodingKey::from_ec_der(public.as_bytes());
    let claims = claims(token, &of_key, Algorithm::ES256).expect("the VAPID token is signed by the key");
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!(provider.url("")), &json!("mailto:ops@shop.example")));
    assert_eq!(
        dead(bench.run("notification.push", news(json!([browser(&provider, "/gone")]))).await).code,
        "PUSH_TOKEN_INVALID"
    );
    assert_eq!(
        retried(bench.run("notification.push", news(json!([browser(&provider, "/busy")]))).await).code,
        "HTTP_429"
    );
    let long = json!({"notification": "push", "device_tokens": [browser(&provider, "/a")], "body": "x".repeat(5000)});
    assert_eq!(dead(bench.run("notification.push", long).await).code, "PUSH_REFUSED");
    // A subscription that leads inside is one recipient's fault.
    let guarded = Bench::guarded().await;
    let stored = bench.services.resources.get(&bench.tenant(), "notifications", "push").unwrap();
    let mut settings = stored.settings;
    settings["push"]["webpush"]["privateKey"] = json!(vapid);
    guarded.put("notifications", "push", settings).await;
    let before = provider.got().len();
    let failure = dead(guarded.run("notification.push", news(json!([browser(&provider, "/a")]))).await);
    assert!(
        failure.code == "PUSH_TOKEN_INVALID" && failure.message.contains("destination not allowed"),
        "{}",
        failure.message
    );
    assert_eq!(provider.got().len(), before);
}

#[tokio::test]
async fn apple_is_spoken_to_over_http2_with_a_token_that_is_used_again() {
    let key = ec(9);
    let public = key.public_key().to_encoded_point(false);
    let verifying = DecodingKey::from_ec_der(public.as_bytes());
    let expired = Arc::new(AtomicBool::new(false));
    let is_expired = expired.clone();
    let provider = Provider::http2(move |got| {
        let token = got.header("authorization").strip_prefix("bearer ").unwrap_or_default();
        let header = jsonwebtoken::decode_header(token).unwrap();
        let claims = claims(token, &verifying, Algorithm::ES256);
        if claims.is_none_or(|claims| claims["iss"] != "TEAM123456") || header.kid.as_deref() != Some("KEY1234567") {
            return Reply::new(403, json!({"reason": "InvalidProviderToken"}));
        }
        if is_expired.swap(false, Ordering::SeqCst) {
            return Reply::new(403, json!({"reason": "ExpiredProviderToken"}));
        }
        match got.path.as_str() {
            "/3/device/bad" => Reply::new(400, json!({"reason": "BadDeviceToken"})),
            "/3/device/gone" => Reply::new(410, json!({"reason": "Unregistered", "timestamp": 1})),
            "/3/device/busy" => Reply::new(429, json!({"reason": "TooManyRequests"})),
            "/3/device/down" => Reply::new(503, json!({"reason": "Shutdown"})),
            _ => Reply::new(200, "").header("apns-id", got.header("apns-id")),
        }
    })
    .await;
    let bench = Bench::local().await;
    let service = |key: &SecretKey| {
        json!({
            "push": {"apns": {"teamId": "TEAM123456", "keyId": "KEY1234567", "privateKey": pem(key),
                "topic": "example.shop", "baseUrl": provider.url(""), "ca": provider.ca}},
            "messages": {"news": {"push": {"title": "{{sender}}", "body": "{{preview}}", "ttl": 0}}},
        })
    };
    bench.put("notifications", "push", service(&key)).await;
    let output = done(bench.run("notification.push", news(json!(["a1", "bad", "gone", "no token", "b2"]))).await);
    assert_eq!(output["invalid"], json!(["bad", "gone", "no token"]));
    let got = provider.got_at("/3/device/a1").pop().unwrap();
    assert_eq!(got.version, http::Version::HTTP_2);
    assert_eq!(output["ids"][0], got.header("apns-id"));
    for (name, value) in [
        ("apns-topic", "example.shop"),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-expiration", "0"),
        ("apns-collapse-id", got.header("apns-id")),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
    assert_eq!(got.json(), json!({"aps": {"alert": {"title": "Ann", "body": "Hi"}}, "messageId": 7, "list": [1]}));
    let tokens: std::collections::HashSet<String> =
        provider.got().iter().map(|got| got.header("authorization").to_owned()).collect();
    assert_eq!(tokens.len(), 1, "one token for all");
    expired.store(true, Ordering::SeqCst);
    done(bench.run("notification.push", news(json!("c3"))).await);
    let silent = json!({"notification": "push", "device_tokens": ["d4"], "data": {"sync": true}});
    done(bench.run("notification.push", silent).await);
    let got = provider.got_at("/3/device/d4").pop().unwrap();
    assert_eq!((got.header("apns-push-type"), got.header("apns-priority")), ("background", "5"));
    assert_eq!(dead(bench.run("notification.push", news(json!(["bad"]))).await).code, "PUSH_TOKEN_INVALID");
    assert_eq!(retried(bench.run("notification.push", news(json!(["busy"]))).await).code, "HTTP_429");
    assert_eq!(retried(bench.run("notification.push", news(json!(["down"]))).await).code, "HTTP_503");
    let check = bench.services.resources.check(&bench.tenant(), "notifications", "push", "").await.unwrap();
    assert!(check.ok, "{}", check.detail);
    bench.put("notifications", "push", service(&ec(1))).await;
    assert_eq!(dead(bench.run("notification.push", news(json!(["a1"]))).await).code, "PUSH_REFUSED");
    let mut untrusted = service(&key);
    untrusted["push"]["apns"]["ca"] = Value::Null;
    bench.put("notifications", "push", untrusted).await;
    assert_eq!(retried(bench.run("notification.push", news(json!(["a1"]))).await).code, "EPROTO");
}

#[tokio::test]
async fn a_service_that_never_answers_holds_an_attempt_no_longer_than_its_timeout_and_keeps_no_socket() {
    let bench = Bench::local().await;
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", hole.local_addr().unwrap());
    let tokens = Provider::start(|_| Reply::new(200, json!({"access_token": "t", "expires_in": 3599}))).await;
    let account = json!({"project_id": "p", "client_email": "a@example.com", "private_key": rsa().0});
    let fcm = |messages: &str, tokens: &str| json!({"fcm": {"serviceAccount": account, "baseUrl": messages, "tokenUrl": tokens}});
    let apns = json!({"teamId": "T", "keyId": "K", "privateKey": pem(&ec(9)), "topic": "t", "baseUrl": url});
    let vapid = json!({"privateKey": URL_SAFE_NO_PAD.encode(ec(3).to_bytes()), "subject": "mailto:a@example.com"});
    let public = URL_SAFE_NO_PAD.encode(ec(7).public_key().to_encoded_point(false).as_bytes());
    let browser = json!({"endpoint": url, "keys": {"p256dh": public, "auth": URL_SAFE_NO_PAD.encode([5; 16])}});
    for (service, push, device) in [
        ("firebase's tokens", fcm(&tokens.url(""), &url), json!("a")),
        ("firebase", fcm(&url, &tokens.url("")), json!("a")),
        ("apple", json!({ "apns": apns }), json!("a")),
        ("browsers", json!({ "webpush": vapid }), browser),
    ] {
        bench.put("notifications", "hole", json!({ "push": push })).await;
        let began = Instant::now();
        let config = json!({"notification": "hole", "device_tokens": [device], "body": "b"});
        let attempt = bench.run("notification.push", config);
        let ended = tokio::time::timeout(Duration::from_millis(300), attempt).await;
        assert!(ended.is_err() && began.elapsed() < Duration::from_millis(800), "{service}: {ended:?}");
        let (mut socket, _) = hole.accept().await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut Vec::new())).await;
        assert!(heard.is_ok(), "{service}: the socket is still open");
    }
}

#[tokio::test]
async fn development_push_messages_stay_on_this_machine() {
    let bench = Bench::with(Net::loopback(), true).await;
    let inline = json!({"notification": "sketch", "device_tokens": ["a"], "title": "T", "body": "B", "data": {"n": 1}});
    assert_eq!(done(bench.run("notification.push", inline.clone()).await)["ids"].as_array().unwrap().len(), 1);
    let kept = bench.services.mailbox.list(&bench.tenant(), Some("push"), 10).await.unwrap();
    assert_eq!(
        (kept[0].subject.as_str(), kept[0].text.as_deref(), &kept[0].data),
        ("T", Some("B"), &Some(json!({"n": 1})))
    );
    let production = Bench::local().await;
    assert_eq!(dead(production.run("notification.push", inline).await).code, "RESOURCE_NOT_FOUND");
    production
        .put("notifications", "push", json!({"from": "a@example.com", "messages": {"news": {"push": {"title": "x"}}}}))
        .await;
    assert_eq!(dead(production.run("notification.push", news(json!(["a"]))).await).code, "RESOURCE_INVALID");
}
