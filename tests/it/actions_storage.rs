//! `storage.*` from outside: what a trigger stores is there, and stays there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::{Cli, Server, on};

#[tokio::test]
async fn what_a_trigger_stores_in_a_folder_is_there_after_a_crash() {
    let mut server = Server::start();
    let api = server.api();
    api.resource("storages", "invoices", json!({"kind": "local", "prefix": "2026"})).await;
    let checked = api.post("/api/v1/storages/invoices/check", json!({})).await.expect(200);
    assert_eq!(checked["ok"], true, "{checked}");
    let actions = json!([
        {"name": "store", "type": "storage.upload", "config": {"storage": "invoices", "path": "{{record.id}}/invoice.pdf",
            "dataField": "pdf", "mimeType": "application/pdf"}},
        {"name": "copy", "type": "storage.copy", "config": {"storage": "invoices", "from": "{{record.id}}/invoice.pdf",
            "to": "latest.pdf"}},
    ]);
    api.trigger(on("invoice", "invoice.made", actions)).await;
    let event = api.event_ended("invoice.made", json!({"id": 7, "pdf": STANDARD.encode("%PDF-1.7")})).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    for action in event["runs"][0]["actions"].as_array().unwrap() {
        assert_eq!(action["output"]["size"], 8);
        assert!(action["output"]["etag"].is_string());
    }
    server.crash_and_restart();
    let folder = server.data_dir().join("storage/default/invoices/2026");
    for name in ["7/invoice.pdf", "latest.pdf"] {
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), b"%PDF-1.7", "{name}");
    }
    // A name that the data leads astray is refused with its place, and nothing is written.
    let event = server.api().event_ended("invoice.made", json!({"id": "../..", "pdf": ""})).await;
    assert_eq!(event["runs"][0]["error_code"], "CONFIG_INVALID");
    assert!(event["runs"][0]["error"].as_str().unwrap().starts_with("/path: "), "{}", event["runs"][0]["error"]);
}

#[tokio::test]
async fn storages_are_applied_and_exported_with_the_rest() {
    let server = Server::start();
    let cli = Cli { url: server.url(), key: crate::harness::ADMIN_KEY.into(), tenant: None, data_dir: None };
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("storages")).unwrap();
    std::fs::write(dir.path().join("storages/files.json"), r#"{"kind": "memory"}"#).unwrap();
    let path = dir.path().to_str().unwrap();
    assert!(cli.run(&["apply", "-f", path]).await.ok().contains("storages/files"));
    let out = tempfile::tempdir().unwrap();
    cli.run(&["export", "-f", out.path().to_str().unwrap()]).await.ok();
    let exported = std::fs::read_to_string(out.path().join("storages/files.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&exported).unwrap(), json!({"kind": "memory"}));
    assert!(cli.run(&["apply", "-f", out.path().to_str().unwrap()]).await.ok().contains("unchanged"));
}
