//! Which changes come, and what they say.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use triggerd::sources::Change;
use triggerd::sources::wal::WantedTable;
use triggerd_core::event::Operation;

use super::{Place, all_of, parts, read, read_only, records, say};

#[tokio::test]
async fn what_is_rolled_back_never_comes_and_what_commits_comes_in_order() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE other (id int PRIMARY KEY)").await;
    let mut stream = place.open(&["t"]).await;
    assert!(stream.is_new() && stream.problems().is_empty());
    for sql in [
        "BEGIN; INSERT INTO t VALUES (1, 'a'); ROLLBACK",
        "BEGIN; INSERT INTO t VALUES (2, 'a'); SAVEPOINT s; INSERT INTO t VALUES (3, 'a'); ROLLBACK TO s; \
         INSERT INTO t VALUES (4, 'a'); SAVEPOINT s; UPDATE t SET v = 'b' WHERE id = 2; RELEASE s; COMMIT",
        "INSERT INTO other VALUES (1)",
        "BEGIN; UPDATE t SET id = 5 WHERE id = 4; DELETE FROM t WHERE id = 2; COMMIT",
        "TRUNCATE t, other",
    ] {
        say(&mut client, sql).await;
    }
    let changes = read(&mut stream, 6).await;
    let null = Value::Null;
    let (two, four) = (json!({"id": 2, "v": "a"}), json!({"id": 4, "v": "a"}));
    let wanted = [
        (Operation::Insert, &two, &null),
        (Operation::Insert, &four, &null),
        (Operation::Update, &json!({"id": 2, "v": "b"}), &json!({"id": 2})),
        (Operation::Update, &json!({"id": 5, "v": "a"}), &json!({"id": 4})),
        (Operation::Delete, &null, &json!({"id": 2})),
        (Operation::Truncate, &null, &null),
    ];
    assert_eq!(changes.iter().map(parts).collect::<Vec<_>>(), wanted);
    assert_eq!(changes[0].transaction, changes[2].transaction);
    assert_ne!(changes[2].transaction, changes[3].transaction);
    assert!((jiff::Timestamp::now() - changes[0].at).get_seconds() < 60, "{}", changes[0].at);
}

#[tokio::test]
async fn only_the_operations_that_are_wanted_come_and_schemas_are_named_as_they_are_wanted() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY)")
        .await;
    let inserts = WantedTable { schema: Some("s".into()), name: "t".into(), insert: true, ..WantedTable::default() };
    let deletes = WantedTable { name: "t".into(), delete: true, ..WantedTable::default() };
    let mut stream = place.try_open(&[inserts, deletes]).await.unwrap();
    for table in ["s.t", "t"] {
        say(&mut client, &format!("INSERT INTO {table} VALUES (1); UPDATE {table} SET id = 2; DELETE FROM {table}"))
            .await;
    }
    let changes = read(&mut stream, 2).await;
    let named: Vec<_> = changes
        .iter()
        .map(|change| match &change.change {
            Change::Row { operation, schema, table, .. } => (*operation, schema.as_deref(), table.as_str()),
            Change::Event { .. } => panic!(),
        })
        .collect();
    assert_eq!(named, [(Operation::Insert, Some("s"), "t"), (Operation::Delete, None, "t")]);
}

#[tokio::test]
async fn whole_old_rows_and_large_values_come_where_the_table_logs_them() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(
        &mut client,
        "CREATE TABLE t (id int PRIMARY KEY, v int, body text); CREATE TABLE f (id int, v int, body text); \
         ALTER TABLE t ALTER body SET STORAGE EXTERNAL; ALTER TABLE f ALTER body SET STORAGE EXTERNAL; \
         ALTER TABLE f REPLICA IDENTITY FULL",
    )
    .await;
    let mut stream = place.open(&["t", "f"]).await;
    for table in ["t", "f"] {
        say(&mut client, &format!("INSERT INTO {table} VALUES (1, 1, repeat('x', 10000))")).await;
        say(&mut client, &format!("UPDATE {table} SET v = 2")).await;
        say(&mut client, &format!("DELETE FROM {table}")).await;
    }
    let changes = read(&mut stream, 6).await;
    let long = "x".repeat(10_000);
    let whole = |v: i32| json!({"id": 1, "v": v, "body": long});
    let wanted = [
        (&whole(1), &Value::Null),
        (&json!({"id": 1, "v": 2}), &json!({"id": 1})),
        (&Value::Null, &json!({"id": 1})),
        (&whole(1), &Value::Null),
        (&whole(2), &whole(1)),
        (&Value::Null, &whole(2)),
    ];
    for (change, (record, previous)) in changes.iter().zip(wanted) {
        assert!(parts(change).1 == record && parts(change).2 == previous, "{change:?}");
    }
    let unchanged: Vec<_> = changes.iter().map(|change| change.context.get("unchangedColumns").cloned()).collect();
    assert_eq!(unchanged, [None, Some(json!(["body"])), None, None, None, None]);
}

#[tokio::test]
async fn changes_of_partitions_are_changes_of_their_table() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(
        &mut client,
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
    )
    .await;
    let mut stream = place.open(&["t"]).await;
    say(&mut client, "INSERT INTO t1 VALUES (1)").await;
    say(&mut client, "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20)").await;
    say(&mut client, "INSERT INTO t VALUES (11); UPDATE t SET id = 12 WHERE id = 11").await;
    let changes = read(&mut stream, 3).await;
    assert_eq!(records(&changes), [json!({"id": 1}), json!({"id": 11}), json!({"id": 12})]);
    assert!(changes.iter().all(|change| matches!(&change.change, Change::Row { table, .. } if table == "t")));
}

#[tokio::test]
async fn a_table_may_change_while_it_is_read() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY, a text)").await;
    let mut stream = place.open(&["t"]).await;
    for (sql, id) in [
        ("", 1),
        ("ALTER TABLE t ADD b numeric DEFAULT 1.50", 2),
        ("CREATE TYPE mood AS ENUM ('sad'); ALTER TABLE t ADD m mood[] DEFAULT '{sad}'", 3),
        ("ALTER TABLE t RENAME a TO c", 4),
        ("ALTER TABLE t DROP b", 5),
        ("ALTER TABLE t ALTER c TYPE int USING 7", 6),
    ] {
        say(&mut client, sql).await;
        say(&mut client, &format!("INSERT INTO t (id) VALUES ({id}); UPDATE t SET id = id WHERE id = {id}")).await;
        if id == 3 {
            // Read in between, and otherwise long after.
            assert_eq!(read_only(&mut stream, 6).await.len(), 6);
        }
    }
    let later = records(&read(&mut stream, 6).await);
    let wanted = [
        crate::databases::exact(r#"{"id": 4, "c": null, "b": 1.50, "m": ["sad"]}"#),
        json!({"id": 5, "c": null, "m": ["sad"]}),
        json!({"id": 6, "c": null, "m": ["sad"]}),
    ];
    for (pair, wanted) in later.chunks(2).zip(wanted) {
        assert_eq!(pair, [wanted.clone(), wanted]);
    }
}

#[tokio::test]
async fn applications_say_who_and_why_and_send_events_of_their_own() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut stream = place.open(&["t"]).await;
    let message = |prefix: &str, text: &str| format!("SELECT pg_logical_emit_message(true, '{prefix}', '{text}')");
    let said = message("triggerd", r#"{"user": {"id": 7}, "context": {"page": "checkout"}, "origin": "crm"}"#);
    let event = message("triggerd.event", r#"{"type": "order.paid", "payload": {"total": 1.50}}"#);
    say(&mut client, &format!("BEGIN; INSERT INTO t VALUES (1); {said}; INSERT INTO t VALUES (2); {event}; COMMIT"))
        .await;
    say(&mut client, "INSERT INTO t VALUES (3)").await;
    let hush = message("triggerd", r#"{"suppress": true}"#);
    say(&mut client, &format!("BEGIN; {hush}; INSERT INTO t VALUES (4); {event}; COMMIT")).await;
    say(&mut client, &format!("BEGIN; {event}; ROLLBACK")).await;
    say(&mut client, &format!("BEGIN; {}; INSERT INTO t VALUES (5); COMMIT", message("somebody.else", "x"))).await;
    let changes = read(&mut stream, 5).await;
    assert_eq!([&changes[0].user, &changes[3].user], [&Value::Null, &Value::Null]);
    for change in &changes[1..3] {
        assert_eq!((&change.user, change.origin.as_deref()), (&json!({"id": 7}), Some("crm")));
        assert_eq!(change.context["page"], "checkout");
        assert_eq!(change.transaction, changes[0].transaction);
    }
    let payload = crate::databases::exact(r#"{"total": 1.50}"#);
    assert_eq!(changes[2].change, Change::Event { event_type: "order.paid".into(), payload });
    assert_eq!(*parts(&changes[4]).1, json!({"id": 5}));
    say(&mut client, &format!("BEGIN; {}; COMMIT", message("triggerd.event", "no JSON"))).await;
    let refused = stream.next(10, Duration::from_secs(2)).await.unwrap().refused;
    assert!(refused.len() == 1 && refused[0].contains("triggerd.event"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_64_writers_is_lost_and_each_key_keeps_its_order() {
    const WRITERS: usize = 64;
    const EACH: usize = 20;
    const KEYS: usize = 8;
    let place = Place::with(&["max_connections=100"]).await;
    let mut client = place.client().await;
    say(
        &mut client,
        &format!(
            "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, {KEYS}) i"
        ),
    )
    .await;
    let mut stream = place.open(&["t"]).await;
    let writer = |number: usize| {
        let url = place.db.url();
        async move {
            let mut client = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
            for turn in 0..EACH {
                let id = (number * 7 + turn * 3) % KEYS + 1;
                say(&mut client, &format!("BEGIN; UPDATE t SET n = n + 1 WHERE id = {id}")).await;
                tokio::time::sleep(Duration::from_millis((number * turn % 5) as u64)).await;
                say(&mut client, if turn % 10 == 9 { "ROLLBACK" } else { "COMMIT" }).await;
                tokio::time::sleep(Duration::from_millis((number % 3) as u64)).await;
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|number| tokio::spawn(writer(number))).collect();
    let changes = read_only(&mut stream, WRITERS * EACH * 9 / 10).await;
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(stream.next(10, Duration::from_millis(200)).await.unwrap().changes.is_empty());
    let mut last = HashMap::<i64, i64>::new();
    for (_, record, _) in changes.iter().map(parts) {
        let last = last.entry(record["id"].as_i64().unwrap()).or_default();
        assert_eq!(record["n"].as_i64().unwrap(), *last + 1, "{record}");
        *last += 1;
    }
    let sum: i64 = last.values().sum();
    assert_eq!(place.db.text("sum(n)", "FROM t").await.unwrap(), sum.to_string());
    let keys: std::collections::HashSet<_> = changes.iter().map(|change| &change.key).collect();
    assert_eq!(keys.len(), changes.len());
}

#[tokio::test]
async fn tables_are_added_and_left_out_by_opening_anew() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)").await;
    drop(place.open(&["a"]).await);
    say(&mut client, "INSERT INTO a VALUES (1); INSERT INTO b VALUES (2)").await;
    let mut stream = place.try_open(&[all_of("b")]).await.unwrap();
    assert!(!stream.is_new());
    say(&mut client, "INSERT INTO a VALUES (3)").await;
    say(&mut client, "INSERT INTO b VALUES (4)").await;
    assert_eq!(records(&read(&mut stream, 1).await), [json!({"id": 4})]);
    drop(stream);
    let mut stream = place.open(&[]).await;
    say(&mut client, "INSERT INTO b VALUES (5)").await;
    assert!(stream.next(10, Duration::from_millis(300)).await.unwrap().changes.is_empty());
}
