//! CloudEvents as the CNCF's own SDKs send them: binary, structured and in batches, each says the same.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Receiver, call, home, on, python};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/it");
const NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.toolchain/node/node_modules/cloudevents");

/// Lets an SDK send to a fresh tenant, and looks at what has come.
async fn all_say_the_same(mut command: Command) {
    let home = home().await;
    let receiver = Receiver::start().await;
    let mut action = call("tell", &receiver.url("/ce"));
    action["config"]["body"] = json!({
        "type": "{{type}}", "source": "{{source}}", "at": "{{timestamp}}", "subject": "{{metadata.subject}}",
        "region": "{{metadata.tenantregion}}", "schema": "{{metadata.dataschema}}", "sequence": "{{metadata.sequence}}", "data": "{{payload}}",
    });
    home.trigger(on("told", "com.shop.*", json!([action]))).await;
    let key = home.with_scopes(&["events:write"]).await;
    command.arg(home.base()).arg(key.key().unwrap());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sent: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(sent.len() >= 9);
    for one in &sent {
        let event = home.detail(one["event_id"].as_str().unwrap_or_else(|| panic!("{one:#}"))).await;
        let attributes = &one["attributes"];
        for (name, value) in attributes.as_object().unwrap().iter().filter(|(_, value)| !value.is_null()) {
            assert_eq!(&event["attributes"][name], value, "{name} of {one:#}");
        }
        assert_eq!((&event["type"], &event["source"]), (&attributes["type"], &attributes["source"]));
        assert_eq!(event["payload"], one["payload"], "{one:#}");
        assert_eq!(event["occurred_at"], "2026-01-31T12:00:00.123Z", "{one:#}");
    }
    for told in receiver.wait_for("/ce", sent.len()).await {
        let told = told.json();
        let one = sent.iter().find(|one| one["attributes"]["type"] == told["type"]).unwrap();
        let attributes = &one["attributes"];
        for (name, attribute) in [("source", "source"), ("subject", "subject"), ("region", "tenantregion")] {
            assert_eq!(told[name], attributes[attribute], "{told:#}");
        }
        for (name, attribute) in [("schema", "dataschema"), ("sequence", "sequence")] {
            assert_eq!(told[name], attributes[attribute], "{told:#}");
        }
        assert_eq!(told["data"], one["payload"], "{told:#}");
        assert!(told["at"].as_str().unwrap().starts_with("2026-01-31T12:00:00.123"), "{told:#}");
    }
}

#[tokio::test]
async fn what_the_python_sdk_sends_says_the_same_in_every_mode() {
    let mut command = Command::new(python());
    command.arg(Path::new(SCRIPTS).join("send_cloudevents.py"));
    all_say_the_same(command).await;
}

#[tokio::test]
async fn what_the_javascript_sdk_sends_says_the_same_in_every_mode() {
    if !Path::new(NODE).is_dir() {
        eprintln!("skipped: {NODE} is not there; `cargo xtask test` prepares it where the machine has Node.js");
        return;
    }
    let mut command = Command::new("node");
    command.arg(Path::new(SCRIPTS).join("send_cloudevents.js")).arg(NODE);
    all_say_the_same(command).await;
}
