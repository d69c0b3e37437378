//! What captured rows look like: every type has a documented form, and no value keeps a writer or another table from going on.

use serde_json::{Map, Value, json};

use crate::harness::sql_server::{Database, Engine};
use crate::harness::{Home, database, eventually, home};

/// Captures `kinds` and `other`, writes a row into each, and gives what was told of the first and its metadata, by the capture
/// and by a backfill.
async fn told(home: &Home, db: &Database, capture: Value, insert: &str) -> [(Value, Value); 2] {
    let mut settings = db.settings();
    settings["capture"] = capture;
    home.resource("databases", "shop", settings).await;
    let definition = json!({
        "tag": "t", "database": "shop", "tables": ["kinds", "other"], "events": ["afterInsert"],
        "actions": [{"type": "log.debug", "config": {"message": "{{record}}"}}],
    });
    let answer = home.put("/api/v1/triggers/t", definition).await;
    assert!(answer.header("triggerd-capture").is_empty(), "{}", answer.header("triggerd-capture"));
    answer.expect(201);
    db.run(insert).await;
    db.run("INSERT INTO other VALUES (1)").await;
    let live = events(home, 2).await;
    assert!(live.iter().any(|event| event["table"] == "other"), "another table is not harmed: {live:#?}");
    home.post("/api/v1/triggers/t/backfill", json!({"again": true})).await.expect(202);
    let all = events(home, 4).await;
    let of_kinds = |events: &[Value]| {
        let found = events.iter().find(|event| event["table"] == "kinds").unwrap_or_else(|| panic!("{events:#?}"));
        (found["record"].clone(), found["metadata"].clone())
    };
    [of_kinds(&live), of_kinds(&all[2..])]
}

/// The events, oldest first.
async fn events(home: &Home, count: usize) -> Vec<Value> {
    let ids = eventually(|| async {
        let inbox = home.get("/api/v1/inbox?source=databases/shop").await.expect(200);
        let ids: Vec<Value> =
            inbox["events"].as_array().unwrap().iter().map(|event| event["event_id"].clone()).collect();
        if ids.len() == count { Ok(ids) } else { Err(format!("{inbox:#}")) }
    })
    .await;
    let mut events = Vec::new();
    for id in ids.iter().rev() {
        let detail = home.detail(id.as_str().unwrap()).await;
        let payload = &detail["payload"];
        events.push(json!({"table": payload["table"], "record": payload["record"], "metadata": detail["metadata"]}));
    }
    events
}

fn assert_forms(told: &[(Value, Value); 2], forms: &[(&str, Value)]) {
    let wanted: Map<String, Value> = forms.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    for (way, (record, _)) in ["the capture", "a backfill"].iter().zip(told) {
        for (name, value) in &wanted {
            assert_eq!(&record[name], value, "{way}: column {name} of {record:#}");
        }
    }
}

#[tokio::test]
async fn every_type_of_postgres_has_a_form_by_outbox_and_from_the_log() {
    for from in ["outbox", "log"] {
        let home = home().await;
        let db = Database::postgres_with_log(&[]).await;
        db.run(
            "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TYPE pair AS (x int, y text); CREATE TABLE other (id int PRIMARY KEY); \
             CREATE TABLE kinds (id int PRIMARY KEY, nan float8, inf float4, nnan numeric, big numeric, bytes bytea, span int4range, \
             spans int4multirange, p pair, ints int[], texts text[], iv interval, cash money, x xml, e mood, pt point, bx box, \
             u uuid, ip inet, bits bit(3), ts timestamp, tstz timestamptz, d date, j json, jb jsonb, twice json)",
        )
        .await;
        let insert = r#"INSERT INTO kinds VALUES (1, 'NaN', '-Infinity', 'NaN', 12345678901234567890.120, '\x00ff', '[1,5)', '{[1,2),[5,7)}',
            ROW(1, 'a'), '{{1,2},{3,NULL}}', '{a,"b c"}', '1 day 02:03:04', 12.34, '<a>b</a>', 'glad', '(1.5,2)', '(1,1),(0,0)',
            'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.0.0.1/8', B'101', '2026-01-31 10:00:00', '2026-01-31 10:00:00+02', 'infinity',
            '{"a": 0.10}', '{"b": 1}', '{"a": 1, "a": 2}')"#;
        let told = told(&home, &db, json!({"from": from}), insert).await;
        assert_forms(
            &told,
            &[
                ("nan", json!("NaN")),
                ("inf", json!("-Infinity")),
                ("nnan", json!("NaN")),
                ("bytes", json!("AP8=")),
                ("span", json!("[1,5)")),
                ("spans", json!("{[1,2),[5,7)}")),
                ("p", json!({"x": 1, "y": "a"})),
                ("ints", json!([[1, 2], [3, null]])),
                ("texts", json!(["a", "b c"])),
                ("iv", json!("P1DT2H3M4S")),
                ("cash", json!("$12.34")),
                ("x", json!("<a>b</a>")),
                ("e", json!("glad")),
                ("pt", json!("(1.5,2)")),
                ("bx", json!("(1,1),(0,0)")),
                ("u", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
                ("ip", json!("10.0.0.1/8")),
                ("bits", json!("101")),
                ("ts", json!("2026-01-31T10:00:00")),
                ("tstz", json!("2026-01-31T08:00:00+00:00")),
                ("d", json!("infinity")),
                ("jb", json!({"b": 1})),
                ("twice", json!(r#"{"a": 1, "a": 2}"#)),
            ],
        );
        for (record, metadata) in &told {
            assert_eq!(record["big"].to_string(), "12345678901234567890.120", "{from}");
            let why = metadata["unreadColumns"]["twice"].as_str().unwrap();
            assert!(why.contains("stands here twice") && why.contains("jsonb"), "{from}: {why}");
        }
    }
}

#[tokio::test]
async fn every_type_of_mariadb_has_a_form_and_fails_no_writer() {
    let home = home().await;
    let db = database(&home, Engine::MariaDb).await;
    db.run(
        "CREATE TABLE other (id INTEGER PRIMARY KEY); CREATE TABLE kinds (id INTEGER PRIMARY KEY, bits BIT(10), shape GEOMETRY, bytes VARBINARY(10), \
         blobs BLOB, y YEAR, choices SET('a', 'b', 'c'), choice ENUM('x', 'y'), t TIME(3), zero DATE, zerots DATETIME, ts TIMESTAMP(6) NULL, \
         dt DATETIME(3), yes BOOLEAN, big BIGINT UNSIGNED, price DECIMAL(30,10), f DOUBLE, j JSON, twice JSON, latin VARCHAR(10) CHARACTER SET latin1, \
         u UUID, ip INET6)",
    )
    .await;
    let insert = "SET SESSION sql_mode = ''; SET time_zone = '+00:00'; INSERT INTO kinds VALUES (1, b'1000000001', ST_GeomFromText('POINT(1 2)'), X'00FF', X'FFFE', 2026, \
        'a,c', 'y', '-100:00:01.5', '0000-00-00', '0000-00-00 00:00:00', '2026-01-31 10:00:00.123456', '2026-01-31 10:00:00.5', 1, 18446744073709551615, \
        12345678901234567890.1200000000, 1.5e300, '{\"a\": 0.10}', '{\"a\": 1, \"a\": 2}', 'é', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '::1')";
    let told = told(&home, &db, json!({}), insert).await;
    assert_forms(
        &told,
        &[
            ("bits", json!(513)),
            ("shape", json!("POINT(1 2)")),
            ("bytes", json!("AP8=")),
            ("blobs", json!("//4=")),
            ("y", json!(2026)),
            ("choices", json!("a,c")),
            ("choice", json!("y")),
            ("t", json!("-100:00:01.500")),
            ("zero", json!("0000-00-00")),
            ("zerots", json!("0000-00-00T00:00:00.000000Z")),
            ("ts", json!("2026-01-31T10:00:00.123456Z")),
            ("dt", json!("2026-01-31T10:00:00.500000Z")),
            ("yes", json!(true)),
            ("twice", json!(r#"{"a": 1, "a": 2}"#)),
            ("latin", json!("é")),
            ("u", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
            ("ip", json!("::1")),
        ],
    );
    for (record, metadata) in &told {
        assert_eq!(record["big"].to_string(), "18446744073709551615");
        assert_eq!(record["price"].to_string(), "12345678901234567890.1200000000");
        assert_eq!(record["f"].as_f64(), Some(1.5e300));
        assert!(metadata["unreadColumns"]["twice"].is_string(), "{metadata:#}");
    }
}

#[tokio::test]
async fn every_type_of_sqlite_has_a_form_and_fails_no_writer() {
    let home = home().await;
    let db = database(&home, Engine::Sqlite).await;
    db.run(
        "CREATE TABLE other (id INTEGER PRIMARY KEY); CREATE TABLE kinds (id INTEGER PRIMARY KEY, blobs BLOB, inf REAL, neg, big INTEGER, f REAL, \
         yes BOOLEAN, j JSON, twice JSON, none, odd, text_in_int INTEGER)",
    )
    .await;
    let insert = "INSERT INTO kinds VALUES (1, X'00FF', 9e999, -9e999, 9223372036854775807, 0.1, 1, '{\"a\": 1}', '{\"a\": 1, \"a\": 2}', NULL, \
        X'FF', 'abc')";
    let told = told(&home, &db, json!({}), insert).await;
    assert_forms(
        &told,
        &[
            ("blobs", json!("AP8=")),
            ("inf", json!("Infinity")),
            ("neg", json!("-Infinity")),
            ("big", json!(9_223_372_036_854_775_807_i64)),
            ("f", json!(0.1)),
            ("yes", json!(true)),
            ("j", json!({"a": 1})),
            ("twice", json!(r#"{"a":1,"a":2}"#)),
            ("none", json!(null)),
            ("odd", json!("/w==")),
            ("text_in_int", json!("abc")),
        ],
    );
    assert!(told[0].1["unreadColumns"]["twice"].is_string(), "{:#}", told[0].1);
}
