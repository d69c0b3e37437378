//! `triggerd doctor`: what is wrong with a data directory, its configuration and the server, and what to do.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::output::Output;
use crate::config::{Config, Flags};
use crate::store::inspect::{self, Inspection};

/// `triggerd doctor`.
#[derive(Args)]
pub struct Doctor {
    #[command(flatten)]
    flags: Flags,
}

/// One thing looked at.
struct Finding {
    what: &'static str,
    state: State,
    detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Odd,
    Bad,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Odd => "warning",
            Self::Bad => "problem",
        }
    }
}

fn finding(what: &'static str, state: State, detail: impl Into<String>) -> Finding {
    Finding { what, state, detail: detail.into() }
}

impl Doctor {
    /// Runs the command. Exit code 1 where there is a problem.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        let mut findings = Vec::new();
        match Config::load(&self.flags) {
            Ok(loaded) => {
                findings.push(finding(
                    "configuration",
                    State::Good,
                    format!("environment {}", loaded.config.environment),
                ));
                look_at_egress(&loaded.config, &mut findings);
                look_at_data(loaded.config.data_dir(), &mut findings).await;
            }
            Err(error) => findings.push(finding("configuration", State::Bad, error.to_string())),
        }
        look_at_server(client, &mut findings).await;
        let rows: Vec<Value> =
            findings.iter().map(|f| json!({"check": f.what, "state": f.state.word(), "detail": f.detail})).collect();
        output.list(&rows, &[("check", "check"), ("state", "state"), ("detail", "detail")]);
        let bad = findings.iter().any(|f| f.state == State::Bad);
        Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn look_at_egress(config: &Config, findings: &mut Vec<Finding>) {
    let nets = config.allowed_nets();
    if !config.is_development() && !nets.is_empty() {
        let detail = format!("outgoing calls may reach {} private ranges: every trigger's author can", nets.len());
        findings.push(finding("egress", State::Odd, detail));
    }
}

async fn look_at_data(dir: &Path, findings: &mut Vec<Finding>) {
    if !dir.is_dir() {
        findings.push(finding(
            "data directory",
            State::Odd,
            format!("{} does not exist yet; the first `triggerd serve` makes it", dir.display()),
        ));
        return;
    }
    match sync_latency(dir) {
        Ok(ms) if ms > 20.0 => findings.push(finding(
            "disk",
            State::Odd,
            format!("an fsync takes {ms:.1} ms: every acceptance waits for one"),
        )),
        Ok(ms) => findings.push(finding("disk", State::Good, format!("an fsync takes {ms:.1} ms"))),
        Err(error) => {
            findings.push(finding("disk", State::Bad, format!("cannot write into {}: {error}", dir.display())))
        }
    }
    match inspect::inspect(dir).await {
        Ok(Inspection { in_use: true, .. }) => {
            findings.push(finding("store", State::Good, "a server is using it; stop it for an integrity check"))
        }
        Ok(Inspection { problems, .. }) if !problems.is_empty() => {
            let detail = format!("{}: restore a backup, then `triggerd replay`", problems.join("; "));
            findings.push(finding("store", State::Bad, detail));
        }
        Ok(Inspection { sqlite_version, size, .. }) => {
            findings.push(finding(
                "store",
                State::Good,
                format!("integrity checked, {} MiB, SQLite {sqlite_version}", size / (1024 * 1024)),
            ));
        }
        Err(error) => findings.push(finding("store", State::Bad, error.to_string())),
    }
}

/// The median of a few small synced writes, in milliseconds.
fn sync_latency(dir: &Path) -> std::io::Result<f64> {
    use std::io::Write;
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..9 {
        let began = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    std::fs::remove_file(&path)?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

async fn look_at_server(client: &Client, findings: &mut Vec<Finding>) {
    let ready = client.send(client.request(reqwest::Method::GET, "/ready")).await;
    match ready {
        Err(error) => findings.push(finding("server", State::Odd, error.to_string())),
        Ok(answer) if answer.status != 200 => {
            findings.push(finding("server", State::Bad, format!("{} is not ready: {}", client.url(), answer.body)))
        }
        Ok(_) => {
            findings.push(finding("server", State::Good, format!("{} is ready", client.url())));
            look_at_key(client, findings).await;
        }
    }
}

async fn look_at_key(client: &Client, findings: &mut Vec<Finding>) {
    match client.get("/api/v1/dead-letters", &[("limit", "1".into())]).await {
        Err(error) => findings.push(finding("key", State::Bad, error.to_string())),
        Ok(page) => {
            let dead = page["total"].as_u64().unwrap_or(0);
            let state = if dead == 0 { State::Good } else { State::Odd };
            let remedy = if dead == 0 { "" } else { ": `triggerd dead-letters` shows them" };
            findings.push(finding("dead letters", state, format!("{dead}{remedy}")));
            look_at_captures(client, findings).await;
        }
    }
}

/// Databases whose tables are captured: what is installed is compared with what should be, and put right on the way.
async fn look_at_captures(client: &Client, findings: &mut Vec<Finding>) {
    let Ok(page) = client.get("/api/v1/databases", &[("limit", "1000".into())]).await else { return };
    let tags = page["databases"].as_array().into_iter().flatten().filter_map(|database| database["tag"].as_str());
    for tag in tags {
        let Ok(told) = client.get(&format!("/api/v1/databases/{tag}/capture"), &[]).await else { continue };
        for capture in told["captures"].as_array().into_iter().flatten() {
            let of = |problem: &str| format!("{tag} ({}): {problem}", capture["env"].as_str().unwrap_or_default());
            let tables = capture["tables"].as_array().into_iter().flatten();
            let failing = tables.filter_map(|table| {
                let problem = table["problem"].as_str()?;
                Some(of(&format!("table {}: {problem}", table["table"].as_str().unwrap_or_default())))
            });
            let problems: Vec<String> = capture["problem"].as_str().map(of).into_iter().chain(failing).collect();
            if problems.is_empty() {
                findings.push(finding("capture", State::Good, of("changes are captured")));
            }
            findings.extend(problems.into_iter().map(|problem| finding("capture", State::Bad, problem)));
        }
    }
}
