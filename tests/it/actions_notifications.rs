//! SMS, push messages and callbacks: one in place of another, each recipient once, kept in development, shown beforehand.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Reply, fast, home, on};

/// A subscription whose keys are those of RFC 8291's example.
fn subscription(receiver: &Receiver, path: &str) -> Value {
    json!({"endpoint": receiver.url(path), "keys": {
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg"}})
}

async fn service(home: &Home, receiver: &Receiver) {
    let settings = json!({
        "push": {"webpush": {"privateKey": "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94", "subject": "mailto:ops@example.com"}},
        "sms": {"provider": "http", "url": receiver.url("/sms"), "from": "Shop", "idPath": "id"},
        "callback": {"url": receiver.url("/callback"), "signingSecret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
        "messages": {"ready": {
            "subject": "Order {{number}}", "text": "{{name}}: ready", "html": "<p>{{name}}</p>",
            "sms": {"body": "Order {{number}} is ready"},
            "push": {"title": "Order {{number}}", "body": "is ready", "data": {"number": "{{number}}"}},
            "callback": {"body": {"number": "{{number}}"}}}},
    });
    home.resource("notifications", "shop", settings).await;
}

fn sms(recipients: Value) -> Value {
    json!({"name": "sms", "type": "notification.sms", "retry": fast(3),
        "config": {"notification": "shop:ready", "recipients": recipients, "body": {"number": "{{record.number}}"}}})
}

#[tokio::test]
async fn a_text_goes_out_where_the_push_message_fails_for_good() {
    let (home, receiver) = (home().await, Receiver::start().await);
    service(&home, &receiver).await;
    receiver.script("/gone", [Reply::status(410)]);
    receiver.script("/sms", [Reply::json(200, json!({"id": "sms-1"}))]);
    let push = json!({"name": "push", "type": "notification.push", "retry": fast(3), "fallback": [sms(json!(["{{record.phone}}"]))],
        "config": {"notification": "shop:ready", "device_tokens": ["{{record.device}}"], "title": {"number": "{{record.number}}"}}});
    home.trigger(on("ready", "ready", json!([push]))).await;
    let payload = json!({"number": "A-1", "phone": "+1 415 555 0100", "device": subscription(&receiver, "/gone")});
    let event = home.event_ended("ready", payload.clone()).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    let push = &event["runs"][0]["actions"][0];
    assert_eq!(
        (&push["attempts"][0]["error_code"], push["attempts"].as_array().unwrap().len()),
        (&json!("PUSH_TOKEN_INVALID"), 1)
    );
    let sent = receiver.wait_for("/sms", 1).await;
    assert_eq!(sent[0].json()["body"], "Order A-1 is ready");
    assert_eq!(sent[0].json()["to"], "+14155550100");
    let mut working = payload;
    working["device"] = subscription(&receiver, "/works");
    assert_eq!(home.event_ended("ready", working).await["status"], "delivered");
    assert_eq!(
        (receiver.seen_at("/works").len(), receiver.seen_at("/sms").len()),
        (1, 1),
        "no text beside the push message"
    );
}

#[tokio::test]
async fn a_push_service_that_never_answers_ends_an_attempt_with_its_timeout() {
    let (home, receiver) = (home().await, Receiver::start().await);
    service(&home, &receiver).await;
    receiver.script("/hole", [Reply::Hang, Reply::Hang]);
    let push = json!({"name": "push", "type": "notification.push", "retry": fast(2), "timeout": 300,
        "config": {"notification": "shop:ready", "device_tokens": ["{{record.device}}"], "title": {"number": 1}}});
    home.trigger(on("ready", "ready", json!([push]))).await;
    let event = home.event_ended("ready", json!({"device": subscription(&receiver, "/hole")})).await;
    let attempts = event["runs"][0]["actions"][0]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{event:#}");
    for attempt in attempts {
        assert_eq!(attempt["error_code"], "ETIMEDOUT", "{attempt:#}");
        let took = attempt["duration_ms"].as_u64().unwrap();
        assert!((300..800).contains(&took), "{attempt:#}");
    }
    assert_eq!(event["runs"][0]["error_code"], "ETIMEDOUT");
}

#[tokio::test]
async fn every_recipient_gets_one_text_over_retries_and_a_replay_of_the_dead_letter() {
    let (home, receiver) = (home().await, Receiver::start().await);
    service(&home, &receiver).await;
    let taken = || Reply::json(200, json!({"id": 1}));
    receiver.script("/sms", [taken(), Reply::status(503), Reply::status(503), Reply::status(503), taken()]);
    home.trigger(on("ready", "ready", json!([sms(json!(["+14155550100", "+14155550101"]))]))).await;
    let event = home.event_ended("ready", json!({"number": "A-1"})).await;
    assert_eq!(
        (&event["status"], &event["runs"][0]["error_code"]),
        (&json!("failed"), &json!("HTTP_503")),
        "{event:#}"
    );
    let run = event["runs"][0]["run_id"].as_str().unwrap();
    home.post(&format!("/api/v1/dead-letters/{run}/replay"), json!({})).await;
    receiver.wait_for("/sms", 5).await;
    let event = home.ended(event["event_id"].as_str().unwrap()).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    assert_eq!(event["runs"][0]["actions"][0]["output"], json!({"ids": ["1", "1"], "failed": []}));
    let seen = receiver.seen_at("/sms");
    let keys: HashSet<&str> = seen.iter().map(|seen| seen.header("idempotency-key")).collect();
    assert_eq!((seen.len(), keys.len()), (5, 2));
    let first = seen[0].json()["to"].clone();
    assert_eq!(seen.iter().filter(|seen| seen.json()["to"] == first).count(), 1, "the one who had it got it once");
}

#[tokio::test]
async fn a_callback_is_signed_and_its_status_is_the_result() {
    let (home, receiver) = (home().await, Receiver::start().await);
    service(&home, &receiver).await;
    receiver.script("/callback", [Reply::status(500), Reply::status(202)]);
    let action = json!({"name": "tell", "type": "notification.callback", "retry": fast(3),
        "config": {"notification": "shop:ready", "callback": {"body": {"number": "{{record.number}}"}, "headers": {"X-Order": "{{record.number}}"}}}});
    home.trigger(on("ready", "ready", json!([action]))).await;
    let event = home.event_ended("ready", json!({"number": 17})).await;
    let action = &event["runs"][0]["actions"][0];
    assert_eq!((&event["status"], &action["output"]), (&json!("delivered"), &json!({"status": 202})), "{event:#}");
    let seen = receiver.seen_at("/callback");
    assert_eq!((seen[1].json(), seen[1].header("x-order")), (json!({"number": 17}), "17"));
    assert_eq!(seen[0].header("webhook-id"), action["delivery_id"].as_str().unwrap());
    assert!(seen.iter().all(|seen| seen.header("webhook-signature").starts_with("v1,")));
    assert_eq!([seen[0].header("triggerd-attempt"), seen[1].header("triggerd-attempt")], ["1", "2"]);
}

#[tokio::test]
async fn development_keeps_texts_and_push_messages_in_the_mailbox() {
    let home = home().await;
    let text = json!({"name": "text", "type": "notification.sms", "config": {"notification": "sketch", "recipients": "+14155550100", "body": "Hi"}});
    let push = json!({"name": "push", "type": "notification.push", "config": {"notification": "sketch", "device_tokens": ["a"], "title": "T", "data": {"n": 1}}});
    home.trigger(on("ready", "ready", json!([text, push]))).await;
    let event = home.event_ended("ready", json!({})).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    let listed = |kind: &'static str| {
        let home = &home;
        async move { home.get(&format!("/api/v1/mailbox?kind={kind}")).await.expect(200)["messages"].clone() }
    };
    let (sms, push) = (listed("sms").await, listed("push").await);
    assert_eq!(
        (&sms[0]["kind"], &sms[0]["to"], &sms[0]["text"]),
        (&json!("sms"), &json!(["+14155550100"]), &json!("Hi"))
    );
    assert_eq!(
        (&push[0]["kind"], &push[0]["subject"], &push[0]["data"]),
        (&json!("push"), &json!("T"), &json!({"n": 1}))
    );
    home.get(&format!("/api/v1/mailbox/{}/source", sms[0]["id"].as_str().unwrap())).await.problem(404);
}

#[tokio::test]
async fn a_message_is_shown_before_it_is_sent() {
    let (home, receiver) = (home().await, Receiver::start().await);
    service(&home, &receiver).await;
    let path = "/api/v1/notifications/shop/messages/ready/preview";
    let shown = home.post(path, json!({"variables": {"number": 17, "name": "<Ann>"}})).await.expect(200);
    let wanted = json!({
        "subject": "Order 17", "text": "<Ann>: ready", "html": "<p>&lt;Ann&gt;</p>", "sms": {"body": "Order 17 is ready"},
        "push": {"title": "Order 17", "body": "is ready", "data": {"number": 17}}, "callback": {"body": {"number": 17}},
    });
    assert_eq!(shown, wanted);
    assert_eq!(home.post(path, json!({})).await.expect(200)["subject"], "Order ");
    home.post(path, json!({"variable": {}})).await.problem(422);
    home.post("/api/v1/notifications/shop/messages/none/preview", json!({})).await.problem(404);
    home.post("/api/v1/notifications/none/messages/ready/preview", json!({})).await.problem(404);
    assert!(receiver.seen().is_empty());
}

#[tokio::test]
async fn every_mistake_of_a_service_is_told_with_its_place() {
    let home = home().await;
    let bad = json!({
        "sms": {"provider": "twilio", "accountSid": "AC1", "authToken": "t", "baseUrl": "ftp://x"},
        "push": {"webpush": {"privateKey": "k", "subject": "ops"}},
        "callback": {"url": "nowhere", "method": "GET", "signingSecret": "abc"},
        "messages": {"a": {"sms": {"body": "{{#if"}}, "b": {}},
    });
    let problem = home.put("/api/v1/notifications/bad", bad).await.problem(422);
    let places: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().filter_map(|e| e["pointer"].as_str()).collect();
    for place in [
        "sms/baseUrl",
        "sms/from",
        "push/webpush/subject",
        "callback/url",
        "callback/method",
        "callback/signingSecret",
        "messages/a/sms/body",
        "messages/b",
    ] {
        assert!(
            places.iter().any(|known| known.trim_start_matches('#').trim_start_matches('/') == place),
            "{place} in {places:?}"
        );
    }
    let action = |kind: &str, config: Value| json!([{"name": "a", "type": kind, "config": config}]);
    for (kind, config, place) in [
        ("notification.sms", json!({"notification": "x:y", "recipients": ["0415"]}), "/recipients/0"),
        ("notification.sms", json!({"notification": "x", "recipients": ["+14155550100"]}), "/body"),
        ("notification.push", json!({"notification": "x:y", "device_tokens": [5]}), "/device_tokens/0"),
        ("notification.push", json!({"notification": "x", "device_tokens": ["a"]}), "/body"),
        (
            "notification.callback",
            json!({"notification": "x", "callback": {"headers": {"Host": "x"}}}),
            "/callback/headers/Host",
        ),
        (
            "notification.email",
            json!({"notification": "x:y", "recipients": "a@example.com", "attachments": [{"filename": "a"}]}),
            "/attachments/0",
        ),
    ] {
        let answer = home.post("/api/v1/triggers/validate", on("t", "e", action(kind, config))).await.expect(200);
        assert!(answer["errors"].to_string().contains(place), "{kind} {place}: {answer}");
    }
}
