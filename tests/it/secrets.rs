//! Secrets go where a template sends them and are seen nowhere else.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Receiver, Reply, Server, call, fast, free_port, on};

/// Parts of it are looked for too: what is cut in two is still told.
const CANARY: &str = "canary-9f8e7d6c5b4a39281706f5e4d3c2b1a0";

#[tokio::test]
async fn a_secret_reaches_its_receiver_and_is_seen_nowhere_else() {
    let mut server = Server::start();
    let api = server.api();
    let receiver = Receiver::start().await;
    // A receiver that repeats what it was sent, in an answer that is kept.
    receiver
        .script("/echo", [Reply::json(400, json!({"you_sent": format!("Bearer {CANARY}")})).header("x-echo", CANARY)]);
    api.resource("secrets", "TOKEN", json!({"value": CANARY})).await;
    let mut echoed = call("echoed", &receiver.url("/echo"));
    echoed["config"]["auth"] = json!({"bearer": "{{secrets.TOKEN}}"});
    echoed["config"]["headers"] = json!({"x-key": "key={{secrets.TOKEN}}"});
    echoed["config"]["body"] = json!({"token": "{{secrets.TOKEN}}"});
    echoed["continueOnError"] = json!(true);
    let mut in_url = call("in-url", &receiver.url("/u?t={{secrets.TOKEN}}"));
    in_url["continueOnError"] = json!(true);
    let mut unreachable = call("unreachable", &format!("http://127.0.0.1:{}/{{{{secrets.TOKEN}}}}", free_port()));
    unreachable["retry"] = fast(2);
    unreachable["continueOnError"] = json!(true);
    let logged = json!({"name": "logged", "type": "log.warn", "config": {"message": "token {{secrets.TOKEN}}", "data": {"t": "{{secrets.TOKEN}}"}}});
    api.trigger(on("canary", "canary", json!([echoed, in_url, unreachable, logged]))).await;
    let event = api.event_ended("canary", json!({})).await;
    let seen = receiver.seen_at("/echo").remove(0);
    assert_eq!(seen.header("authorization"), format!("Bearer {CANARY}"));
    assert_eq!(seen.json(), json!({"token": CANARY}));
    assert!(receiver.seen_at("/u")[0].target.contains(CANARY));
    let id = event["event_id"].as_str().unwrap();
    let mut shown = vec![("the event", event.to_string())];
    for path in [
        "/api/v1/inbox",
        "/api/v1/secrets",
        "/api/v1/secrets/TOKEN",
        "/api/v1/triggers/canary",
        "/api/v1/dead-letters",
        "/metrics",
    ] {
        shown.push((path, api.get(path).await.text));
    }
    let tried = api.post("/api/v1/triggers/canary/test", json!({"type": "canary", "payload": {}})).await;
    shown.push(("the trial", tried.expect(200).to_string()));
    shown.push(("the check", api.post("/api/v1/secrets/TOKEN/check", json!({})).await.text));
    shown.push(("the log", server.log()));
    for (place, text) in &shown {
        assert!(!holds_canary(text.as_bytes()), "the secret is in {place}: {text}");
    }
    scan_files(&server.data_dir());
    assert!(server.stop().success());
    scan_files(&server.data_dir());
    server.up();
    assert_eq!(server.api().detail(id).await["status"], event["status"]);
    // It opens after a restart as before.
    server.api().event_ended("canary", json!({})).await;
    assert_eq!(receiver.seen_at("/echo").last().unwrap().header("authorization"), format!("Bearer {CANARY}"));
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_a_permanent_failure_that_names_it() {
    let server = Server::start();
    let api = server.api();
    let receiver = Receiver::start().await;
    let mut action = call("c", &receiver.url("/x"));
    action["config"]["auth"] = json!({"bearer": "{{secrets.NOBODY}}"});
    let stored = api.put("/api/v1/triggers/absent", on("absent", "absent", json!([action]))).await;
    assert!(stored.status < 300, "the secret may be written later: {stored:#?}");
    let event = api.event_ended("absent", json!({})).await;
    assert_eq!(event["runs"][0]["error_code"], "SECRET_NOT_FOUND");
    assert!(event["runs"][0]["error"].as_str().unwrap().contains("NOBODY"));
    assert_eq!(receiver.connections(), 0);
    // Written, it is there at once, and the dead letter can be replayed.
    api.resource("secrets", "NOBODY", json!({"value": "now-it-is-there"})).await;
    let run = event["runs"][0]["run_id"].as_str().unwrap();
    api.post(&format!("/api/v1/dead-letters/{run}/replay"), json!({})).await.expect(202);
    assert_eq!(receiver.wait_for("/x", 1).await[0].header("authorization"), "Bearer now-it-is-there");
}

#[tokio::test]
async fn a_password_in_a_resource_is_not_shown_again() {
    let server = Server::start();
    let api = server.api();
    let settings = json!({"kind": "redis", "url": format!("redis://user:{CANARY}@127.0.0.1:1")});
    api.resource("caches", "guarded", settings).await;
    let shown = api.get("/api/v1/caches/guarded").await;
    assert!(!holds_canary(shown.text.as_bytes()), "{}", shown.text);
    let checked = api.post("/api/v1/caches/guarded/check", json!({})).await;
    assert!(!holds_canary(checked.text.as_bytes()), "{}", checked.text);
    // What was read can be written again.
    let settings: Value = shown.expect(200)["settings"].clone();
    api.resource("caches", "guarded", settings).await;
    scan_files(&server.data_dir());
}

fn scan_files(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scan_files(&path);
        } else if let Ok(bytes) = std::fs::read(&path) {
            assert!(!holds_canary(&bytes), "the secret is in {}", path.display());
        }
    }
}

/// The secret plainly, reversed encodings included: base64 at every alignment, hex.
fn holds_canary(bytes: &[u8]) -> bool {
    use base64::Engine as _;
    let mut needles = vec![CANARY.as_bytes().to_vec(), hex::encode(CANARY).into_bytes()];
    for skip in 0..3 {
        // Without the last characters, which depend on what follows.
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&CANARY[skip..]);
        needles.push(text.as_bytes()[..text.len() - 4].to_vec());
    }
    needles.iter().any(|needle| bytes.windows(needle.len()).any(|window| window == needle.as_slice()))
}
