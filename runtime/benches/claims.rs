//! How long it takes to claim runs that wait in the store, by how many others wait. Plain numbers, no statistics:
//! `cargo bench --bench claims`.
//!
//! Rounds of `SOME` runs that are kept, claimed and ended; first in an empty store, then in one in which `BENCH_RUNS` (1,000,000)
//! others wait, behind which the new ones queue up. On SQLite, and on the empty PostgreSQL database `BENCH_POSTGRES` where one is
//! named.

#![allow(clippy::unwrap_used)]

mod kept;

use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;
use jiff::{SignedDuration, Timestamp};
use triggerd::store::open::Shared;
use triggerd::store::{Options, RunNext, RunUpdate, Store};
use triggerd_core::run::Progress;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs that are claimed at a time, as the server does.
const SOME: u64 = 256;
const ROUNDS: usize = 1_000;

fn main() {
    let others = std::env::var("BENCH_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = if let Ok(url) = std::env::var("BENCH_POSTGRES") {
            println!("PostgreSQL");
            let shared = Shared { allow_degraded: true, ..Options::default().shared };
            Store::connect(&url, Options { shared, ..Options::default() }).await.unwrap()
        } else {
            println!("SQLite");
            Store::open(dir.path(), Options::default()).await.unwrap()
        };
        let empty = rounds(&store, "nothing else waits").await;
        let began = Instant::now();
        keep(&store, others).await;
        println!("  {others} runs kept in {:.1} s", began.elapsed().as_secs_f64());
        let deep = rounds(&store, &format!("{others} others wait")).await;
        println!("  p99: {:.2} times that of an empty store", deep / empty);
        store.close().await.unwrap();
    });
}

/// Keeps runs that are due at once.
async fn keep(store: &Store, count: u64) {
    let mut left = count;
    while left > 0 {
        let some = left.min(1_000);
        store.append_batch((0..some).map(|_| kept::append(None)).collect()).await.unwrap();
        left -= some;
    }
}

/// The claims' p99, in milliseconds.
async fn rounds(store: &Store, what: &str) -> f64 {
    let mut took = Histogram::<u64>::new(3).unwrap();
    for _ in 0..ROUNDS {
        keep(store, SOME).await;
        let now = Timestamp::now();
        let began = Instant::now();
        let claimed = store.claim(now, SOME as u32, now + SignedDuration::from_secs(30)).await.unwrap();
        took.record(u64::try_from(began.elapsed().as_micros()).unwrap()).unwrap();
        assert_eq!(claimed.len() as u64, SOME);
        let ended: Vec<_> = claimed
            .into_iter()
            .map(|claimed| {
                let update = RunUpdate {
                    id: claimed.run.id,
                    epoch: claimed.run.epoch,
                    progress: Arc::new(Progress::default()),
                    next: RunNext::Delivered,
                };
                let store = store.clone();
                tokio::spawn(async move { store.record(update).await.unwrap() })
            })
            .collect();
        for ended in ended {
            assert!(ended.await.unwrap());
        }
    }
    let ms = |quantile: f64| took.value_at_quantile(quantile) as f64 / 1e3;
    println!("  claims of {SOME}, {what}: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", ms(0.5), ms(0.99), ms(1.0));
    ms(0.99)
}
