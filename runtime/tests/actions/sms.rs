//! `notification.sms` against a server that follows Twilio's API, against a gateway, and into the mailbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use triggerd::config::Net;
use triggerd_core::outcome::Outcome;

use crate::harness::provider::{Got, Provider, Reply};
use crate::harness::{Bench, dead, done, retried, run};

const MESSAGES: &str = "/2010-04-01/Accounts/AC1/Messages.json";
const TOKEN: &str = "sms-canary-81245";

/// As Twilio answers: 201 with a `sid`, 401 without credentials, 400 with a code for numbers that end in it.
fn twilio(got: &Got) -> Reply {
    if got.header("authorization") != format!("Basic {}", STANDARD.encode(format!("AC1:{TOKEN}"))) {
        return Reply::new(401, json!({"code": 20003, "message": "Authenticate", "status": 401}));
    }
    if got.path == "/2010-04-01/Accounts/AC1.json" {
        return Reply::new(200, json!({"sid": "AC1", "status": "active"}));
    }
    let to = got.field("To");
    for code in [21211, 21614, 21606] {
        if to.ends_with(&code.to_string()) {
            return Reply::new(400, json!({"code": code, "message": format!("no {to}"), "status": 400}));
        }
    }
    Reply::new(201, json!({"sid": format!("SM{}", &to[1..]), "status": "queued"}))
}

fn service(provider: &Provider) -> Value {
    json!({
        "sms": {"provider": "twilio", "accountSid": "AC1", "authToken": TOKEN, "from": "+15005550006", "baseUrl": provider.url("")},
        "messages": {"code": {"sms": {"body": "Your code is {{code}}"}}, "mail": {"text": "x"}},
    })
}

fn code(recipients: Value) -> Value {
    json!({"notification": "sms:code", "recipients": recipients, "body": {"code": 1234}})
}

#[tokio::test]
async fn a_text_is_rendered_and_each_recipient_s_fate_is_told() {
    let (bench, provider) = (Bench::local().await, Provider::start(twilio).await);
    bench.put("notifications", "sms", service(&provider)).await;
    let recipients =
        json!(["+1 415 555-0100", "+14155521211", "+14155521614", "no number", "+14155550101", "+14155550100"]);
    let output = done(bench.run("notification.sms", code(recipients)).await);
    assert_eq!(output["ids"], json!(["SM14155550100", "SM14155550101"]));
    let failed: Vec<(&str, &str)> = output["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["recipient"].as_str().unwrap(), one["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        failed,
        [("+14155521211", "TWILIO_21211"), ("+14155521614", "TWILIO_21614"), ("no number", "SMS_RECIPIENT_INVALID")]
    );
    let got = provider.got_at(MESSAGES);
    assert_eq!(got.len(), 4, "each number is asked for once");
    assert_eq!((got[0].field("Body").as_str(), got[0].field("From").as_str()), ("Your code is 1234", "+15005550006"));
    let inline = json!({"notification": "sms", "recipients": "+14155550100", "body": "Hello & <all>"});
    done(bench.run("notification.sms", inline).await);
    assert_eq!(provider.got().last().unwrap().field("Body"), "Hello & <all>");
    let check = bench.services.resources.check(&bench.tenant(), "notifications", "sms", "").await.unwrap();
    assert!(check.ok, "{}", check.detail);
    let shown = bench.services.resources.get(&bench.tenant(), "notifications", "sms").unwrap();
    assert!(!shown.settings.to_string().contains(TOKEN), "the token is sealed");
}

#[tokio::test]
async fn what_is_the_account_s_fault_or_everybody_s_fails_for_good() {
    let (bench, provider) = (Bench::local().await, Provider::start(twilio).await);
    bench.put("notifications", "sms", service(&provider)).await;
    let failure = dead(bench.run("notification.sms", code(json!(["+14155521211", "+14155521614"]))).await);
    assert_eq!(failure.code, "SMS_RECIPIENT_INVALID");
    assert!(
        failure.message.contains("TWILIO_21211") && failure.message.contains("TWILIO_21614"),
        "{}",
        failure.message
    );
    assert_eq!(dead(bench.run("notification.sms", code(json!("+14155521606"))).await).code, "SMS_REFUSED");
    assert_eq!(
        dead(bench.run("notification.sms", json!({"notification": "sms:mail", "recipients": "+14155550100"})).await)
            .code,
        "NOT_FOUND"
    );
    assert_eq!(dead(bench.run("notification.sms", code(json!([]))).await).code, "CONFIG_INVALID");
    let mut other = service(&provider);
    other["sms"]["authToken"] = json!("wrong-canary-9");
    bench.put("notifications", "sms", other).await;
    let failure = dead(bench.run("notification.sms", code(json!("+14155550100"))).await);
    assert_eq!(failure.code, "SMS_REFUSED");
    assert!(failure.message.contains("20003") && !failure.message.contains("canary"), "{}", failure.message);
    let check = bench.services.resources.check(&bench.tenant(), "notifications", "sms", "").await.unwrap();
    assert!(!check.ok && !check.detail.contains("canary"), "{}", check.detail);
    bench
        .put("notifications", "sms", json!({"from": "a@example.com", "messages": {"code": {"sms": {"body": "x"}}}}))
        .await;
    assert_eq!(dead(bench.run("notification.sms", code(json!("+14155550100"))).await).code, "RESOURCE_INVALID");
}

#[tokio::test]
async fn whoever_has_the_message_is_left_out_of_the_next_try() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = down.clone();
    let provider = Provider::start(move |got| match got.field("To").as_str() {
        "+14155550102" if is_down.load(Ordering::SeqCst) => {
            Reply::new(429, json!({"code": 20429})).header("retry-after", "7")
        }
        _ => twilio(got),
    })
    .await;
    let bench = Bench::local().await;
    bench.put("notifications", "sms", service(&provider)).await;
    let config = code(json!(["+14155550101", "+14155521211", "+14155550102", "+14155550103"]));
    let cx = bench.context();
    let outcome = run(&cx, "notification.sms", config.clone()).await;
    assert!(
        matches!(&outcome, Outcome::Retry { after: Some(after), .. } if *after == Duration::from_secs(7)),
        "{outcome:?}"
    );
    let failure = retried(outcome);
    assert_eq!(failure.code, "HTTP_429");
    assert!(failure.message.contains("2 of 4"), "{}", failure.message);
    down.store(false, Ordering::SeqCst);
    let output = done(run(&cx, "notification.sms", config.clone()).await);
    assert_eq!(output["ids"], json!(["SM14155550101", "SM14155550102", "SM14155550103"]));
    assert_eq!(output["failed"][0]["recipient"], "+14155521211");
    let times = |to: &str| provider.got().iter().filter(|got| got.field("To") == to).count();
    let counts = ["+14155550101", "+14155521211", "+14155550102", "+14155550103"].map(times);
    assert_eq!(counts, [1, 1, 2, 1], "each once, and the one that was not taken again");
    // Another delivery is another message.
    done(bench.run("notification.sms", config).await);
    assert_eq!(times("+14155550101"), 2);
}

#[tokio::test]
async fn what_may_be_better_later_is_tried_again() {
    let bench = Bench::local().await;
    for (status, body, expected) in [
        (503, "busy", "HTTP_503"),
        (201, "<html>no JSON", "EPROTO"),
        (400, r#"{"code": 21611, "message": "queue"}"#, "HTTP_429"),
    ] {
        let provider = Provider::start(move |_| Reply::new(status, body)).await;
        bench.put("notifications", "sms", service(&provider)).await;
        assert_eq!(retried(bench.run("notification.sms", code(json!("+14155550100"))).await).code, expected);
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let failing = Provider::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Reply::new(500, "")
    })
    .await;
    bench.put("notifications", "sms", service(&failing)).await;
    let many: Vec<String> = (0..100).map(|n| format!("+1415555{n:04}")).collect();
    assert_eq!(retried(bench.run("notification.sms", code(json!(many))).await).code, "HTTP_500");
    assert!(asked.load(Ordering::SeqCst) < 40, "a service that fails is left alone");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = service(&failing);
    settings["sms"]["baseUrl"] = json!(format!("http://{closed}"));
    bench.put("notifications", "sms", settings).await;
    assert_eq!(retried(bench.run("notification.sms", code(json!("+14155550100"))).await).code, "ECONNREFUSED");
    let hanging = Provider::start(|_| Reply::hang()).await;
    bench.put("notifications", "sms", service(&hanging)).await;
    let hung = bench.run("notification.sms", code(json!("+14155550100")));
    assert!(tokio::time::timeout(Duration::from_millis(300), hung).await.is_err(), "the action's timeout ends it");
    let guarded = Bench::guarded().await;
    guarded.put("notifications", "sms", service(&hanging)).await;
    assert_eq!(dead(guarded.run("notification.sms", code(json!("+14155550100"))).await).code, "EGRESS_DENIED");
    assert_eq!(hanging.got().len(), 1);
}

#[tokio::test]
async fn any_gateway_can_be_described() {
    let provider = Provider::start(|got| match got.path.as_str() {
        "/bad" => Reply::new(422, "bad number"),
        "/strange" => Reply::new(200, json!({"ok": true})),
        _ => Reply::new(200, json!({"messages": [{"id": 77}]})),
    })
    .await;
    let bench = Bench::local().await;
    bench.put("secrets", "GATE", json!({"value": "gate-canary-5"})).await;
    let settings = |path: &str| {
        json!({"sms": {"provider": "http", "url": provider.url(path), "headers": {"Authorization": "Bearer {{secrets.GATE}}"},
            "query": {"v": "2", "to": "{{to}}"}, "from": "Shop", "idPath": "messages[0].id",
            "body": {"key": "{{secrets.GATE}}", "dest": ["{{to}}"], "text": "{{from}}: {{body}}", "ref": "{{id}}"}}})
    };
    bench.put("notifications", "gate", settings("/send")).await;
    let config = json!({"notification": "gate", "recipients": ["+491701234567"], "body": "Hi {{not a template}}"});
    let (cx, mut keys) = (bench.context(), Vec::new());
    for _ in 0..2 {
        assert_eq!(done(run(&cx, "notification.sms", config.clone()).await), json!({"ids": ["77"], "failed": []}));
        let got = provider.got().pop().unwrap();
        assert_eq!(
            (got.query.as_str(), got.header("authorization")),
            ("v=2&to=%2B491701234567", "Bearer gate-canary-5")
        );
        let body = got.json();
        assert_eq!((&body["dest"], &body["text"]), (&json!(["+491701234567"]), &json!("Shop: Hi {{not a template}}")));
        assert_eq!((&body["key"], &body["ref"]), (&json!("gate-canary-5"), &json!(got.header("idempotency-key"))));
        keys.push(got.header("idempotency-key").to_owned());
    }
    assert_eq!(keys[0], keys[1], "the key is the same on every try");
    assert!(!format!("{:?}", cx.excerpt.lock()).contains("canary"));
    bench.put("notifications", "gate", settings("/bad")).await;
    assert_eq!(dead(bench.run("notification.sms", config.clone()).await).code, "SMS_RECIPIENT_INVALID");
    bench.put("notifications", "gate", settings("/strange")).await;
    assert_eq!(retried(bench.run("notification.sms", config).await).code, "EPROTO");
}

#[tokio::test]
async fn development_texts_stay_on_this_machine() {
    let bench = Bench::with(Net::loopback(), true).await;
    let inline = json!({"notification": "sketch", "recipients": ["+14155550100", "x"], "body": "Hi"});
    let output = done(bench.run("notification.sms", inline).await);
    assert_eq!((output["ids"].as_array().unwrap().len(), &output["failed"][0]["recipient"]), (1, &json!("x")));
    let elsewhere = json!({"sms": {"provider": "twilio", "accountSid": "AC1", "authToken": "t", "from": "Shop", "baseUrl": "https://192.0.2.1"},
        "messages": {"code": {"sms": {"body": "Code {{code}}"}}}});
    bench.put("notifications", "sms", elsewhere).await;
    done(bench.run("notification.sms", code(json!("+14155550100"))).await);
    let kept = bench.services.mailbox.list(&bench.tenant(), Some("sms"), 10).await.unwrap();
    assert_eq!((kept.len(), kept[0].text.as_deref(), kept[0].from.as_str()), (2, Some("Code 1234"), "Shop"));
    assert!(bench.services.mailbox.list(&bench.tenant(), Some("email"), 10).await.unwrap().is_empty());
    let provider = Provider::start(twilio).await;
    bench.put("notifications", "sms", service(&provider)).await;
    done(bench.run("notification.sms", code(json!("+14155550100"))).await);
    assert_eq!(provider.got().len(), 1, "a provider on this machine is used");
}
