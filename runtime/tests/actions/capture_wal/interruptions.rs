//! Connections that break, consumers that are slow, servers that stop: nothing is lost, and nothing has two keys.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use triggerd::sources::wal;

use super::{Place, read, read_only, records, say};

#[tokio::test]
async fn a_connection_that_breaks_loses_nothing_and_doubles_nothing() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut stream = place.open(&["t"]).await;
    let (mut keys, mut confirmed) = (HashSet::new(), 0);
    for round in 0..5_usize {
        // One transaction of several batches, COPY's rows that share a place, and one of few.
        let from = round * 100;
        say(&mut client, &format!("INSERT INTO t SELECT i FROM generate_series({from}, {}) i", from + 89)).await;
        say(&mut client, &format!("COPY t FROM PROGRAM 'seq {} {}'", from + 90, from + 99)).await;
        // Other batches each time.
        let mut found = Vec::new();
        while found.len() < 30 + round * 20 {
            let batch = stream.next(7 + round * 3, Duration::from_secs(5)).await.unwrap();
            if round % 2 == 0 {
                stream.confirm(batch.upto).await.unwrap();
                confirmed = keys.len();
            }
            found.extend(batch.changes);
        }
        keys.extend(found.iter().map(|change| change.key.clone()));
        say(&mut client, "SELECT pg_terminate_backend(pid) FROM pg_stat_replication").await;
        let fault = loop {
            if let Err(fault) = stream.next(1000, Duration::from_secs(5)).await {
                break fault;
            }
        };
        assert!(fault.retryable && fault.gone && fault.code == "DB_UNAVAILABLE", "{fault:?}");
        stream = place.open(&["t"]).await;
        assert!(!stream.is_new());
    }
    assert!(confirmed > 0);
    let (began, mut ids) = (Instant::now(), HashSet::new());
    while keys.len() < 500 {
        assert!(began.elapsed() < super::PATIENCE, "{}", keys.len());
        let batch = stream.next(1000, Duration::from_secs(1)).await.unwrap();
        ids.extend(records(&batch.changes).iter().map(|record| record["id"].as_i64().unwrap()));
        keys.extend(batch.changes.into_iter().map(|change| change.key));
    }
    assert!(ids.contains(&499));
    assert!(stream.next(10, Duration::from_millis(200)).await.unwrap().changes.is_empty());
    assert_eq!(keys.len(), 500, "each row has one key, however often it was read");
}

#[tokio::test]
async fn what_is_confirmed_is_forgotten_and_what_is_not_comes_again() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut stream = place.open(&["t"]).await;
    let mut session = place.session().await;
    let before = wal::status(&mut session, &place.names).await.unwrap().unwrap();
    assert!(before.active && !before.is_lost() && before.wal_status == "reserved", "{before:?}");
    say(&mut client, "INSERT INTO t VALUES (1)").await;
    let first = stream.next(10, Duration::from_secs(5)).await.unwrap();
    let settled = stream.next(10, Duration::from_millis(300)).await.unwrap();
    assert_eq!((first.changes.len(), settled.changes.len()), (1, 0));
    stream.confirm(settled.upto).await.unwrap();
    say(&mut client, "INSERT INTO t VALUES (2)").await;
    let unconfirmed = read_only(&mut stream, 1).await;
    let began = Instant::now();
    let status = loop {
        let status = wal::status(&mut session, &place.names).await.unwrap().unwrap();
        if status.confirmed >= settled.upto {
            break status;
        }
        assert!(began.elapsed() < super::PATIENCE, "{status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.confirmed > before.confirmed);
    drop(stream);
    let mut stream = place.open(&["t"]).await;
    assert_eq!(read(&mut stream, 1).await, unconfirmed);
    drop(stream);
    wal::remove(&mut session, &place.names).await.unwrap();
    assert_eq!(wal::status(&mut session, &place.names).await.unwrap(), None);
    assert_eq!(place.db.count("pg_publication").await, 0);
    wal::remove(&mut session, &place.names).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_waits_for_long_keeps_its_connection() {
    let place = Place::with(&["wal_sender_timeout=1s"]).await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let mut stream = place.open(&["t"]).await;
    // More than the sockets' buffers take, so that the server has to wait.
    say(&mut client, "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 30000) i").await;
    let first = stream.next(10, Duration::from_secs(30)).await.unwrap().changes.len();
    assert!((1..=10).contains(&first));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(read_only(&mut stream, 30_000 - first).await.len(), 30_000 - first);
    // And with nothing to send.
    tokio::time::sleep(Duration::from_secs(3)).await;
    say(&mut client, "INSERT INTO t VALUES (0)").await;
    assert_eq!(read_only(&mut stream, 1).await.len(), 1);
}

#[tokio::test]
async fn the_slot_advances_with_what_others_write_and_a_server_stops_in_time() {
    let mut place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (v text)").await;
    let mut stream = place.open(&["t"]).await;
    let mut session = place.session().await;
    let before = wal::status(&mut session, &place.names).await.unwrap().unwrap();
    say(&mut client, "INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 20000)").await;
    let written: wal::Lsn = place.db.text("pg_current_wal_lsn()", "").await.unwrap().parse().unwrap();
    let began = Instant::now();
    while wal::status(&mut session, &place.names).await.unwrap().unwrap().confirmed < written {
        assert!(began.elapsed() < super::PATIENCE, "stays at {}", before.confirmed);
        assert!(stream.next(10, Duration::from_millis(100)).await.unwrap().changes.is_empty());
    }
    drop(client);
    session.close().await;
    let stopping = tokio::task::spawn_blocking(move || {
        place.db.stop_gently(Duration::from_secs(20));
        place
    });
    let fault = loop {
        match stream.next(10, Duration::from_millis(200)).await {
            Ok(batch) => stream.confirm(batch.upto).await.unwrap(),
            Err(fault) => break fault,
        }
    };
    assert!(fault.gone && fault.retryable, "{fault:?}");
    let mut place = stopping.await.unwrap();
    place.db.start().await;
    let mut stream = place.open(&["t"]).await;
    place.db.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(read(&mut stream, 1).await.len(), 1);
}

#[tokio::test]
async fn a_slot_that_another_reader_holds_is_waited_for_and_then_left() {
    let place = Place::new().await;
    place.db.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let first = place.open(&["t"]).await;
    let fault = place.try_open(&[super::all_of("t")]).await.err().unwrap();
    assert!(fault.retryable && fault.code == "DB_UNAVAILABLE" && fault.message.contains("active"), "{fault:?}");
    let (second, ()) = tokio::join!(place.open(&["t"]), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(first);
    });
    assert!(!second.is_new());
}

#[tokio::test]
async fn a_change_has_the_same_key_on_the_next_timeline() {
    let mut place = Place::new().await;
    place.db.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut stream = place.open(&["t"]).await;
    place.db.run("INSERT INTO t VALUES (1)").await;
    let before = read_only(&mut stream, 1).await;
    drop(stream);
    place.db.stop_for_recovery();
    place.db.start().await;
    // Read-only until the recovery has ended.
    while place.db.text("pg_is_in_recovery()", "").await.unwrap() == "true" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut stream = place.open(&["t"]).await;
    assert!(!stream.is_new());
    place.db.run("INSERT INTO t VALUES (2)").await;
    let after = read(&mut stream, 2).await;
    assert_eq!(after[0], before[0]);
    let timeline = |key: &str| key.split('/').nth(2).map(str::to_owned);
    assert_eq!([&after[0], &after[1]].map(|change| timeline(&change.key).unwrap()), ["1", "2"]);
}

#[tokio::test]
async fn publications_that_were_dropped_for_a_while_are_told_as_a_loss() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY)").await;
    drop(place.open(&["t"]).await);
    say(&mut client, "DROP PUBLICATION triggerd_test_insert").await;
    say(&mut client, "INSERT INTO t VALUES (1)").await;
    let mut stream = place.open(&["t"]).await;
    let fault = stream.next(10, Duration::from_secs(5)).await.err().unwrap();
    assert!(fault.code == "CHANGES_LOST" && !fault.retryable && fault.message.contains("begin anew"), "{fault:?}");
    drop(stream);
    let mut session = place.session().await;
    wal::remove(&mut session, &place.names).await.unwrap();
    let mut stream = place.open(&["t"]).await;
    say(&mut client, "INSERT INTO t VALUES (2)").await;
    assert_eq!(read(&mut stream, 1).await.len(), 1);
}

#[tokio::test]
async fn a_reader_that_is_dropped_in_the_middle_loses_nothing() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (id int PRIMARY KEY, m mood, v text)").await;
    let mut stream = place.open(&["t"]).await;
    say(&mut client, "INSERT INTO t SELECT i, 'sad', repeat('x', 500) FROM generate_series(1, 20000) i").await;
    let (mut ids, mut dropped, began) = (Vec::new(), 0, Instant::now());
    while ids.len() < 20_000 {
        assert!(began.elapsed() < super::PATIENCE, "{}", ids.len());
        let patience = Duration::from_micros(100 + 50 * (ids.len() as u64 % 40));
        match tokio::time::timeout(patience, stream.next(100, Duration::from_secs(5))).await {
            Ok(batch) => {
                ids.extend(records(&batch.unwrap().changes).iter().map(|record| record["id"].as_i64().unwrap()))
            }
            Err(_) => dropped += 1,
        }
    }
    assert!(dropped > 0 && ids.into_iter().eq(1..=20_000), "{dropped}");
}
