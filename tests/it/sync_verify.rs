//! Comparing everything: whoever asks is told how far it is.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::sql_server::Database;
use crate::harness::{ADMIN_KEY, Home, Receiver, Reply, home};

const ROWS: u64 = 5000;

/// Two tables of one database with as many rows, three of which are not the same.
async fn two_tables(home: &Home, db: &Database) {
    db.run(&format!(
        "CREATE TABLE items (id int PRIMARY KEY, name text); CREATE TABLE copies (id int PRIMARY KEY, name text); \
         INSERT INTO items SELECT n, 'row ' || n FROM generate_series(1, {ROWS}) AS n; INSERT INTO copies TABLE items; \
         UPDATE copies SET name = 'another' WHERE id IN (1, 2); DELETE FROM copies WHERE id = 3"
    ))
    .await;
    home.resource("databases", "a", db.settings()).await;
    let settings =
        json!({"source": {"database": "a", "table": "items"}, "target": {"database": "a", "table": "copies"}});
    home.resource("syncs", "items", settings).await;
}

#[tokio::test]
async fn progress_is_told_line_by_line_and_the_report_last() {
    let (home, db) = (home().await, Database::postgres().await);
    two_tables(&home, &db).await;
    let post = home.request(reqwest::Method::POST, "/api/v1/syncs/items/verify");
    let answer = home.send(post.header("accept", "application/x-ndjson")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, progress) = lines.split_last().unwrap();
    let report = &report["report"];
    assert_eq!(
        (&report["compared"], &report["differing"], &report["only_source"]),
        (&json!(ROWS), &json!(2), &json!(1)),
        "{report:#}"
    );
    assert_eq!(report["examples"].as_array().unwrap().len(), 3);
    let compared: Vec<u64> = progress.iter().map(|line| line["progress"]["compared"].as_u64().unwrap()).collect();
    assert!(compared.len() > 5 && compared.is_sorted() && compared[0] < ROWS, "{compared:?}");
    assert!(progress[0]["progress"].get("examples").is_none());
    // What is wrong from the start is a problem as ever; what goes wrong later is the last line.
    home.patch("/api/v1/syncs/items", json!({"columns": ["id", "nothing"]})).await.expect(200);
    let post = home.request(reqwest::Method::POST, "/api/v1/syncs/items/verify");
    home.send(post.header("accept", "application/x-ndjson")).await.problem(409);
}

#[tokio::test]
async fn the_command_shows_how_far_it_is_at_a_terminal_alone() {
    let (home, db) = (home().await, Database::postgres().await);
    two_tables(&home, &db).await;
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("TRIGGERD_URL", home.server().url()).env("TRIGGERD_KEY", ADMIN_KEY);
        command.env("TRIGGERD_TENANT", &home.tenant).env("TERM", "xterm");
        command
    };
    let binary = env!("CARGO_BIN_EXE_triggerd");
    // `script` gives it a terminal.
    let line = format!("{binary} sync verify items");
    let mut terminal = run("script", &["--quiet", "--return", "--command", &line, "/dev/null"]);
    let mut piped = run(binary, &["sync", "verify", "items"]);
    let ran = tokio::task::spawn_blocking(move || (terminal.output().unwrap(), piped.output().unwrap()));
    let (terminal, piped) = ran.await.unwrap();
    let (shown, plain) = (String::from_utf8_lossy(&terminal.stdout), String::from_utf8_lossy(&piped.stdout));
    let report = format!("{ROWS} compared: {} same, 2 differing, 1 only in the source", ROWS - 3);
    assert!(shown.contains("rows compared") && shown.contains(&report), "{shown}");
    assert!(plain.starts_with(&report) && piped.stderr.is_empty(), "{piped:?}");
    assert_eq!((terminal.status.code(), piped.status.code()), (Some(1), Some(1)));
}

#[tokio::test]
async fn an_api_that_does_not_answer_keeps_no_comparison_waiting_and_is_named() {
    let (home, db, receiver) = (home().await, Database::postgres().await, Receiver::start().await);
    // There before the sync is, and told of by nobody.
    db.run("CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1), (2)").await;
    receiver.script("/rows/1", [Reply::Hang]);
    home.resource("databases", "a", db.settings()).await;
    let http = json!({"url": format!("{}/{{{{record.id}}}}", receiver.url("/rows"))});
    home.resource("syncs", "items", json!({"source": {"database": "a", "table": "items"}, "target": {"http": http}}))
        .await;
    let verified = home.post("/api/v1/syncs/items/verify?repair=true", json!({})).await.expect(200);
    let counts = ["only_source", "repaired", "failed"].map(|name| verified[name].clone());
    assert_eq!(counts, [json!(2), json!(1), json!(1)], "{verified:#}");
    let failed = verified["examples"].as_array().unwrap().iter().find(|row| row["error"].is_string()).unwrap();
    assert_eq!((&failed["key"], failed["error"].as_str().unwrap().contains("in time")), (&json!(r#"["1"]"#), true));
}
