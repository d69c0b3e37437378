//! What machine this is, and how fast its disk makes things last.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};

/// How often the disk is asked to sync.
const SYNCS: usize = 200;

/// The machine's facts, with the time that a sync of `dir`'s disk takes.
pub fn facts(dir: &Path) -> anyhow::Result<Value> {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let (median, p99) = sync_ms(dir)?;
    Ok(json!({
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": field(&read("/proc/cpuinfo"), "model name"),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "disk_sync_ms": {"p50": median, "p99": p99},
    }))
}

/// How long it takes until 4 KiB more of a file have reached the disk.
fn sync_ms(dir: &Path) -> anyhow::Result<(f64, f64)> {
    let path = dir.join(format!("triggerd-bench-sync-{}", std::process::id()));
    let mut file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[7; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    std::fs::remove_file(&path)?;
    times.sort_by(f64::total_cmp);
    Ok((times[SYNCS / 2], times[SYNCS * 99 / 100]))
}
