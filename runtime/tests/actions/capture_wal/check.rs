//! What is in the way is said, with what to do; nothing is captured at the application's cost.

use triggerd::connections::sql::Session;
use triggerd::sources::wal::{self, Names, Problem, Wanted, WantedTable};

use super::{Place, all_of, say};
use crate::harness::sql_server::Database;

async fn problems(session: &mut Session, names: &Names, wanted: &[WantedTable]) -> Vec<Problem> {
    wal::check(session, names, &Wanted { tables: wanted.to_vec() }).await.unwrap()
}

#[track_caller]
fn only(problems: &[Problem], stops: bool, part: &str) {
    assert!(problems.len() == 1 && problems[0].stops == stops && problems[0].sentence.contains(part), "{problems:?}");
}

#[tokio::test]
async fn tables_that_cannot_be_captured_are_left_out_and_stay_writable() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(
        &mut client,
        "CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE bare (id int); CREATE UNLOGGED TABLE hasty (id int PRIMARY KEY); \
         CREATE VIEW seen AS SELECT 1 AS id; CREATE TABLE parted (id int) PARTITION BY RANGE (id); \
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10); ALTER TABLE part REPLICA IDENTITY FULL; \
         CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING; \
         CREATE TABLE indexed (id int NOT NULL UNIQUE); ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_id_key",
    )
    .await;
    let mut session = place.session().await;
    for (table, part) in [
        (
            "bare",
            "updates and deletes are not captured: give it a primary key, or `ALTER TABLE \"public\".\"bare\" REPLICA IDENTITY FULL`",
        ),
        ("nothing", "no replica identity"),
        ("parted", "give it a primary key"),
        ("hasty", "ALTER TABLE \"public\".\"hasty\" SET LOGGED"),
        ("seen", "a view"),
        ("missing", "there is no table `missing`"),
    ] {
        only(&problems(&mut session, &place.names, &[all_of(table)]).await, false, part);
    }
    let inserts = WantedTable { name: "bare".into(), insert: true, truncate: true, ..WantedTable::default() };
    assert!(problems(&mut session, &place.names, &[all_of("good"), all_of("indexed"), inserts]).await.is_empty());

    let mut stream = place.open(&["good", "bare", "nothing", "parted", "hasty", "seen", "missing"]).await;
    assert_eq!(stream.problems().len(), 6);
    for table in ["good", "bare", "nothing", "parted", "hasty"] {
        say(&mut client, &format!("INSERT INTO {table} VALUES (1); UPDATE {table} SET id = 2; DELETE FROM {table}"))
            .await;
    }
    let changes = super::read(&mut stream, 6).await;
    let events: Vec<_> = changes.iter().map(|change| super::parts(change).0.as_str()).collect();
    assert_eq!(events, ["insert", "update", "delete", "insert", "insert", "insert"]);

    // A key that goes: writers fail until the stream is opened again, and the next check says so.
    drop(stream);
    say(&mut client, "ALTER TABLE bare REPLICA IDENTITY FULL").await;
    drop(place.open(&["bare"]).await);
    assert_eq!(place.db.count("pg_publication_tables WHERE tablename = 'bare'").await, 4);
    say(&mut client, "ALTER TABLE bare REPLICA IDENTITY DEFAULT").await;
    drop(place.open(&["bare"]).await);
    say(&mut client, "INSERT INTO bare VALUES (1); UPDATE bare SET id = 2").await;
}

#[tokio::test]
async fn settings_and_rights_that_are_missing_are_named() {
    let place = Place::of(Database::postgres().await).await;
    let mut session = place.session().await;
    only(&problems(&mut session, &place.names, &[]).await, true, "ALTER SYSTEM SET wal_level = 'logical'");
    let fault = place.try_open(&[]).await.err().unwrap();
    assert!(fault.code == "DB_REFUSED" && !fault.retryable && fault.message.contains("wal_level"), "{fault:?}");

    let place = Place::with(&["max_replication_slots=1", "max_wal_senders=1"]).await;
    place.db.run("CREATE ROLE app LOGIN PASSWORD 'p'; CREATE TABLE t (id int PRIMARY KEY)").await;
    let app = place.server_at(place.db.url_of("app", "p"));
    let mut session = place.pool().single(&app).await.unwrap();
    only(&problems(&mut session, &place.names, &[]).await, true, "ALTER ROLE \"app\" REPLICATION");
    place.db.run("ALTER ROLE app REPLICATION").await;
    assert!(problems(&mut session, &place.names, &[all_of("t")]).await.is_empty());
    let wanted = Wanted { tables: vec![all_of("t")] };
    let fault = wal::Stream::open(place.pool(), &app, &place.names, &wanted).await.err().unwrap();
    assert!(fault.code == "DB_DENIED" && fault.message.contains("CREATE PUBLICATION"), "{fault:?}");
    // Somebody with more rights makes them: that is enough.
    let owned = place.open(&["t"]).await;
    let found = problems(&mut session, &Names::of("other"), &[]).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].sentence.contains("max_replication_slots") && found[1].sentence.contains("max_wal_senders"));
    assert!(problems(&mut session, &place.names, &[]).await.is_empty(), "they are its own");
    drop(owned);
    let stream = wal::Stream::open(place.pool(), &app, &place.names, &wanted).await.unwrap();
    assert!(!stream.is_new());
}

#[tokio::test]
async fn a_slot_that_is_lost_is_told_and_begun_anew_only_when_asked() {
    let place = Place::with(&["max_slot_wal_keep_size=1MB", "min_wal_size=32MB", "max_wal_size=32MB"]).await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (v text)").await;
    drop(place.open(&["t"]).await);
    let mut session = place.session().await;
    for _ in 0..20 {
        say(&mut client, "INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 5000)").await;
        say(&mut client, "SELECT pg_switch_wal()").await;
        say(&mut client, "CHECKPOINT").await;
        if wal::status(&mut session, &place.names).await.unwrap().unwrap().is_lost() {
            break;
        }
    }
    only(&problems(&mut session, &place.names, &[]).await, true, "changes are lost");
    for _ in 0..2 {
        let fault = place.try_open(&[all_of("t")]).await.err().unwrap();
        assert!(fault.code == "CHANGES_LOST" && !fault.retryable, "{fault:?}");
    }
    wal::remove(&mut session, &place.names).await.unwrap();
    let mut stream = place.open(&["t"]).await;
    assert!(stream.is_new());
    say(&mut client, "INSERT INTO t VALUES (1)").await;
    assert_eq!(super::read(&mut stream, 1).await.len(), 1);
}

#[tokio::test]
async fn a_slot_of_another_plugin_is_not_taken() {
    let place = Place::new().await;
    place.db.run("SELECT pg_create_logical_replication_slot('triggerd_test', 'test_decoding')").await;
    let mut session = place.session().await;
    only(&problems(&mut session, &place.names, &[]).await, true, "another plugin");
    let bad = wal::check(&mut session, &Names::of("a; DROP"), &Wanted::default()).await.err().unwrap();
    assert_eq!(bad.code, "DB_REFUSED");
}
