//! `triggerd bench --neighbours`: what a tenant that sends ten times what it may does to another that sends a tenth.
//!
//! The calm one sends webhooks at a tenth of its limit, first alone, then while the loud one sends as fast as ten times its own
//! limit; its receiver is slow, so that its runs pile up.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::Client;
use super::generator::{self, Plan};
use super::receiver::Receiver;
use super::report;
use super::server::Server;

/// Requests a second that either may send.
const LIMIT: u32 = 1000;
const CONNECTIONS: usize = 32;
/// Events whose way is looked at, of each part.
const SAMPLE: usize = 500;

/// Measures both parts; `server` is fresh.
pub async fn run(time: Duration, server: &Server, receiver: &Receiver) -> anyhow::Result<Value> {
    let (calm, loud) = (server.of_tenant("calm", LIMIT).await?, server.of_tenant("loud", LIMIT).await?);
    // It reads and does not answer.
    let silent = Receiver::start().await?;
    silent.set_open(false);
    for (tenant, url) in [(&calm, receiver.url()), (&loud, silent.url())] {
        tenant
            .trigger(&json!({
                "tag": "tell", "tables": ["orders"], "events": ["afterInsert"],
                "actions": [{"type": "http.post", "config": {"url": url, "body": "{{record}}"}}],
            }))
            .await?;
    }
    let alone = part(&calm, time).await?;
    let noise = tokio::spawn(generator::run(plan(&loud, LIMIT * 10, time * 2)));
    // Until its runs have piled up.
    tokio::time::sleep(time / 2).await;
    let beside = part(&calm, time).await?;
    let noise = noise.await.context("the loud one panicked")??;
    let ratio = |of: &str| Some(beside[of]["p99"].as_f64()? / alone[of]["p99"].as_f64()?);
    Ok(json!({
        "scenario": "neighbours",
        "alone": alone,
        "beside": beside,
        "p99_ratio": {"acceptance": ratio("acceptance_ms"), "to_end": ratio("acceptance_to_end_ms")},
        "loud": {"accepted": noise.accepted, "refused": noise.refused},
        "server_peak_rss_mib": server.peak_rss_mib()?,
    }))
}

fn plan(tenant: &Client, rate: u32, time: Duration) -> Plan {
    Plan { connections: CONNECTIONS, rate: Some(rate), time, ..Plan::to(tenant.address(), tenant.key().to_owned()) }
}

async fn part(calm: &Client, time: Duration) -> anyhow::Result<Value> {
    let since = Timestamp::now();
    let load = generator::run(plan(calm, LIMIT / 10, time)).await?;
    // The last ones are still under way.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lags: Vec<f64> = calm.acceptance_lags(since, SAMPLE).await?.iter().map(|lag| lag.to_end).collect();
    Ok(json!({
        "accepted": load.accepted,
        "refused": load.refused,
        "acceptance_ms": report::percentiles(&load.latencies),
        "acceptance_to_end_ms": report::percentiles_of(&lags),
    }))
}

/// Prints it for people.
pub fn print(report: &Value) {
    for name in ["alone", "beside"] {
        let of = |what: &str, p: &str| report[name][what][p].as_f64().unwrap_or(f64::NAN);
        println!(
            "{name:<8} accepted in {:.1} ms (p50), {:.1} ms (p99); delivered after {:.0} ms (p50), {:.0} ms (p99)",
            of("acceptance_ms", "p50"),
            of("acceptance_ms", "p99"),
            of("acceptance_to_end_ms", "p50"),
            of("acceptance_to_end_ms", "p99"),
        );
    }
    let (loud, ratio) = (&report["loud"], &report["p99_ratio"]);
    println!("loud     {} accepted, {} refused", loud["accepted"], loud["refused"]);
    println!(
        "p99 beside to alone: {:.2} (accepted), {:.2} (delivered)",
        ratio["acceptance"].as_f64().unwrap_or(f64::NAN),
        ratio["to_end"].as_f64().unwrap_or(f64::NAN)
    );
}
