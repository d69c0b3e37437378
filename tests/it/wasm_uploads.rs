//! Components are uploaded, told apart by version and digest, and refused with a reason.

use serde_json::{Value, json};

use crate::harness::{guest, home, on};

fn custom(component: &str) -> Value {
    json!([{"name": "run", "type": "custom", "retry": {"maxAttempts": 1}, "config": {"component": component, "input": {"mode": "echo"}}}])
}

#[tokio::test]
async fn an_upload_is_described_and_the_same_bytes_are_the_same_version() {
    let home = home().await;
    let bytes = guest("lead-score");
    let first = home.upload("lead", bytes.clone()).await.expect(201);
    assert_eq!(
        (&first["name"], &first["version"], &first["world"]),
        (&json!("lead"), &json!(1), &json!("action")),
        "{first:#}"
    );
    assert_eq!(first["size"], bytes.len());
    assert!(first["digest"].as_str().unwrap().starts_with("sha256:"), "{first:#}");
    assert!(
        first["imports"].as_array().unwrap().iter().any(|import| import.to_string().contains("state")),
        "{first:#}"
    );
    assert!(!first["exports"].as_array().unwrap().is_empty());
    let again = home.upload("lead", bytes).await.expect(200);
    assert_eq!((&again["version"], &again["digest"]), (&first["version"], &first["digest"]));
    let second = home.upload("lead", guest("hostile")).await.expect(201);
    assert_eq!(second["version"], 2);
    let shown = home.get("/api/v1/components/lead").await.expect(200);
    assert_eq!((&shown["version"], shown["versions"].as_array().unwrap().len()), (&json!(2), 2));
    assert_eq!(home.get("/api/v1/components").await.expect(200)["total"], 1);
}

#[tokio::test]
async fn a_trigger_names_the_latest_a_version_or_a_digest() {
    let home = home().await;
    let first = home.component("both", guest("hostile")).await;
    home.trigger(on("by-version", "run", custom("both@1"))).await;
    home.trigger(on("by-digest", "run", custom(&format!("both@{}", first["digest"].as_str().unwrap())))).await;
    home.trigger(on("by-name", "run", custom("both"))).await;
    home.component("both", guest("lead-score")).await;
    let event = home.event_ended("run", json!({})).await;
    for run in event["runs"].as_array().unwrap() {
        let wanted = if run["trigger"] == "by-name" { "failed" } else { "delivered" };
        assert_eq!(run["status"], wanted, "the latest does not know this input: {run:#}");
    }
    for unknown in ["both@9", "nobody", "both@sha256:00"] {
        let problem = home.post("/api/v1/triggers", on("unknown", "run", custom(unknown))).await.problem(422);
        assert!(
            problem["errors"][0]["pointer"].as_str().unwrap().starts_with("/actions/0/config/component"),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_a_reason_and_not_stored() {
    let home = home().await;
    let core = wat::parse_str(r#"(module (func (export "run")))"#).unwrap();
    let foreign = wat::parse_str(r#"(component (import "evil:host/steal" (func)))"#).unwrap();
    let empty = wat::parse_str("(component)").unwrap();
    let mut torn = guest("lead-score");
    torn.truncate(torn.len() / 2);
    for (bytes, said) in [
        (b"this is no wasm".to_vec(), "no WebAssembly"),
        (Vec::new(), ""),
        (core, ""),
        (foreign, "evil:host/steal"),
        (empty, ""),
        (torn, ""),
    ] {
        let problem = home.upload("bad", bytes).await.problem(422);
        let text = problem.to_string();
        assert!(text.contains(said), "{said}: {text}");
        assert!(problem["detail"].as_str().unwrap().len() > 20, "a reason is given: {text}");
    }
    let request = home
        .request(reqwest::Method::PUT, "/api/v1/components/bad")
        .header("content-type", "application/json")
        .body("{}");
    home.send(request).await.problem(415);
    home.upload("Bad Name", b"small".to_vec()).await.problem(422);
    home.get("/api/v1/components/bad").await.problem(404);
    assert_eq!(home.get("/api/v1/components").await.expect(200)["total"], 0);
}

#[tokio::test]
async fn a_component_in_use_is_not_deleted() {
    let home = home().await;
    home.component("used", guest("hostile")).await;
    home.trigger(on("uses", "uses", custom("used"))).await;
    let problem = home.delete("/api/v1/components/used").await.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("uses"), "{problem}");
    home.delete("/api/v1/triggers/uses").await.expect(204);
    home.delete("/api/v1/components/used").await.expect(204);
    home.get("/api/v1/components/used").await.problem(404);
    home.delete("/api/v1/components/used").await.problem(404);
}

#[tokio::test]
async fn a_component_without_the_world_that_is_needed_is_refused_in_the_definition() {
    let home = home().await;
    home.component("vip", guest("vip-condition")).await;
    home.component("lead", guest("lead-score")).await;
    home.post("/api/v1/triggers", on("wrong-action", "x", custom("vip"))).await.problem(422);
    let mut trigger = on("wrong-condition", "x", json!([{"type": "log.info", "config": {"message": "x"}}]));
    trigger["condition"] = json!({"component": "lead", "config": {}});
    let problem = home.post("/api/v1/triggers", trigger).await.problem(422);
    assert!(problem["errors"][0]["pointer"].as_str().unwrap().starts_with("/condition"), "{problem}");
}

#[tokio::test]
async fn a_tenant_has_no_more_components_than_its_quota() {
    let home = home().await;
    let quotas = json!({"quotas": {"max_components": 1}});
    home.server().api().patch(&format!("/api/v1/tenants/{}", home.tenant), quotas).await.expect(200);
    home.component("first", guest("hostile")).await;
    let problem = home.upload("second", guest("hostile")).await.problem(403);
    assert!(problem["detail"].as_str().unwrap().contains("quota of 1 components"), "{problem}");
    home.upload("first", guest("lead-score")).await.expect(201);
}
