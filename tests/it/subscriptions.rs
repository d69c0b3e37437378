//! Webhook subscriptions: which events are sent, how, and what becomes of those that are not taken.

use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::harness::{Home, Receiver, Reply, Seen, eventually, home};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn of_type(value: &str) -> Value {
    json!({"type": "event_type", "value": value})
}

async fn subscribe(home: &Home, selector: Value, url: &str, more: Value) -> Value {
    let mut body = json!({"event_selector": selector, "webhook_url": url});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    home.post("/api/v1/subscriptions", body).await.expect(201)
}

fn path(subscription: &Value) -> String {
    format!("/api/v1/subscriptions/{}", subscription["id"].as_str().unwrap())
}

fn verify(seen: &Seen, secret: &str) -> bool {
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, seen.header(name).parse().unwrap());
    }
    Webhook::new(secret).unwrap().verify(&seen.body, &headers).is_ok()
}

fn signatures(seen: &Seen) -> usize {
    seen.header("webhook-signature").split(' ').count()
}

#[tokio::test]
async fn a_matching_event_is_sent_as_a_signed_array() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let made = subscribe(&home, of_type("order.created"), &receiver.url("/in"), json!({})).await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && made["status"] == "active", "{made:#}");
    let id =
        home.accept(json!({"payload": {"event_type": "order.created", "order_id": "12345", "amount": 99.99}})).await;
    home.event("order.deleted", json!({})).await;
    let seen = receiver.wait_for("/in", 1).await.remove(0);
    let event = home.ended(&id).await;
    let told = json!([{
        "event_id": id, "customer_id": home.tenant, "timestamp": event["timestamp"],
        "payload": {"event_type": "order.created", "order_id": "12345", "amount": 99.99},
    }]);
    assert_eq!(seen.json(), told);
    assert_eq!((seen.method.as_str(), seen.header("content-type")), ("POST", "application/json"));
    assert!(seen.header("user-agent").starts_with("triggerd/"), "{:?}", seen.headers);
    assert!(verify(&seen, secret));
    assert_eq!(event["status"], "delivered", "{event:#}");
    assert_eq!(event["delivery_attempts"], 1);
    assert_eq!(receiver.seen().len(), 1, "the other type is not wanted");
    // Shown once.
    let shown = home.get(&path(&made)).await.expect(200);
    assert!(shown["secret"].is_null() && !shown.to_string().contains(secret), "{shown:#}");
    assert!(!home.get("/api/v1/subscriptions").await.expect(200).to_string().contains(secret));
    // It is no trigger and no resource of the kinds that people write.
    assert_eq!(home.get("/api/v1/triggers").await.expect(200)["total"], 0);
}

#[tokio::test]
async fn selectors_of_every_type_choose_events() {
    let home = home().await;
    let receiver = Receiver::start().await;
    for (selector, at) in [
        (of_type("order.*"), "/wild"),
        (json!({"type": "jsonpath", "expression": "$.event_type == 'order.created'"}), "/path"),
        (json!({"type": "jsonpath", "expression": "$.items[?@.quantity > 10]"}), "/filter"),
        (
            json!({"type": "custom", "function": {"field": "amount", "operator": "greater_than", "value": 100}}),
            "/custom",
        ),
    ] {
        subscribe(&home, selector, &receiver.url(at), json!({})).await;
    }
    let send = async |kind: &str, amount: u64, quantity: u64| {
        let payload = json!({"event_type": kind, "amount": amount, "items": [{"quantity": quantity}]});
        let id = home.accept(json!({ "payload": payload })).await;
        home.ended(&id).await["status"].clone()
    };
    assert_eq!(send("order.created", 50, 1).await, "delivered");
    assert_eq!(send("invoice.sent", 150, 20).await, "delivered");
    assert_eq!(send("invoice.sent", 100, 10).await, "unmatched");
    let count = |at: &str| receiver.seen_at(at).len();
    assert_eq!([count("/wild"), count("/path"), count("/filter"), count("/custom")], [1, 1, 1, 1]);
    // A changed row is told of as it is in the inbox.
    subscribe(&home, of_type("orders.created"), &receiver.url("/row"), json!({})).await;
    let id =
        home.accept(json!({"operation": "insert", "database": "db", "table": "orders", "record": {"id": 7}})).await;
    let payload = receiver.wait_for("/row", 1).await[0].json()[0]["payload"].clone();
    assert_eq!((&payload["operation"], &payload["record"]), (&json!("insert"), &json!({"id": 7})));
    assert_eq!(payload, home.detail(&id).await["payload"]);
}

#[tokio::test]
async fn mistakes_are_named_and_another_tenant_s_subscription_is_not_there() {
    let home = home().await;
    let bad = json!({"event_selector": {"type": "jsonpath", "expression": "$.["}, "webhook_url": "ftp://x", "secret": "short",
        "batch": {"maxSize": 0}, "wait": 1});
    let problem = home.post("/api/v1/subscriptions", bad).await.problem(422);
    let mut places: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    places.sort_unstable();
    assert!(
        ["/event_selector/expression", "/secret", "/wait", "/webhook_url"].iter().all(|at| places.contains(at)),
        "{problem:#}"
    );
    let problem = home.post("/api/v1/subscriptions", json!({})).await.problem(422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem:#}");
    let zero = json!({"event_selector": of_type("a"), "webhook_url": "https://a.example/", "batch": {"maxSize": 0}});
    home.post("/api/v1/subscriptions", zero).await.problem(422);
    let metadata = json!({"event_selector": of_type("a"), "webhook_url": "http://169.254.169.254/latest"});
    let problem = home.post("/api/v1/subscriptions", metadata).await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/webhook_url", "{problem:#}");

    let made = subscribe(&home, of_type("a"), "https://a.example/", json!({"description": "mine"})).await;
    let other = crate::harness::home().await;
    let absent = other.get("/api/v1/subscriptions/0193b1c0-0000-7000-8000-000000000000").await.problem(404);
    assert_eq!(other.get(&path(&made)).await.problem(404), absent);
    assert_eq!(other.patch(&path(&made), json!({"description": "x"})).await.problem(404), absent);
    assert_eq!(other.delete(&path(&made)).await.problem(404), absent);
    assert_eq!(other.get("/api/v1/subscriptions").await.expect(200)["total"], 0);
    assert_eq!(home.get(&path(&made)).await.expect(200)["description"], "mine");
}

#[tokio::test]
async fn what_is_changed_counts_from_then_on_and_what_is_deleted_is_sent_to_nobody() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let made = subscribe(&home, of_type("a"), &receiver.url("/one"), json!({})).await;
    let changed =
        home.patch(&path(&made), json!({"event_selector": of_type("b"), "webhook_url": receiver.url("/two")})).await;
    assert_eq!(changed.expect(200)["event_selector"], of_type("b"));
    assert_eq!(home.event_ended("a", json!({})).await["status"], "unmatched");
    assert_eq!(home.event_ended("b", json!({})).await["status"], "delivered");
    assert_eq!((receiver.seen_at("/one").len(), receiver.seen_at("/two").len()), (0, 1));
    // A selector of another type takes the place of the one before it, whole.
    let other = json!({"type": "custom", "function": {"field": "n", "operator": "IS_NOT_NULL"}});
    let changed = home.patch(&path(&made), json!({"event_selector": other})).await.expect(200);
    assert_eq!(changed["event_selector"]["type"], "custom", "{changed:#}");
    assert_eq!(home.event_ended("b", json!({})).await["status"], "unmatched");
    home.patch(&path(&made), json!({"event_selector": of_type("b")})).await.expect(200);
    home.patch(&path(&made), json!({"webhook_url": null})).await.problem(422);
    home.patch(&path(&made), json!({"status": "asleep"})).await.problem(422);
    home.patch(&path(&made), json!({"status": "disabled"})).await.expect(200);
    assert_eq!(home.event_ended("b", json!({})).await["status"], "unmatched");
    let active = home.patch(&path(&made), json!({"status": "active"})).await.expect(200);
    assert!(active["status"] == "active" && active["disabled_reason"].is_null(), "{active:#}");
    assert_eq!(home.event_ended("b", json!({})).await["status"], "delivered");

    // What is on its way when it is deleted is skipped, not failed.
    receiver.script("/two", [Reply::status(503)]);
    let waiting = home.event("b", json!({})).await;
    receiver.wait_for("/two", 3).await;
    home.delete(&path(&made)).await.expect(204);
    home.delete(&path(&made)).await.problem(404);
    let ended = home.ended(&waiting).await;
    assert_eq!(ended["status"], "delivered", "{ended:#}");
    assert_eq!(home.event_ended("b", json!({})).await["status"], "unmatched");
}

#[tokio::test]
async fn a_secret_that_is_replaced_signs_beside_the_new_one() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let made = subscribe(&home, of_type("a"), &receiver.url("/in"), json!({ "secret": SECRET })).await;
    assert_eq!(made["secret"], SECRET);
    home.event_ended("a", json!({})).await;
    let rotated = home.post(&format!("{}/rotate-secret", path(&made)), json!({})).await.expect(200);
    let fresh = rotated["secret"].as_str().unwrap();
    assert!(fresh != SECRET && rotated["former_secret_until"].is_string(), "{rotated:#}");
    home.event_ended("a", json!({})).await;
    // One that is given rotates as well; an ed25519 key signs with v1a.
    let private = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    let changed = home.patch(&path(&made), json!({ "secret": private })).await.expect(200);
    assert!(!changed.to_string().contains("whsk_"), "{changed:#}");
    home.event_ended("a", json!({})).await;
    let seen = receiver.seen_at("/in");
    assert_eq!(seen.iter().map(signatures).collect::<Vec<_>>(), [1, 2, 2]);
    assert!(verify(&seen[0], SECRET) && verify(&seen[1], SECRET) && verify(&seen[1], fresh));
    assert!(!verify(&seen[2], SECRET) && verify(&seen[2], fresh));
    let public = |seen: &Seen| seen.header("webhook-signature").split(' ').any(|one| one.starts_with("v1a,"));
    assert!(!public(&seen[1]) && public(&seen[2]));
}

#[tokio::test]
async fn gone_disables_the_subscription_and_an_event_tells_of_it() {
    let home = home().await;
    let receiver = Receiver::start().await;
    subscribe(&home, of_type("triggerd.subscription.*"), &receiver.url("/told"), json!({})).await;
    let made = subscribe(&home, of_type("a"), &receiver.url("/gone"), json!({})).await;
    receiver.script("/gone", [Reply::status(410)]);
    let event = home.event_ended("a", json!({})).await;
    assert_eq!(event["status"], "failed", "{event:#}");
    assert_eq!(event["runs"][0]["actions"][0]["attempts"].as_array().unwrap().len(), 1, "no other try");
    let shown = home.get(&path(&made)).await.expect(200);
    assert_eq!((&shown["status"], &shown["disabled_reason"]), (&json!("disabled"), &json!("gone")));
    let told = receiver.wait_for("/told", 1).await[0].json()[0]["payload"].clone();
    assert_eq!((&told["subscription_id"], &told["reason"]), (&made["id"], &json!("gone")), "{told:#}");
    assert_eq!(home.event_ended("a", json!({})).await["status"], "unmatched");
    // Once it is active again, what was not taken can be sent after all.
    receiver.script("/gone", [Reply::status(200)]);
    home.patch(&path(&made), json!({"status": "active"})).await.expect(200);
    let run = event["runs"][0]["run_id"].as_str().unwrap();
    home.post(&format!("/api/v1/dead-letters/{run}/replay"), json!({})).await.expect(202);
    let id = event["event_id"].as_str().unwrap().to_owned();
    eventually(|| async {
        let status = home.detail(&id).await["status"].clone();
        if status == "delivered" { Ok(()) } else { Err(format!("{status}")) }
    })
    .await;
}

#[tokio::test]
async fn answers_are_taken_as_the_conventions_have_them() {
    let home = home().await;
    let receiver = Receiver::start().await;
    subscribe(&home, of_type("a"), &receiver.url("/in"), json!({"max_attempts": 3})).await;
    for (status, wanted) in [(200, "delivered"), (204, "delivered"), (302, "failed"), (400, "failed"), (404, "failed")]
    {
        receiver.script("/in", [Reply::status(status).header("location", &receiver.url("/elsewhere"))]);
        let event = home.event_ended("a", json!({})).await;
        assert_eq!(event["status"], wanted, "{status}: {event:#}");
        assert_eq!(event["runs"][0]["actions"][0]["attempts"].as_array().unwrap().len(), 1, "{status}");
    }
    assert!(receiver.seen_at("/elsewhere").is_empty(), "redirects are not followed");
    receiver.script("/in", [Reply::status(500), Reply::status(429).header("retry-after", "1"), Reply::status(200)]);
    let before = receiver.seen_at("/in").len();
    let event = home.event_ended("a", json!({})).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    let seen = receiver.seen_at("/in").split_off(before);
    let gaps: Vec<u64> = seen.windows(2).map(|two| (two[1].at - two[0].at).as_secs()).collect();
    assert!(gaps[0] >= 2 && gaps[1] >= 4, "2 s, then 4 s: {gaps:?}");
    let ids: Vec<&str> = seen.iter().map(|seen| seen.header("webhook-id")).collect();
    assert!(ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");
}

#[tokio::test]
async fn a_subscription_that_only_fails_is_disabled_after_its_time() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let made = subscribe(&home, of_type("a"), &receiver.url("/in"), json!({"disable_after": 1})).await;
    receiver.script("/in", [Reply::status(500)]);
    let id = home.event("a", json!({})).await;
    eventually(|| async {
        let shown = home.get(&path(&made)).await.expect(200);
        if shown["disabled_reason"] == "failing" { Ok(()) } else { Err(format!("{shown:#}")) }
    })
    .await;
    // What was still to be tried waits as a dead letter for it to be active again.
    let ended = home.ended(&id).await;
    assert_eq!(ended["runs"][0]["error_code"], "SUBSCRIPTION_DISABLED", "{ended:#}");
}

#[tokio::test]
async fn batches_are_sent_when_they_are_full_or_have_waited() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let batch = json!({"batch": {"maxSize": 50, "maxWait": 1500}});
    subscribe(&home, of_type("a"), &receiver.url("/in"), batch).await;
    let mut ids = Vec::new();
    for n in 0..120 {
        ids.push(home.event("a", json!({ "n": n })).await);
    }
    for id in &ids {
        assert_eq!(home.ended(id).await["status"], "delivered");
    }
    let seen = receiver.seen_at("/in");
    let sizes: Vec<usize> = seen.iter().map(|seen| seen.json().as_array().unwrap().len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 120, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 50) && sizes.len() <= 12, "{sizes:?}");
    let mut told: Vec<String> = seen
        .iter()
        .flat_map(|seen| seen.json().as_array().unwrap().clone())
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect();
    told.sort();
    ids.sort();
    assert_eq!(told, ids, "each once");

    // A batch that is refused for now is sent again with the same id, and every event of it counts the attempt.
    let again = subscribe(
        &home,
        of_type("b"),
        &receiver.url("/again"),
        json!({"secret": SECRET, "batch": {"maxSize": 2, "maxWait": 60_000}}),
    )
    .await;
    receiver.script("/again", [Reply::status(503), Reply::status(200)]);
    let (one, two) = (home.event("b", json!({})).await, home.event("b", json!({})).await);
    for id in [&one, &two] {
        let event = home.ended(id).await;
        assert_eq!((&event["status"], &event["delivery_attempts"]), (&json!("delivered"), &json!(2)), "{event:#}");
    }
    let seen = receiver.seen_at("/again");
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    assert!(seen.iter().all(|seen| verify(seen, SECRET)));
    home.delete(&path(&again)).await.expect(204);
}

#[tokio::test]
async fn a_subscription_is_tried_with_a_sample() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let made = subscribe(&home, of_type("a"), &receiver.url("/in"), json!({ "secret": SECRET })).await;
    let test = format!("{}/test", path(&made));
    let tried = home.post(&test, json!({"payload": {"event_type": "a", "n": 1}})).await.expect(200);
    assert!(tried["delivered"] == true && tried["response"]["status"] == 200, "{tried:#}");
    let seen = receiver.seen_at("/in").remove(0);
    assert!(verify(&seen, SECRET));
    assert_eq!(seen.json()[0]["payload"], json!({"event_type": "a", "n": 1}));
    receiver.script("/in", [Reply::status(500)]);
    let tried = home.post(&test, json!({})).await.expect(200);
    assert!(tried["delivered"] == false && tried["error_code"] == "HTTP_500", "{tried:#}");
    assert!(!tried.to_string().contains(SECRET));
    home.post(&test, json!({"body": 1})).await.problem(422);
    assert_eq!(home.get("/api/v1/inbox").await.expect(200)["total"], 0, "nothing is kept of it");
    assert_eq!(home.get(&path(&made)).await.expect(200)["status"], "active");
}

#[tokio::test]
async fn in_development_a_subscription_is_made_for_any_tenant() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let operator = home.with_key(Some(crate::harness::ADMIN_KEY));
    let body = json!({"customer_id": home.tenant, "event_selector": of_type("a"), "webhook_url": receiver.url("/in")});
    let made = operator.post("/admin/test-subscription", body.clone()).await.expect(201);
    assert_eq!(made["customer_id"], home.tenant);
    home.event_ended("a", json!({})).await;
    assert_eq!(receiver.seen_at("/in").len(), 1);
    let mut nobody = body;
    nobody["customer_id"] = "nobody".into();
    operator.post("/admin/test-subscription", nobody).await.problem(404);
    home.post("/admin/test-subscription", json!({"event_selector": of_type("a")})).await.problem(422);
}

#[tokio::test]
async fn a_receiver_that_has_too_much_to_do_gets_fewer_requests_at_once() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/in", [Reply::status(429).late(50)]);
    subscribe(&home, of_type("a"), &receiver.url("/in"), json!({})).await;
    let batch: Vec<Value> = (0..200).map(|n| json!({"type": "a", "payload": {"n": n}})).collect();
    home.post("/api/v1/events/batch", json!(batch)).await.expect(202);
    let limit = async || {
        let listed = home.get("/api/v1/destinations").await.expect(200);
        listed["destinations"][0]["limit"].as_u64()
    };
    eventually(|| async {
        match limit().await {
            Some(limit) if limit <= 8 => Ok(()),
            other => Err(format!("its limit is {other:?}")),
        }
    })
    .await;
    // All of it is taken in the end.
    receiver.script("/in", [Reply::status(200)]);
    eventually(|| async {
        let left = home.get("/api/v1/inbox?status=pending&limit=1").await.expect(200)["total"].clone();
        if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
    })
    .await;
}
