//! A tenant sends a little less than it may, then ten times as much for a minute, then a little less again: what was refused, whether
//! anything accepted is missing, and how soon it is as quick as before.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{LIMIT, TELL, measure, part, plan, post_all};
use crate::cli::bench::generator;
use crate::cli::bench::receiver::Receiver;
use crate::cli::bench::server::Server;

/// What the tenant sends otherwise, a second.
const USUAL: u32 = LIMIT * 8 / 10;
const BURST: Duration = Duration::from_secs(60);
/// How long it may take until it is as quick as before, and how much of it is looked at in one piece.
const RECOVERY: Duration = Duration::from_secs(60);
const PIECE: Duration = Duration::from_secs(2);
/// As quick as before: a p99 of at most so many times the one before.
const AS_BEFORE: f64 = 1.5;
/// Until all that was accepted has been delivered.
const DRAIN: Duration = Duration::from_secs(300);

/// Measures the three parts.
pub async fn run(time: Duration, server: &Server, receiver: &Receiver) -> anyhow::Result<Value> {
    let tenant = server.of_tenant("busy", LIMIT).await?;
    post_all(&tenant, TELL, receiver.url()).await?;
    let before = measure(&tenant, USUAL, time).await?;
    let usual = before["acceptance_ms"]["p99"].as_f64().context("nothing was accepted")?;
    let since = Timestamp::now();
    let load = generator::run(plan(&tenant, LIMIT * 10, BURST)).await?;
    let ended = Instant::now();
    let mut accepted = before["accepted"].as_u64().unwrap_or(0) + load.accepted;
    let mut recovered = None;
    while recovered.is_none() && ended.elapsed() < RECOVERY {
        let piece_began = ended.elapsed();
        let piece = generator::run(plan(&tenant, USUAL, PIECE)).await?;
        accepted += piece.accepted;
        let p99 = piece.latencies.value_at_quantile(0.99) as f64 / 1000.0;
        if p99 <= usual * AS_BEFORE && piece.refused == 0 {
            recovered = Some(piece_began.as_secs_f64());
        }
    }
    let burst = part(&tenant, since, &load).await?;
    let drained = server.drained(DRAIN).await?;
    let kept = tenant.get("/api/v1/inbox?limit=1").await?["total"].as_u64().context("the inbox has no total")?;
    let figures = json!({
        "accepted and not kept": accepted.saturating_sub(kept),
        "accepted and not delivered": drained.unfinished + drained.failed,
        "refused without Retry-After": load.refused_for_good,
        "as quick as before after, s": recovered,
    });
    Ok(json!({"parts": {"before": before, "burst": burst}, "figures": figures}))
}
