//! Fifty secrets are sent to receivers that repeat everything they are sent, in every encoding, with every sort of
//! answer. Afterwards none of them is anywhere but at the receivers.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Cli, Receiver, Reply, Server, Settings, call, fast, free_port, on};

const SECRETS: usize = 50;

/// Values as people have them: keys, passwords with every sort of character, numbers.
fn canary(index: usize) -> String {
    let core = format!("{:016x}", (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    match index % 5 {
        0 => format!("sk_live_{core}"),
        1 => format!("p+w/{core}=&?%41#"),
        2 => format!("{core} \"quoted\" \\ and spaced"),
        3 => format!("{core}{}", core.repeat(12)),
        _ => format!("{:020}", (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    }
}

/// Every form in which a canary may lie around.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let escaped = Value::from(secret).to_string();
    let mut forms = vec![
        secret.to_owned(),
        escaped[1..escaped.len() - 1].to_owned(),
        percent_encode(bytes, NON_ALPHANUMERIC).to_string(),
        hex::encode(bytes),
        hex::encode_upper(bytes),
    ];
    for skip in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            // Without the last characters, which depend on what follows.
            let text = engine.encode(&bytes[skip..]);
            forms.push(text[..text.len() - 4].to_owned());
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

struct Canaries(Vec<(usize, String)>);

impl Canaries {
    fn new() -> Self {
        Self((0..SECRETS).flat_map(|index| forms(&canary(index)).into_iter().map(move |form| (index, form))).collect())
    }

    fn look_in(&self, place: &str, text: &str) {
        for (index, form) in &self.0 {
            assert!(!text.contains(form.as_str()), "secret {index} ({}) is in {place} as {form}", canary(*index));
        }
    }

    fn look_in_files(&self, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.look_in_files(&path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                self.look_in(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
            }
        }
    }
}

/// Actions that send secret `index` in every place that HTTP has, to a receiver that answers with `status`.
fn tells(receiver: &Receiver, index: usize) -> Value {
    let secret = format!("{{{{secrets.CANARY_{index}}}}}");
    let status = [200, 400, 500, 302, 201][index % 5];
    // A path of its own: one that only ever fails would be left alone after ten failures.
    let path = format!("/{status}/{index}");
    receiver.script(&path, [Reply::Echo(status)]);
    let mut action = call(&format!("a{index}"), &receiver.url(&format!("{path}?q={secret}")));
    action["config"]["body"] = json!({"token": secret, "text": format!("a {secret} b")});
    action["config"]["headers"] = json!({"x-key": secret, "x-more": format!("key={secret};")});
    action["config"]["query"] = json!({"k": secret});
    action["config"]["auth"] = match index % 2 {
        0 => json!({"bearer": secret}),
        _ => json!({"basic": {"username": "user", "password": secret}}),
    };
    action["retry"] = fast(2);
    action["continueOnError"] = json!(true);
    action
}

fn elsewhere(index: usize) -> Vec<Value> {
    let secret = format!("{{{{secrets.CANARY_{index}}}}}");
    let nobody = free_port();
    let mut actions = vec![
        call("unreachable", &format!("http://127.0.0.1:{nobody}/{secret}")),
        json!({"name": "bad-url", "type": "http.get", "config": {"url": format!("ftp://{secret}/")}}),
        json!({"name": "bad-header", "type": "http.get",
            "config": {"url": format!("http://127.0.0.1:{nobody}/"), "headers": {"x-a": format!("{secret}\u{1}")}}}),
        json!({"name": "logged", "type": "log.warn", "config": {"message": format!("m {secret}"), "data": {"d": secret}}}),
        json!({"name": "cached", "type": "cache.set", "config": {"cache": "nowhere", "key": secret, "value": secret}}),
        json!({"name": "published", "type": "broker.publish", "config": {"broker": "nowhere:t", "message": secret}}),
        json!({"name": "no-path", "type": "storage.upload",
            "config": {"storage": "bucket", "path": format!("../{secret}"), "content": secret}}),
        json!({"name": "stored", "type": "storage.upload",
            "config": {"storage": "bucket", "path": format!("p/{secret}"), "content": secret}}),
        json!({"name": "mailed", "type": "notification.email",
            "config": {"notification": "mail", "recipients": format!("{secret}@@"), "subject": secret, "body": secret}}),
    ];
    for action in &mut actions {
        action["retry"] = fast(2);
        action["continueOnError"] = json!(true);
    }
    actions
}

#[tokio::test]
async fn fifty_secrets_reach_receivers_that_repeat_them_and_are_found_nowhere() {
    let mut server = Server::with(Settings::default().embedded());
    let api = server.api();
    let receiver = Receiver::start().await;
    for index in 0..SECRETS {
        api.resource("secrets", &format!("CANARY_{index}"), json!({"value": canary(index)})).await;
    }
    let with_secret = |index: usize| json!({"secret": format!("CANARY_{index}")});
    api.resource("caches", "nowhere", json!({"kind": "redis", "url": "redis://:{{secrets.CANARY_0}}@127.0.0.1:1"}))
        .await;
    api.resource("brokers", "nowhere", json!({"kind": "redis", "url": format!("redis://:{}@127.0.0.1:1", canary(5))}))
        .await;
    api.resource(
        "storages",
        "bucket",
        json!({"bucket": "b", "endpoint": receiver.url(""), "accessKeyId": "id",
        "secretAccessKey": with_secret(3)}),
    )
    .await;
    api.resource(
        "notifications",
        "mail",
        json!({"from": "a@example.com", "mailbox": false,
        "smtp": {"host": "127.0.0.1", "port": 1, "tls": "none", "username": "u", "password": with_secret(4)}}),
    )
    .await;
    let secrets = json!([canary(6), with_secret(7)]);
    let hook = api.put("/api/v1/hooks/in", json!({"verify": {"type": "shared_secret", "secret": secrets}})).await;
    for secret in [canary(6), canary(7), format!("{}x", canary(6))] {
        let request = api.with_key(None).request(reqwest::Method::POST, hook.body["url"].as_str().unwrap());
        let answer = api.send(request.header("x-webhook-secret", &secret).json(&json!({}))).await;
        assert_eq!(answer.status, if secret.ends_with('x') { 401 } else { 202 });
    }
    for batch in 0..SECRETS / 10 {
        let mut actions: Vec<Value> = (0..10).map(|i| tells(&receiver, batch * 10 + i)).collect();
        actions.extend(elsewhere(batch * 10 + batch % 5));
        api.trigger(on(&format!("t{batch}"), &format!("t{batch}"), json!(actions))).await;
    }
    // One that ends as a dead letter, with the echo in its words.
    let mut dead = tells(&receiver, 2);
    dead.as_object_mut().unwrap().shift_remove("continueOnError");
    api.trigger(on("dead", "dead", json!([dead]))).await;
    let mut details = Vec::new();
    for name in (0..SECRETS / 10).map(|batch| format!("t{batch}")).chain(["dead".to_owned()]) {
        details.push(api.event_ended(&name, json!({})).await);
    }
    // The receivers did get them: this test looks for something that was there.
    let received: String = receiver.seen().iter().map(|seen| format!("{}{:?}", seen.text(), seen.headers)).collect();
    for index in (0..SECRETS).filter(|index| index % 5 != 2) {
        assert!(received.contains(&canary(index)), "secret {index} was not sent");
    }
    let canaries = Canaries::new();
    for detail in &details {
        let id = detail["event_id"].as_str().unwrap();
        canaries.look_in("an event's details", &api.get(&format!("/api/v1/events/{id}")).await.text);
    }
    for path in [
        "/metrics",
        "/api/v1/inbox",
        "/api/v1/dead-letters",
        "/api/v1/secrets",
        "/api/v1/secrets/CANARY_0",
        "/api/v1/caches/nowhere",
        "/api/v1/brokers/nowhere",
        "/api/v1/storages/bucket",
        "/api/v1/hooks/in",
        "/api/v1/notifications/mail",
        "/api/v1/destinations",
        "/api/v1/triggers",
        "/api/v1/master-key",
    ] {
        canaries.look_in(path, &api.get(path).await.text);
    }
    let letters = api.get("/api/v1/dead-letters").await.expect(200);
    let run = letters["dead_letters"][0]["run_id"].as_str().expect("there is a dead letter").to_owned();
    canaries.look_in("a dead letter", &api.get(&format!("/api/v1/dead-letters/{run}")).await.text);
    for (kind, tag) in [
        ("caches", "nowhere"),
        ("brokers", "nowhere"),
        ("storages", "bucket"),
        ("hooks", "in"),
        ("notifications", "mail"),
        ("secrets", "CANARY_1"),
    ] {
        let checked = api.post(&format!("/api/v1/{kind}/{tag}/check"), json!({})).await;
        canaries.look_in(&format!("the check of {kind}"), &checked.text);
    }
    let tried = api.post("/api/v1/triggers/t0/test", json!({"type": "t0", "payload": {}})).await;
    canaries.look_in("a trial", &tried.text);
    let refused = api.delete("/api/v1/secrets/CANARY_0").await;
    canaries.look_in("a refusal", &refused.text);
    let out = tempfile::tempdir().unwrap();
    let cli = Cli { url: server.url(), key: ADMIN_KEY.into(), tenant: None, data_dir: None };
    let exported = cli.run(&["export", "-f", out.path().to_str().unwrap()]).await;
    canaries.look_in("what export says", &format!("{}{}", exported.stdout, exported.stderr));
    canaries.look_in_files(out.path());
    api.post("/api/v1/master-key/rotate", json!({})).await.expect(200);
    canaries.look_in_files(&server.data_dir());
    assert!(server.stop().success());
    canaries.look_in_files(&server.data_dir());
    canaries.look_in("the log", &server.log());
}
