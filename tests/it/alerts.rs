//! What is shipped for operators: alert rules that Prometheus takes, and that fire when they say and at no other time; a dashboard; a
//! unit for systemd. They name metrics and settings that there are.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Server, call, eventually, home, on};
use crate::sync::{TABLE, file};
use crate::tls::Authority;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus");
/// Where `cargo xtask test` puts it on machines without Prometheus.
const PREPARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.toolchain/prometheus/promtool");

/// Files of that ending beside the rules, by name.
fn files(ending: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(RULES).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = all.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    found.sort();
    found
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let prepared = PathBuf::from(PREPARED);
    let mut command = Command::new(if prepared.exists() { prepared } else { "promtool".into() });
    command.args(arguments).args(files);
    let ran = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; `cargo xtask test` fetches it"));
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{command:?}: {said}");
}

#[test]
fn prometheus_takes_every_rule_and_each_alert_fires_when_it_says() {
    let (rules, tests) = (files(".rules.yml"), files(".test.yml"));
    assert!(!rules.is_empty());
    let name = |path: &PathBuf, ending: &str| path.to_string_lossy().trim_end_matches(ending).to_owned();
    let tested: Vec<String> = tests.iter().map(|path| name(path, ".test.yml")).collect();
    for path in &rules {
        assert!(tested.contains(&name(path, ".rules.yml")), "{} has no test beside it", path.display());
    }
    promtool(&["check", "rules"], &rules);
    promtool(&["test", "rules"], &tests);
}

/// The metrics of `text`, by the names that its `# TYPE` lines give them.
fn told(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The metrics that queries name, as they are told of: a histogram's parts count as the histogram.
fn named(queries: &str) -> BTreeSet<String> {
    let names = queries.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = names.filter(|name| name.starts_with("triggerd_") || name.starts_with("process_"));
    let whole = |name: &str| {
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        part.unwrap_or(name).to_owned()
    };
    ours.map(whole).collect()
}

/// Every text under a key `expr` or `query`.
fn queries(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value.as_str() {
                Some(text) if key == "expr" || key == "query" => vec![text.to_owned()],
                _ => queries(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(queries).collect(),
        _ => Vec::new(),
    }
}

/// What a server tells that has done a little of everything.
async fn told_by_a_busy_server() -> BTreeSet<String> {
    let home = home().await;
    // A dead letter.
    let mut dead = call("c", "http://10.255.255.1/");
    dead["retry"] = json!({"maxAttempts": 1});
    home.trigger(on("dead", "dead", json!([dead]))).await;
    assert_eq!(home.event_ended("dead", json!({})).await["status"], "failed");
    // A sync, which captures both of its tables.
    let (a, b) = (file(&home), file(&home));
    a.run(TABLE).await;
    b.run(TABLE).await;
    home.resource("databases", "a", a.settings()).await;
    home.resource("databases", "b", b.settings()).await;
    let sides = json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"}});
    home.resource("syncs", "items", sides).await;
    a.run("INSERT INTO items VALUES (1, 'one', 1, NULL)").await;
    eventually(|| async {
        let found = told(&home.get("/metrics").await.text);
        let wanted = ["triggerd_sync_lag_seconds", "triggerd_capture_lag_seconds", "triggerd_claim_duration_seconds"];
        if wanted.iter().all(|name| found.contains(*name)) { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

#[tokio::test]
async fn rules_and_dashboard_name_metrics_that_the_server_tells() {
    let mut found = told_by_a_busy_server().await;
    let authority = Authority::new();
    authority.issue(2100);
    let server: Server = authority.server().await;
    let client = authority.client(reqwest::Client::builder());
    let url = format!("{}/metrics", server.url().replace("http://", "https://"));
    found.append(&mut told(&client.get(url).send().await.unwrap().text().await.unwrap()));

    let text = std::fs::read_to_string(format!("{DEPLOY}/grafana/triggerd.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut wanted = named(&queries(&dashboard).join("\n"));
    assert!(wanted.len() > 20, "{wanted:?}");
    for path in files(".rules.yml") {
        let text = std::fs::read_to_string(path).unwrap();
        // The annotations name none.
        wanted.append(&mut named(&text));
    }
    let absent: Vec<&String> = wanted.difference(&found).collect();
    assert!(absent.is_empty(), "{absent:?} are told by no server: {found:#?}");
    let manual = std::fs::read_to_string(format!("{DEPLOY}/../docs/operations.md")).unwrap();
    let unknown: Vec<&String> = found.iter().filter(|name| !manual.contains(&format!("`{name}`"))).collect();
    assert!(unknown.is_empty(), "docs/operations.md does not tell of {unknown:?}");
}

#[test]
fn the_unit_sets_what_there_is_to_be_set() {
    let unit = std::fs::read_to_string(format!("{DEPLOY}/systemd/triggerd.service")).unwrap();
    let variables: Vec<&str> = unit
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("TRIGGERD_") && *word != "TRIGGERD_")
        .collect();
    assert!(variables.len() > 3, "{variables:?}");
    let known: Vec<String> = triggerd::config::KEYS.iter().map(|key| triggerd::config::variable_of(key)).collect();
    for variable in variables {
        assert!(known.iter().any(|known| known == variable), "{variable} is no setting");
    }
    // The rest is systemd's to say, where it is there.
    let found = Command::new("systemd-analyze").arg("--version").output();
    if found.is_ok_and(|ran| ran.status.success()) {
        let path = format!("{DEPLOY}/systemd/triggerd.service");
        let ran = Command::new("systemd-analyze").args(["security", "--offline=yes", "--threshold=25", &path]).output();
        let ran = ran.unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{said}");
        assert!(!said.contains("Unknown") && !said.contains("Failed to parse"), "{said}");
    }
}
