//! The alert rules that are shipped: Prometheus takes them, and they fire when they say and at no other time.

use std::path::PathBuf;
use std::process::Command;

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
