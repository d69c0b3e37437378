//! `notification.callback`: what is sent, how it is signed, and what answers mean.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};
use triggerd_core::outcome::Outcome;

use crate::harness::provider::{Got, Provider, Reply};
use crate::harness::{Bench, dead, done, retried, run};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_bmV3LXNlY3JldC1mb3Itcm90YXRpb24tMDEyMzQ1Njc=";
const PRIVATE: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC: &str = "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

fn service(provider: &Provider) -> Value {
    json!({
        "callback": {"url": provider.url("/hook?tenant=a"), "headers": {"X-App": "shop", "X-Kind": "any"},
            "signingSecret": [OLD, NEW, PRIVATE]},
        "messages": {"order": {"callback": {"body": {"type": "order.created", "data": {"id": "{{orderId}}", "note": "No. {{orderId}}"}}}}},
    })
}

fn order() -> Value {
    json!({"notification": "hooks:order", "callback": {"body": {"orderId": 17}, "headers": {"x-kind": "order"}, "query": {"n": [1, 2]}}})
}

/// What the official library of a language says to it: `ok`, or why not.
fn verdict(program: &PathBuf, arguments: &[&str], got: &Got, secret: &str) -> String {
    let headers: serde_json::Map<String, Value> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .iter()
        .map(|name| ((*name).to_owned(), got.header(name).into()))
        .collect();
    let asked = json!({"secret": secret, "headers": headers, "body": String::from_utf8(got.body.to_vec()).unwrap()});
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{} cannot be started ({error}); `cargo xtask test` prepares it", program.display())
        });
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

fn python(got: &Got, secret: &str) -> String {
    const SCRIPT: &str = "import json, sys\nfrom standardwebhooks import Webhook\nasked = json.load(sys.stdin)\n\
        Webhook(asked['secret']).verify(asked['body'], asked['headers'])\nprint('ok')";
    let prepared = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.toolchain/python/bin/python"));
    let program = std::env::var_os("TRIGGERD_TEST_PYTHON").map_or_else(prepared, PathBuf::from);
    verdict(&program, &["-c", SCRIPT], got, secret)
}

/// JavaScript's library, where the machine has Node.js.
fn node(got: &Got, secret: &str) -> String {
    const SCRIPT: &str = "const { Webhook } = require(process.argv[1]); \
        const asked = JSON.parse(require('fs').readFileSync(0, 'utf8')); \
        new Webhook(asked.secret).verify(asked.body, asked.headers); console.log('ok')";
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/../.toolchain/node/node_modules/standardwebhooks");
    verdict(&PathBuf::from("node"), &["-e", SCRIPT, library], got, secret)
}

#[tokio::test]
async fn it_is_signed_so_that_the_official_library_accepts_it_with_each_key() {
    let (bench, provider) = (Bench::local().await, Provider::start(|_| Reply::new(202, "taken")).await);
    bench.put("notifications", "hooks", service(&provider)).await;
    let shown = bench.services.resources.get(&bench.tenant(), "notifications", "hooks").unwrap().settings.to_string();
    assert!(!shown.contains("whse") && !shown.contains("whsk"), "the keys are sealed: {shown}");
    let cx = bench.context();
    for _ in 0..2 {
        assert_eq!(done(run(&cx, "notification.callback", order()).await), json!({"status": 202}));
    }
    let got = provider.got();
    for got in &got {
        assert_eq!((got.method.as_str(), got.path.as_str(), got.query.as_str()), ("POST", "/hook", "tenant=a&n=1&n=2"));
        assert_eq!(got.json(), json!({"type": "order.created", "data": {"id": 17, "note": "No. 17"}}));
        assert_eq!((got.header("x-app"), got.header("x-kind")), ("shop", "order"));
        assert_eq!(got.header("content-type"), "application/json");
        for (name, value) in [
            ("idempotency-key", cx.delivery_id.to_string()),
            ("webhook-id", cx.delivery_id.to_string()),
            ("triggerd-trigger", "my-trigger".to_owned()),
            ("triggerd-attempt", "1".to_owned()),
        ] {
            assert_eq!(got.header(name), value);
        }
        assert!(got.header("traceparent").starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert_eq!(got.header("webhook-signature").split(' ').count(), 3);
        for key in [OLD, NEW] {
            assert_eq!(python(got, key), "ok");
            if Command::new("node").arg("--version").output().is_ok() {
                assert_eq!(node(got, key), "ok");
            }
        }
        assert!(python(got, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").contains("WebhookVerificationError"));
        let signed = format!("{}.{}.", got.header("webhook-id"), got.header("webhook-timestamp"));
        let signed = [signed.as_bytes(), &got.body].concat();
        let signature = got.header("webhook-signature").split(' ').find_map(|one| one.strip_prefix("v1a,")).unwrap();
        let signature = URL_SAFE_NO_PAD.encode(STANDARD.decode(signature).unwrap());
        let key = DecodingKey::from_ed_der(&STANDARD.decode(PUBLIC).unwrap());
        assert!(jsonwebtoken::crypto::verify(&signature, &signed, &key, Algorithm::EdDSA).unwrap());
    }
    let tampered = Got { body: bytes::Bytes::from_static(b"{}"), ..got[0].clone() };
    assert!(python(&tampered, OLD).contains("WebhookVerificationError"));
    assert!(!format!("{:?}", cx.excerpt.lock()).contains(&OLD[6..]));
}

#[tokio::test]
async fn answers_mean_what_they_mean_to_http_actions() {
    let bench = Bench::local().await;
    for (status, code) in [(302, "HTTP_302"), (400, "HTTP_400"), (410, "HTTP_410")] {
        let provider = Provider::start(move |_| Reply::new(status, "").header("location", "/other")).await;
        bench.put("notifications", "hooks", service(&provider)).await;
        assert_eq!(dead(bench.run("notification.callback", order()).await).code, code);
        assert_eq!(provider.got().len(), 1, "redirects are not followed");
    }
    let provider = Provider::start(|_| Reply::new(429, "").header("retry-after", "9")).await;
    bench.put("notifications", "hooks", service(&provider)).await;
    let outcome = bench.run("notification.callback", order()).await;
    assert!(
        matches!(&outcome, Outcome::Retry { after: Some(after), .. } if *after == Duration::from_secs(9)),
        "{outcome:?}"
    );
    let hanging = Provider::start(|_| Reply::hang()).await;
    bench.put("notifications", "hooks", service(&hanging)).await;
    let hung = bench.run("notification.callback", order());
    assert!(tokio::time::timeout(Duration::from_millis(300), hung).await.is_err());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    bench.put("notifications", "hooks", json!({"callback": {"url": format!("http://{closed}/")}})).await;
    assert_eq!(retried(bench.run("notification.callback", order()).await).code, "ECONNREFUSED");
    let guarded = Bench::guarded().await;
    guarded.put("notifications", "hooks", service(&hanging)).await;
    assert_eq!(dead(guarded.run("notification.callback", order()).await).code, "EGRESS_DENIED");
    let check = guarded.services.resources.check(&guarded.tenant(), "notifications", "hooks", "").await.unwrap();
    assert!(!check.ok && check.detail.contains("not allowed"), "{}", check.detail);
    assert_eq!(hanging.got().len(), 1);
}

#[tokio::test]
async fn the_body_may_be_all_the_action_s_and_headers_are_checked() {
    let (bench, provider) = (Bench::local().await, Provider::start(|_| Reply::new(204, "")).await);
    bench.put("notifications", "hooks", service(&provider)).await;
    for notification in ["hooks", "hooks:other"] {
        let config = json!({"notification": notification, "callback": {"body": {"orderId": 17}}});
        done(bench.run("notification.callback", config).await);
        assert_eq!(provider.got().pop().unwrap().json(), json!({"orderId": 17}));
    }
    for (name, value) in [("x-a", "b\r\nx-c: d"), ("host", "evil"), ("webhook-id", "1")] {
        let config = json!({"notification": "hooks", "callback": {"headers": {name: value}}});
        assert_eq!(dead(bench.run("notification.callback", config).await).code, "CONFIG_INVALID", "{name}");
    }
    bench.put("notifications", "hooks", json!({"from": "a@example.com", "mailbox": true})).await;
    assert_eq!(dead(bench.run("notification.callback", order()).await).code, "RESOURCE_INVALID");
    assert_eq!(provider.got().len(), 2);
}
