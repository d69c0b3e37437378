//! An older row never overwrites a newer one, whoever comes first.

use std::sync::Arc;

use serde_json::json;

use super::Place;
use crate::harness::done;
use crate::harness::sql_server::Engine;

const WRITERS: u32 = 16;
const VERSIONS: u32 = 12;

async fn the_newest_stays(engine: Engine, table: &str) {
    let place = Arc::new(Place::on(engine).await);
    place.db.run(table).await;
    let conflict = json!({"keys": ["id"], "newestBy": "at"});
    // Sixteen writers, each with its own order of all versions.
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (place, conflict) = (place.clone(), conflict.clone());
            tokio::spawn(async move {
                for step in 0..VERSIONS {
                    let version = (step * 7 + writer * 5) % VERSIONS;
                    let at = format!("2026-01-01T00:00:{version:02}.000{}Z", writer % 10);
                    let row = json!({"id": 1, "at": at, "value": at});
                    done(place.upsert("t", row, conflict.clone()).await);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let newest = format!("2026-01-01T00:00:{:02}.0009Z", VERSIONS - 1);
    assert_eq!(place.db.text("value", "FROM t").await.unwrap(), newest);
    let old = json!({"id": 1, "at": "2025-12-31T00:00:00Z", "value": "old"});
    assert_eq!(done(place.upsert("t", old, conflict.clone()).await)["rowsAffected"], 0, "an older one changes nothing");
    let new = json!({"id": 1, "at": "2026-12-31T00:00:00Z", "value": "new"});
    assert_eq!(done(place.upsert("t", new, conflict).await)["rowsAffected"], 1);
    assert_eq!(place.db.text("value", "FROM t").await.unwrap(), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_row_never_overwrites_a_newer_on_postgresql() {
    the_newest_stays(Engine::Postgres, "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, value text)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_row_never_overwrites_a_newer_on_mariadb() {
    the_newest_stays(Engine::MariaDb, "CREATE TABLE t (id INT PRIMARY KEY, at DATETIME(6), value TEXT)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_row_never_overwrites_a_newer_on_sqlite() {
    the_newest_stays(Engine::Sqlite, "CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP, value TEXT)").await;
}
