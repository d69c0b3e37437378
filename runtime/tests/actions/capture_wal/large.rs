//! A transaction that is larger than memory should be.

use std::time::{Duration, Instant};

use super::{Place, say};

const ROWS: usize = 300_000;
const MOST: usize = 2000;

/// In a process of its own: what other tests take in memory is not counted.
#[test]
fn a_transaction_of_300_000_rows_comes_in_bounded_batches() {
    let own = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new(own);
    command.args(["--exact", "capture_wal::large::in_bounded_batches", "--ignored", "--nocapture"]);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn in_bounded_batches() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz DEFAULT now())").await;
    let mut stream = place.open(&["t"]).await;
    say(&mut client, &format!("INSERT INTO t SELECT i, 'value ' || i FROM generate_series(1, {ROWS}) i")).await;
    let mut warm = stream.next(MOST, Duration::from_secs(60)).await.unwrap().changes.len();
    while warm < 20_000 {
        warm += stream.next(MOST, Duration::from_secs(60)).await.unwrap().changes.len();
    }
    let before = resident_bytes();
    let (began, mut count, mut largest, mut most_resident) = (Instant::now(), warm, 0, 0);
    while count < ROWS {
        let batch = stream.next(MOST, Duration::from_secs(60)).await.unwrap();
        count += batch.changes.len();
        largest = largest.max(batch.changes.len());
        most_resident = most_resident.max(resident_bytes());
    }
    let rate = (count - warm) as f64 / began.elapsed().as_secs_f64();
    let grown = most_resident.saturating_sub(before) >> 20;
    println!("{rate:.0} changes a second; largest batch {largest}; grown by {grown} MiB");
    // For people who measure: transactions of one row each.
    say(&mut client, "DO $$ BEGIN FOR i IN 1..30000 LOOP INSERT INTO t VALUES (-i, 'value'); COMMIT; END LOOP; END $$")
        .await;
    let (began, small) = (Instant::now(), super::read_only(&mut stream, 30_000).await.len());
    println!("{:.0} transactions of one row a second", small as f64 / began.elapsed().as_secs_f64());
    assert_eq!(count, ROWS);
    assert!(largest <= MOST, "{largest}");
    assert!(grown < 64, "{grown} MiB");
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_too() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let mut stream = place.open(&["t"]).await;
    say(&mut client, "INSERT INTO t SELECT i, repeat('x', 1 << 20) FROM generate_series(1, 40) i").await;
    let (mut sizes, mut count) = (Vec::new(), 0);
    while count < 40 {
        let batch = stream.next(1000, Duration::from_secs(60)).await.unwrap();
        count += batch.changes.len();
        sizes.push(batch.changes.len());
    }
    assert!(sizes.iter().all(|size| *size <= 9), "{sizes:?}");
}

#[tokio::test]
async fn a_row_that_nobody_could_hold_is_passed_over_and_told() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let mut stream = place.open(&["t"]).await;
    say(&mut client, "INSERT INTO t VALUES (1, 'a'), (2, repeat('x', 70 << 20)), (3, 'c')").await;
    let (mut found, mut refused, began) = (Vec::new(), Vec::new(), Instant::now());
    while found.len() < 2 && began.elapsed() < super::PATIENCE {
        let batch = stream.next(1000, Duration::from_secs(1)).await.unwrap();
        refused.extend(batch.refused);
        found.extend(batch.changes);
    }
    assert_eq!(
        super::records(&found).iter().map(|record| record["id"].as_i64()).collect::<Vec<_>>(),
        [Some(1), Some(3)]
    );
    assert!(refused.len() == 1 && refused[0].contains("bytes"), "{refused:?}");
}
