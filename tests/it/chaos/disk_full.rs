//! The disk of the PostgreSQL store fills up: nothing is acknowledged that is not kept, reads go on, and with space again it goes on by
//! itself. For the embedded store: `full_disk.rs`.
//!
//! The database lies in a tablespace on a small file system in memory. Who may not mount one has the server's files limited in their
//! size instead.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::check::{Findings, and};
use super::figures::{milliseconds, report};
use super::load::{Load, Plan};
use super::{LEASE, apis, define, settings, with};
use crate::harness::sql_server::Database;
use crate::harness::{Receiver, Server};

/// What a database can be filled up on.
struct Small {
    database: Database,
    url: String,
    /// Where the file system is mounted; `None`: files are limited.
    mount: Option<tempfile::TempDir>,
}

impl Small {
    async fn new() -> Self {
        let database = Database::postgres().await;
        let dir = tempfile::tempdir().unwrap();
        let mounted = succeeds("mount", &["-t", "tmpfs", "-o", "size=40m,mode=777", "tmpfs"], dir.path());
        let url = database.url().replace("/postgres", "/small");
        if mounted {
            let space = dir.path().join("space");
            std::fs::create_dir(&space).unwrap();
            assert!(succeeds("chown", &["nobody"], &space));
            database.run(&format!("CREATE TABLESPACE small LOCATION '{}'", space.display())).await;
            database.run("CREATE DATABASE small TABLESPACE small").await;
            return Self { database, url, mount: Some(dir) };
        }
        database.run("CREATE DATABASE small").await;
        // Larger than a file of the server's log, which is as large from its beginning.
        database.limit_files(Some(17 << 20));
        Self { database, url, mount: None }
    }

    /// Makes room.
    fn enlarge(&self) {
        match &self.mount {
            Some(dir) => assert!(succeeds("mount", &["-o", "remount,size=400m"], dir.path())),
            None => self.database.limit_files(None),
        }
    }

    fn how(&self) -> &'static str {
        if self.mount.is_some() { "file system of 40 MB" } else { "files of 17 MB at most" }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.database.stop();
        if let Some(dir) = &self.mount {
            succeeds("umount", &[], dir.path());
        }
    }
}

fn succeeds(program: &str, arguments: &[&str], path: &Path) -> bool {
    let done = Command::new(program).args(arguments).arg(path).stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

/// What became of the load, and what was measured.
pub async fn run(fault: Option<&str>) -> (Findings, Value) {
    let small = Small::new().await;
    let receiver = Receiver::start().await;
    let node = Server::with(with(settings(&small.url), fault));
    let api = node.api();
    define(std::slice::from_ref(&api), &receiver).await;
    let nodes = [node];
    let began = Instant::now();
    let load = Load::start(apis(&nodes), Plan { pause: Duration::from_millis(20), ballast: 100_000, ..Plan::of(4) });
    // A bug may keep the load from ever being refused.
    let patience = Duration::from_secs(if fault.is_some() { 15 } else { 90 });
    while load.told.refusals.lock().unwrap().len() < 40 && began.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let kept_before = load.told.count();
    // Longer than a lease, which cannot be lengthened either.
    let full = Instant::now();
    while full.elapsed() < LEASE + Duration::from_secs(1) {
        api.get("/api/v1/inbox?limit=1").await.expect(200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    small.enlarge();
    let enlarged = Instant::now();
    while load.told.count() < kept_before + 20 && enlarged.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = load.end().await;
    let found = Findings::of(&small.url, &told, &receiver).await;
    let refusals = told.refusals.lock().unwrap();
    let without = refusals.iter().filter(|one| !one.has_retry_after).count();
    let first = told.acks.lock().unwrap().iter().map(|ack| ack.at).filter(|at| *at > enlarged).min();
    let figures = json!({
        "by": small.how(), "refused": refusals.len(), "without_retry_after": without,
        "accepts_again_ms": first.map_or(Value::Null, |at| milliseconds(at - enlarged)),
    });
    let figures = and(found.figures(), figures);
    (found, figures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_of_the_database_nothing_is_acknowledged_that_is_not_kept() {
    let (found, figures) = run(None).await;
    report("disk_full_postgres", &figures);
    found.hold();
    assert!(figures["refused"].as_u64().unwrap() >= 40, "the disk did not fill up");
    assert_eq!(figures["without_retry_after"], 0);
    let again = figures["accepts_again_ms"].as_f64().expect("it accepts events again");
    assert!(again <= 5000.0, "events are accepted {again} ms after there is space");
}
