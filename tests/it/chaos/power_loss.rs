//! The embedded store through losses of power: what was not synced is there or not, page by page, as chance has it.
//!
//! The end of a process takes nothing that it has written: the system has it. So a library that is loaded into the server
//! (`power_loss.c`) keeps what each file was when it was synced last. After a kill, states that a disk could be in are made of that
//! and of what was written since: of each page that differs one of the two, some torn in the middle, and files as long as they were or
//! are. In each of them the store must be sound and have every event that was acknowledged; in the last one the server
//! goes on.
//!
//! `TRIGGERD_CHAOS_POWER_LOSSES` says how often, `TRIGGERD_CHAOS_DISK_STATES` how many states are looked at each time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use super::define;
use super::figures::{length, report};
use super::load::{Load, Plan};
use crate::harness::{PATIENCE, Receiver, Server, Settings};

const FILES: [&str; 2] = ["triggerd.db", "triggerd.db-wal"];
const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What was found.
#[derive(Default)]
pub struct Outcome {
    /// How often the power went.
    losses: u64,
    pub acknowledged: usize,
    pub states: u64,
    /// States in which something acknowledged was not there.
    pub losing: u64,
    /// States that are no sound database.
    pub damaged: u64,
    /// Bytes that differed from what was synced, over all kills.
    unsynced: u64,
}

impl Outcome {
    pub fn is_clean(&self) -> bool {
        self.losing == 0 && self.damaged == 0
    }
}

/// Builds the library that is loaded into the server.
fn library(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/it/chaos/power_loss.c");
    let built = dir.join("power_loss.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&built).arg(source).arg("-ldl");
    assert!(compiler.status().expect("a C compiler is there").success(), "{compiler:?}");
    built
}

/// Ends at the first state that is not as it must be.
pub async fn run(losses: u64, states: u64, fault: Option<&str>) -> Outcome {
    let seed = length("TRIGGERD_CHAOS_SEED", rand::random());
    eprintln!("TRIGGERD_CHAOS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let (synced, state) = (dir.path().join("synced"), dir.path().join("state"));
    std::fs::create_dir(&synced).unwrap();
    std::fs::create_dir(&state).unwrap();
    let settings = Settings::default().embedded().set("RATE_LIMIT", "0");
    let settings = super::with(settings, fault)
        .environment("LD_PRELOAD", &library(dir.path()).display().to_string())
        .environment("SYNCED_DIR", &synced.display().to_string());
    let mut server = Server::with(settings);
    let receiver = Receiver::start().await;
    define(&[server.api()], &receiver).await;
    let mut outcome = Outcome::default();
    let load = Load::start(vec![server.api()], Plan { ballast: 1_000, ..Plan::of(6) });
    // Where the power always went while nothing was being written, nothing was tried: further losses then.
    for loss in 0..losses * 10 {
        if loss >= losses && outcome.unsynced > 0 {
            break;
        }
        outcome.losses += 1;
        tokio::time::sleep(Duration::from_millis(random.random_range(150..500))).await;
        tokio::task::block_in_place(|| server.kill());
        let acknowledged = load.told.acknowledged();
        outcome.acknowledged = acknowledged.len();
        let disk = Disk::of(&server.data_dir(), &synced);
        outcome.unsynced += disk.unsynced();
        for _ in 0..states {
            disk.write_state(&state, &mut random);
            outcome.states += 1;
            match missing(&state, &acknowledged).await {
                Ok(0) => {}
                Ok(_) => outcome.losing += 1,
                Err(_) => outcome.damaged += 1,
            }
        }
        if !outcome.is_clean() {
            load.end().await;
            return outcome;
        }
        // The server goes on with a state that nobody has opened.
        disk.write_state(&server.data_dir(), &mut random);
        for name in FILES {
            // What a disk has after a loss of power is what it has.
            std::fs::copy(server.data_dir().join(name), synced.join(name)).unwrap();
        }
        tokio::task::block_in_place(|| server.up());
    }
    load.end().await;
    drained(&server).await;
    outcome
}

/// Everything that is left is done.
async fn drained(server: &Server) {
    let began = Instant::now();
    loop {
        let page = server.api().get("/api/v1/inbox?status=pending&limit=1").await.expect(200);
        let left = page["total"].clone();
        if left == json!(0) && page["total_is_exact"] == true {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{left} events are left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The files as they were written, and as they were synced.
struct Disk(Vec<(&'static str, Vec<u8>, Vec<u8>)>);

impl Disk {
    fn of(written: &Path, synced: &Path) -> Self {
        let read = |dir: &Path, name: &str| std::fs::read(dir.join(name)).unwrap_or_default();
        Self(FILES.map(|name| (name, read(written, name), read(synced, name))).into())
    }

    fn unsynced(&self) -> u64 {
        let differ = |(_, written, synced): &(&str, Vec<u8>, Vec<u8>)| {
            let pages = written.chunks(PAGE).enumerate();
            pages.filter(|(n, page)| synced.get(n * PAGE..n * PAGE + page.len()) != Some(*page)).count() * PAGE
        };
        self.0.iter().map(|file| differ(file) as u64).sum()
    }

    /// Writes what a disk could have.
    fn write_state(&self, dir: &Path, random: &mut StdRng) {
        for (name, written, synced) in &self.0 {
            let length = if random.random_bool(0.5) { written.len() } else { synced.len() };
            let mut state = synced.clone();
            state.resize(length, 0);
            for start in (0..length.min(written.len())).step_by(PAGE) {
                let end = (start + PAGE).min(length).min(written.len());
                if synced.get(start..end) == Some(&written[start..end]) {
                    continue;
                }
                // Torn: as far as that the page is the new one.
                let part = match random.random_range(0..8) {
                    0 => random.random_range(0..PAGE / SECTOR) * SECTOR,
                    1..4 => 0,
                    _ => PAGE,
                };
                let end = end.min(start + part);
                state[start..end].copy_from_slice(&written[start..end]);
            }
            std::fs::write(dir.join(name), state).unwrap();
        }
        let _ = std::fs::remove_file(dir.join("triggerd.db-shm"));
    }
}

/// How many acknowledged events a state has not; an error where it is no sound database.
async fn missing(dir: &Path, acknowledged: &BTreeSet<String>) -> Result<usize, String> {
    let file = SqliteConnectOptions::new().filename(dir.join(FILES[0])).synchronous(SqliteSynchronous::Off);
    let mut store = file.connect().await.map_err(|error| error.to_string())?;
    let looked = async {
        let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut store).await?;
        let kept: Vec<Vec<u8>> = sqlx::query_scalar("SELECT id FROM events").fetch_all(&mut store).await?;
        Ok::<_, sqlx::Error>((sound, kept))
    };
    let (sound, kept) = looked.await.map_err(|error| error.to_string())?;
    store.close().await.map_err(|error| error.to_string())?;
    if sound != "ok" {
        return Err(sound);
    }
    let kept: BTreeSet<String> = kept.iter().map(hex::encode).collect();
    Ok(acknowledged.iter().filter(|id| !kept.contains(&id.replace('-', ""))).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_loss_of_power() {
    let losses = length("TRIGGERD_CHAOS_POWER_LOSSES", 4);
    let outcome = run(losses, length("TRIGGERD_CHAOS_DISK_STATES", 10), None).await;
    let Outcome { losses, acknowledged, states, losing, damaged, unsynced } = outcome;
    report(
        "power_loss",
        &json!({
            "losses": losses, "acknowledged": acknowledged, "disk_states": states, "losing": losing, "damaged": damaged,
            "unsynced_bytes": unsynced,
        }),
    );
    assert!(acknowledged >= 50, "{acknowledged} events are no load");
    assert!(unsynced > 0, "nothing was ever unsynced: the library is not in the way");
    assert_eq!((losing, damaged), (0, 0), "states that lose something, and that are damaged, of {states}");
}
