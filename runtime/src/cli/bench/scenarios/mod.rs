//! `triggerd bench --scenario …`: what one load does to another, and what is left of it afterwards. Each compares parts of one run, so
//! that the machine's own speed does not count.

mod burst;
mod neighbours;
mod silent;

use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::Client;
use super::generator::{self, Load, Plan};
use super::receiver::Receiver;
use super::report;
use super::server::Server;

/// The trigger whose deliveries are looked at.
const TELL: &str = "tell";
/// Requests a second that a tenant may send.
const LIMIT: u32 = 1000;
const CONNECTIONS: usize = 32;
/// Events whose way is looked at, of each part.
const SAMPLE: usize = 500;

/// What is brought about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Scenario {
    /// A tenant sends ten times what it may to a receiver that does not answer, beside one that sends a tenth.
    Neighbours,
    /// Thousands of endpoints of a tenant accept and never answer, beside one that does.
    Silent,
    /// A tenant sends ten times what it may for a minute.
    Burst,
}

impl Scenario {
    /// Brings it about on a fresh server; `time` is how long each part is measured.
    pub async fn run(self, time: Duration, server: &Server, receiver: &Receiver) -> anyhow::Result<Value> {
        let mut report = match self {
            Self::Neighbours => neighbours::run(time, server, receiver).await?,
            Self::Silent => silent::run(time, server, receiver).await?,
            Self::Burst => burst::run(time, server, receiver).await?,
        };
        report["scenario"] = self.name().into();
        report["server_peak_rss_mib"] = server.peak_rss_mib()?.into();
        Ok(report)
    }

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Neighbours => "neighbours",
            Self::Silent => "silent",
            Self::Burst => "burst",
        }
    }
}

/// Prints what came of one, for people.
pub fn print(report: &Value) {
    for (name, part) in report["parts"].as_object().into_iter().flatten() {
        let of = |what: &str, p: &str| part[what][p].as_f64().unwrap_or(f64::NAN);
        println!(
            "{name:<8} {} accepted, {} refused; accepted in {:.1} ms (p50), {:.1} ms (p99); delivered after {:.0} ms (p50), {:.0} ms (p99)",
            part["accepted"],
            part["refused"],
            of("acceptance_ms", "p50"),
            of("acceptance_ms", "p99"),
            of("acceptance_to_end_ms", "p50"),
            of("acceptance_to_end_ms", "p99"),
        );
    }
    for (name, figure) in report["figures"].as_object().into_iter().flatten() {
        println!("{name}: {figure}");
    }
    println!("server's peak memory: {:.0} MiB", report["server_peak_rss_mib"].as_f64().unwrap_or(f64::NAN));
}

fn plan(tenant: &Client, rate: u32, time: Duration) -> Plan {
    Plan { connections: CONNECTIONS, rate: Some(rate), time, ..Plan::to(tenant.address(), tenant.key().to_owned()) }
}

/// Stores a trigger that posts every order's row to a URL, which may be a template.
async fn post_all(tenant: &Client, tag: &str, url: &str) -> anyhow::Result<()> {
    let action = json!({"type": "http.post", "config": {"url": url, "body": "{{record}}"}});
    let definition = json!({"tag": tag, "tables": ["orders"], "events": ["afterInsert"], "actions": [action]});
    tenant.trigger(&definition).await
}

/// Sends at a rate, then asks for how long the deliveries of [`TELL`] took.
async fn measure(tenant: &Client, rate: u32, time: Duration) -> anyhow::Result<Value> {
    let since = Timestamp::now();
    let load = generator::run(plan(tenant, rate, time)).await?;
    // The last ones are still under way.
    tokio::time::sleep(Duration::from_secs(1)).await;
    part(tenant, since, &load).await
}

async fn part(tenant: &Client, since: Timestamp, load: &Load) -> anyhow::Result<Value> {
    let lags = tenant.acceptance_lags(since, SAMPLE, Some(TELL)).await?;
    let lags: Vec<f64> = lags.iter().map(|lag| lag.to_end).collect();
    Ok(json!({
        "accepted": load.accepted,
        "refused": load.refused,
        "acceptance_ms": report::percentiles(&load.latencies),
        "acceptance_to_end_ms": report::percentiles_of(&lags),
    }))
}

/// A part's p99 as a multiple of another's.
fn ratio(of: &str, part: &Value, to: &Value) -> Option<f64> {
    Some(part[of]["p99"].as_f64()? / to[of]["p99"].as_f64()?)
}
