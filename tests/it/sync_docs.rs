//! The examples of docs/sync.md: the first one is run as it is written, the settings that are shown are taken.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Server, Settings, home};

const DOCS: &str = include_str!("../../docs/sync.md");

/// The blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    DOCS.split(&*opening).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The lines of a block as a script: what stands behind a `#` is waited for, and a server elsewhere is meant.
fn script(block: &str, url: &str) -> String {
    let mut script = String::from(
        "set -eu\nbecomes() {\n  want=$1; shift; tries=0\n  while got=$(\"$@\"); [ \"$got\" != \"$want\" ]; do\n    \
         tries=$((tries + 1)); [ $tries -lt 400 ] || { echo \"$*: $got, wanted $want\" >&2; exit 1; }\n    sleep 0.1\n  done\n}\n",
    );
    for line in block.lines() {
        match line.split_once("  # ") {
            Some((command, wanted)) => writeln!(script, "becomes '{}' {}", wanted.trim(), command.trim()).unwrap(),
            None => writeln!(script, "{line}").unwrap(),
        }
    }
    script.replace("localhost:8080", url.trim_start_matches("http://"))
}

#[tokio::test]
async fn the_first_example_does_what_it_says() {
    let server = Server::with(Settings::default().set("RATE_LIMIT", "0"));
    let block = blocks("sh").into_iter().find(|block| block.contains("/api/v1/syncs/items")).unwrap();
    let place = server.data_dir().parent().unwrap().to_owned();
    let programs = place.join("bin");
    std::fs::create_dir(&programs).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_triggerd"), programs.join("triggerd")).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &script(block, &server.url())]).current_dir(place).env_clear().env("PATH", path);
    shell.env("KEY", ADMIN_KEY).env("TRIGGERD_KEY", ADMIN_KEY).env("TRIGGERD_URL", server.url());
    let ran = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("\"problems\": []") && said.contains("\"rows\": 1"), "{said}");
}

#[tokio::test]
async fn every_settings_that_are_shown_are_taken() {
    let home = home().await;
    let shown = blocks("json");
    for block in &shown {
        let part: Value = serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"));
        let mut settings =
            json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"}});
        settings.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        let answer = home.put("/api/v1/syncs/shown", settings).await;
        assert!(answer.status < 300, "{block}: {answer:#?}");
    }
    // Whoever adds an example adds it here: one in another language would not be tried.
    assert_eq!((shown.len(), DOCS.matches("```json").count()), (3, 3));
}
