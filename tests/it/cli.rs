//! The command line against a running server.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Cli, Home, Receiver, Reply, Server, call, fast, guest, home, on};

async fn cli(home: &Home) -> Cli {
    Cli {
        url: home.base().to_owned(),
        key: crate::harness::ADMIN_KEY.to_owned(),
        tenant: Some(home.tenant.clone()),
        data_dir: None,
    }
}

fn write(dir: &Path, file: &str, value: &Value) {
    let path = dir.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serde_json::to_string_pretty(value).unwrap()).unwrap();
}

fn note(tag: &str, message: &str) -> Value {
    on(tag, "note.me", json!([{"name": "note", "type": "log.info", "config": {"message": message}}]))
}

async fn tags(home: &Home) -> Vec<String> {
    let page = home.get("/api/v1/triggers").await.expect(200);
    page["triggers"].as_array().unwrap().iter().map(|t| t["tag"].as_str().unwrap().to_owned()).collect()
}

fn verbs(report: &Value) -> Vec<String> {
    let steps = report["steps"].as_array().unwrap().iter();
    steps.map(|step| format!("{} {}", step["verb"].as_str().unwrap(), step["what"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn apply_creates_changes_prunes_and_shows_before_what_it_would_do() {
    let home = home().await;
    let (cli, dir) = (cli(&home).await, tempfile::tempdir().unwrap());
    let path = dir.path().to_str().unwrap();
    write(dir.path(), "triggers/one.json", &note("one", "v1"));
    write(dir.path(), "triggers/two.json", &note("two", "v1"));
    write(dir.path(), "caches/fast.json", &json!({"kind": "memory"}));
    std::fs::create_dir_all(dir.path().join("components")).unwrap();
    std::fs::write(dir.path().join("components/lead-score.wasm"), guest("lead-score")).unwrap();
    let mut scored = note("scored", "x");
    scored["actions"] = json!([{"name": "score", "type": "custom", "config": {"component": "lead-score", "input": {}, "capabilities": {"state": true}}}]);
    write(dir.path(), "triggers/scored.json", &scored);
    let dry = cli.run(&["apply", "-f", path, "--dry-run", "--json"]).await.json();
    assert!(verbs(&dry).contains(&"create triggers/one".to_owned()), "{dry:#}");
    assert!(tags(&home).await.is_empty(), "a dry run changes nothing");
    cli.run(&["apply", "-f", path]).await.ok();
    assert_eq!(tags(&home).await, ["one", "scored", "two"]);
    home.get("/api/v1/caches/fast").await.expect(200);
    // Applied again, nothing is to be done to what is the same.
    let again = cli.run(&["apply", "-f", path, "--json"]).await.json();
    assert!(
        verbs(&again).iter().filter(|step| step.contains("triggers/")).all(|step| step.starts_with("unchanged")),
        "{again:#}"
    );
    write(dir.path(), "triggers/one.json", &note("one", "v2"));
    std::fs::remove_file(dir.path().join("triggers/two.json")).unwrap();
    let shown = cli.run(&["apply", "-f", path, "--dry-run"]).await.ok();
    assert!(shown.contains("v1") && shown.contains("v2"), "the difference is shown: {shown}");
    cli.run(&["apply", "-f", path]).await.ok();
    assert_eq!(tags(&home).await, ["one", "scored", "two"], "without --prune nothing is deleted");
    cli.run(&["apply", "-f", path, "--prune"]).await.ok();
    assert_eq!(tags(&home).await, ["one", "scored"]);
    assert_eq!(home.get("/api/v1/triggers/one").await.expect(200)["version"], 2);
}

#[tokio::test]
async fn a_mistake_in_the_last_definition_leaves_the_first_unapplied() {
    let home = home().await;
    let (cli, dir) = (cli(&home).await, tempfile::tempdir().unwrap());
    write(dir.path(), "triggers/a.json", &note("a", "fine"));
    let mut wrong = note("z", "x");
    wrong["priorty"] = json!(1);
    wrong["actions"][0]["type"] = json!("log.inf");
    write(dir.path(), "triggers/z.json", &wrong);
    let ran = cli.run(&["apply", "-f", dir.path().to_str().unwrap()]).await;
    assert_ne!(ran.code, 0);
    for said in ["`z`", "/priorty", "`priority`", "/actions/0/type", "`log.info`"] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    assert!(tags(&home).await.is_empty());
    let empty = cli.run(&["apply", "-f", "/nowhere"]).await;
    assert_ne!(empty.code, 0);
}

#[tokio::test]
async fn what_is_exported_can_be_applied_elsewhere() {
    let (home, other) = (home().await, home().await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut full = note("full", "{{record.a}}");
    full["condition"] = json!({"field": "payload.a", "operator": "EQUALS", "value": 9_007_199_254_740_993_u64});
    home.trigger(full).await;
    home.trigger(note("plain", "x")).await;
    home.resource("notifications", "mail", json!({"from": "a@example.com"})).await;
    cli(&home).await.run(&["export", "-f", path]).await.ok();
    cli(&other).await.run(&["apply", "-f", path]).await.ok();
    for tag in ["full", "plain"] {
        let shown = async |home: &Home| {
            let mut shown = home.get(&format!("/api/v1/triggers/{tag}")).await.expect(200);
            for added in ["version", "created_at", "updated_at"] {
                shown.as_object_mut().unwrap().remove(added);
            }
            shown
        };
        assert_eq!(shown(&home).await, shown(&other).await);
    }
    assert_eq!(tags(&other).await, ["full", "plain"]);
}

#[tokio::test]
async fn events_are_sent_waited_for_shown_and_listed() {
    let home = home().await;
    let cli = cli(&home).await;
    home.trigger(note("noted", "x")).await;
    let sent =
        cli.run(&["event", "send", "--type", "note.me", "--payload", "{\"n\": 1}", "--wait", "--json"]).await.json();
    assert_eq!(sent["status"], "delivered", "{sent:#}");
    let id = sent["event_id"].as_str().unwrap();
    let shown = cli.run(&["event", "show", id]).await.ok();
    assert!(shown.contains("note.me") && shown.contains("noted") && shown.contains("delivered"), "{shown}");
    let from_input = cli
        .run_in(Path::new("/"), &["event", "send", "-", "--json"], "{\"type\":\"from.stdin\",\"payload\":{}}")
        .await
        .json();
    assert!(from_input["event_id"].is_string());
    let batch = "{\"type\":\"x.y\",\"payload\":{}}\n{\"type\":\"x.y\",\"payload\":{}}\n";
    let batch = cli.run_in(Path::new("/"), &["event", "send", "-", "--json"], batch).await.json();
    assert_eq!(batch["accepted"], 2, "{batch:#}");
    let inbox = cli.run(&["inbox", "--type", "note.me", "--json"]).await.json();
    let listed = inbox.as_array().or_else(|| inbox["events"].as_array()).unwrap();
    assert_eq!((listed.len(), &listed[0]["event_id"]), (1, &json!(id)), "{inbox:#}");
    let table = cli.run(&["inbox"]).await.ok();
    assert!(table.contains("from.stdin"), "{table}");
    let wrong = cli.run(&["event", "send", "--type", "a", "--payload", "{"]).await;
    assert_ne!(wrong.code, 0);
}

#[tokio::test]
async fn dead_letters_are_listed_replayed_and_dropped() {
    let home = home().await;
    let cli = cli(&home).await;
    let receiver = Receiver::start().await;
    receiver.script("/x", [Reply::status(400), Reply::status(400), Reply::status(200)]);
    let mut action = call("c", &receiver.url("/x"));
    action["retry"] = fast(1);
    home.trigger(on("fails", "fails", json!([action]))).await;
    let first = home.event_ended("fails", json!({})).await;
    let second = home.event_ended("fails", json!({})).await;
    let run = |event: &Value| event["runs"][0]["run_id"].as_str().unwrap().to_owned();
    let table = cli.run(&["dead-letters", "--trigger", "fails"]).await.ok();
    assert!(table.contains("HTTP_400"), "{table}");
    cli.run(&["dead-letters", "drop", &run(&second)]).await.ok();
    cli.run(&["dead-letters", "replay", &run(&first)]).await.ok();
    receiver.wait_for("/x", 3).await;
    let refused = cli.run(&["replay", "--type", "fails"]).await;
    assert!(refused.code != 0 && refused.stderr.contains("--yes"), "{refused:#?}");
}

#[tokio::test]
async fn keys_components_and_triggers_have_their_commands() {
    let home = home().await;
    let cli = cli(&home).await;
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join("lead_score.wasm");
    std::fs::write(&wasm, guest("lead-score")).unwrap();
    cli.run(&["component", "push", "lead", wasm.to_str().unwrap()]).await.ok();
    let listed = cli.run(&["component", "list", "--json"]).await.json();
    assert!(listed.to_string().contains("\"lead\""), "{listed:#}");
    write(dir.path(), "event.json", &json!({"type": "x", "payload": {}}));
    write(dir.path(), "input.json", &json!({"lead": "l", "touch": "view"}));
    write(dir.path(), "grants.json", &json!({"state": true}));
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let tested = cli
        .run(&[
            "component",
            "test",
            wasm.to_str().unwrap(),
            "--event",
            &file("event.json"),
            "--input",
            &file("input.json"),
            "--capabilities",
            &file("grants.json"),
            "--json",
        ])
        .await
        .json();
    assert_eq!(tested["result"]["touches"], 1, "{tested:#}");
    assert_eq!(home.get("/api/v1/components").await.expect(200)["total"], 1, "what is tried is taken away again");
    let made = cli.run(&["key", "create", "--scope", "events:write", "--json"]).await.json();
    home.with_key(made["key"].as_str()).event("with.key", json!({})).await;
    home.trigger(note("shown", "{{record.n}}")).await;
    assert!(cli.run(&["trigger", "list"]).await.ok().contains("shown"));
    assert_eq!(cli.run(&["trigger", "get", "shown", "--json"]).await.json()["tag"], "shown");
    write(dir.path(), "sample.json", &json!({"type": "note.me", "payload": {"n": 5}}));
    let tried = cli.run(&["trigger", "test", "shown", "--event", &file("sample.json"), "--json"]).await.json();
    assert_eq!((&tried["matched"], &tried["actions"][0]["config"]["message"]), (&json!(true), &json!(5)));
}

#[tokio::test]
async fn the_openapi_document_is_printed_without_a_server_as_the_server_gives_it() {
    let home = home().await;
    let nowhere = Cli { url: "http://127.0.0.1:9".into(), key: String::new(), tenant: None, data_dir: None };
    let printed = nowhere.run(&["openapi"]).await.json();
    assert_eq!(printed["paths"], home.get("/api/v1/openapi.json").await.expect(200)["paths"]);
    let failed = nowhere.run(&["inbox"]).await;
    assert!(failed.code == 1 && failed.stderr.contains("triggerd serve"), "it says what to do: {failed:#?}");
    assert_eq!(nowhere.run(&["no-such-command"]).await.code, 2);
}

#[tokio::test]
async fn doctor_finds_a_healthy_server_healthy() {
    let server = Server::start();
    let cli = Cli {
        url: server.url(),
        key: crate::harness::ADMIN_KEY.to_owned(),
        tenant: None,
        data_dir: Some(server.data_dir()),
    };
    let found = cli.run(&["doctor", "--json"]).await.json();
    let text = found.to_string();
    assert!(text.contains("is ready") && !text.contains("problem"), "{found:#}");
}

#[tokio::test]
async fn events_are_exported_erased_and_replayed_only_when_that_is_meant() {
    let home = home().await;
    let cli = cli(&home).await;
    let first = home.event("arch.a", json!({"email": "ada@example.com"})).await;
    let second = home.event("arch.b", json!({"email": "bob@example.com"})).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.ndjson");
    let exported = |text: &str| -> Vec<String> {
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["event_id"].as_str().unwrap().to_owned();
        text.lines().map(id).collect()
    };
    cli.run(&["events", "export", "--type", "arch.a", "--output", file.to_str().unwrap()]).await.ok();
    cli.run(&["event", "export", "--after", &first, "-o", file.to_str().unwrap()]).await.ok();
    assert_eq!(exported(&std::fs::read_to_string(&file).unwrap()), [first.clone(), second.clone()]);
    assert_eq!(exported(&cli.run(&["events", "export"]).await.ok()), [first.clone(), second.clone()]);

    let named = ["events", "erase", "--path", "$.email", "--value", "ada@example.com"];
    let refused = cli.run(&named).await;
    assert!(
        refused.code == 1 && refused.stderr.contains("1 events") && refused.stderr.contains("--yes"),
        "{refused:#?}"
    );
    assert!(cli.run(&[&named[..], &["--dry-run"]].concat()).await.ok().contains("would erase what 1 events say"));
    assert_eq!(home.detail(&first).await["payload"]["email"], "ada@example.com");
    assert!(cli.run(&[&named[..], &["--yes"]].concat()).await.ok().contains("Erased what 1 events say"));
    assert_eq!(home.detail(&first).await["payload"], Value::Null);

    home.trigger(on("late", "arch.b", json!([{"name": "n", "type": "log.info", "config": {"message": "m"}}]))).await;
    let told = cli.run(&["replay", "--type", "arch.b", "--dry-run"]).await.ok();
    assert!(told.contains("1 runs of 1 events") && told.contains("late n [log.info]"), "{told}");
    let refused = cli.run(&["replay", "--type", "arch.b"]).await;
    assert!(refused.code == 1 && refused.stderr.contains("1 runs of 1 events"), "{refused:#?}");
    assert_eq!(home.detail(&second).await["status"], "unmatched");
}
