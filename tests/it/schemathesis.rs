//! Every route of the OpenAPI document, asked by schemathesis with what the document allows and with what it does not: no
//! answer is a failure of the server, or one that the document does not know.

use std::process::Command;

use serde_json::json;

use crate::harness::{ADMIN_KEY, Receiver, Server, Settings, call, guest, on, python};

/// What answers for as long as it is listened to, or changes what the test itself stands on.
const LEFT_OUT: &str = "/events/stream$|/master-key/rotate$";
/// Bytes are sent as they are.
const HOOKS: &str =
    "import schemathesis\nschemathesis.serializer.alias('application/wasm', 'application/octet-stream')\n";
const THING: &str = "orchid";

/// One thing of many kinds, for paths to lead somewhere; where which paths lead.
async fn furnished(server: &Server, receiver: &Receiver) -> String {
    let api = server.api().in_tenant("fuzzed");
    api.component(THING, guest("lead-score")).await;
    api.resource("caches", THING, json!({"kind": "memory"})).await;
    api.resource("brokers", THING, json!({"kind": "embedded"})).await;
    api.trigger(on(THING, THING, json!([call("fail", &receiver.url("/gone"))]))).await;
    let event = api.event_ended(THING, json!({"n": 1})).await;
    let url = receiver.url("/hook");
    let selector = json!({"type": "event_type", "value": "never"});
    let made = api.post("/api/v1/subscriptions", json!({"event_selector": selector, "webhook_url": url})).await;
    let subscription = made.expect(201)["id"].as_str().unwrap().to_owned();
    let key = api.post("/api/v1/keys", json!({"scopes": ["events:read"]})).await.expect(201);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    format!(
        r#"
[parameters]
"path.tag" = "{THING}"
"path.name" = "{THING}"
"path.topic" = "{THING}"
"path.key" = "{THING}"
"path.run_id" = "{}"

[[operations]]
include-path-regex = "/api/v1/\\{{kind}}"
parameters = {{"path.kind" = "caches"}}

[[operations]]
include-path-regex = "/events/\\{{id}}"
parameters = {{"path.id" = "{}"}}

[[operations]]
include-path-regex = "/subscriptions/"
parameters = {{"path.id" = "{subscription}"}}

[[operations]]
include-path-regex = "/keys/"
parameters = {{"path.id" = "{}"}}
"#,
        text(&event["runs"][0]["run_id"]),
        text(&event["event_id"]),
        text(&key["id"]),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_a_failure_or_one_that_the_document_does_not_know() {
    let server = Server::with(Settings::default().set("RATE_LIMIT", "0"));
    let api = server.api();
    api.post("/api/v1/tenants", json!({"id": "fuzzed", "rate_limit": 0})).await.expect(201);
    let receiver = Receiver::start().await;
    receiver.script("/gone", [crate::harness::Reply::status(410)]);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let document = file("openapi.json", &api.get("/api/v1/openapi.json").await.text);
    let config = file("schemathesis.toml", &furnished(&server, &receiver).await);
    let hooks = file("hooks.py", HOOKS);
    let mut command = Command::new(python());
    command
        .args(["-m", "schemathesis.cli"])
        .arg("--config-file")
        .arg(config)
        .arg("run")
        .arg(document)
        .args(["--url", api.base()])
        .args(["--header", &format!("Authorization: Bearer {ADMIN_KEY}"), "--header", "Triggerd-Tenant: fuzzed"])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "1"])
        .args(["--exclude-path-regex", LEFT_OUT])
        .args(["--request-timeout", "30", "--no-color", "--continue-on-failure", "--warnings", "off"])
        .env("SCHEMATHESIS_HOOKS", hooks)
        .current_dir(dir.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
}
