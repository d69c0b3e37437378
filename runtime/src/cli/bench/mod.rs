//! `triggerd bench`: a server of its own, a load generator and a receiver; the report is JSON.
//!
//! The server is a process of its own with a data directory of its own, so that its memory and its fsyncs are what a
//! user's would be. Everything stays on loopback, bounded in count and time.

mod capture;
mod connector;
mod database;
mod generator;
mod guest;
mod receiver;
mod report;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::output::Output;
use connector::{Connector, System};
use generator::{Load, Plan};
use server::Server;

/// `triggerd bench`.
#[derive(Args)]
pub struct Bench {
    /// What every event goes through.
    #[arg(long, value_enum, default_value_t = Scenario::Log)]
    scenario: Scenario,
    /// A connector instead of a scenario: the action beside its client library alone, then through the whole server.
    #[arg(long, value_enum, conflicts_with = "scenario")]
    action: Option<System>,
    /// The capture of a PostgreSQL table instead of a scenario: what it costs writers, how soon actions start, how much it
    /// takes.
    #[arg(long, value_enum, conflicts_with_all = ["scenario", "action"])]
    capture: Option<capture::From>,
    /// The server that `--action` or `--capture` speaks to.
    #[arg(long)]
    target: Option<String>,
    /// The component of `--scenario wasm` or `execute`: a .wasm file that exports an action, or a guard. Without, a
    /// small one that is built in.
    #[arg(long)]
    component: Option<PathBuf>,
    /// What that component is given as its input: JSON, which may hold templates.
    #[arg(long, default_value = "\"{{record}}\"")]
    input: String,
    /// Further components that are stored and not called.
    #[arg(long, default_value_t = 0)]
    components: usize,
    /// Events per second; as many as it takes without.
    #[arg(long)]
    rate: Option<u32>,
    /// Connections that send one after another.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Events in a request; more than one goes to /api/v1/events/batch.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Seconds of load.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Further triggers that do not match, to give the index something to do.
    #[arg(long, default_value_t = 0)]
    triggers: usize,
    /// The PostgreSQL server that the events are kept on, in a database that is made for this and dropped: `postgres://…`. Without,
    /// SQLite.
    #[arg(long)]
    store: Option<String>,
    /// Where the server's data goes; a temporary directory without. A RAM disk would measure nothing.
    #[arg(long)]
    bench_dir: Option<PathBuf>,
}

/// What every event goes through.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// No trigger matches: acceptance alone.
    Accept,
    /// A condition and a log line.
    Log,
    /// A condition and a Wasm action.
    Wasm,
    /// A condition and an HTTP request to the built-in receiver.
    Http,
    /// The execute call with a Wasm guard: a writer waits for the answer, and nothing is stored.
    Execute,
}

impl Bench {
    /// Runs the command.
    pub async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        if self.scenario == Scenario::Execute && self.batch != 1 {
            bail!("--scenario execute asks about one write at a time: leave --batch out");
        }
        if self.connections == 0 || self.batch == 0 || self.seconds == 0 || self.seconds > 3600 || self.batch > 10_000 {
            bail!("--connections and --batch (to 10,000) and --seconds (to 3,600) are at least 1");
        }
        if let Some(from) = self.capture {
            let url = self.target.as_deref().unwrap_or("postgres://postgres@127.0.0.1:5432/postgres");
            let server = Server::start(self.bench_dir.as_deref(), self.store.as_deref()).await?;
            let report = capture::run(from, url, Duration::from_secs(self.seconds), &server).await?;
            server.stop().await?;
            if output.json {
                output.value(&report)
            } else {
                capture::print(&report)
            }
            return Ok(ExitCode::SUCCESS);
        }
        let receiver = receiver::Receiver::start().await?;
        let connector = match self.action {
            Some(system) => Some(system.connect(self.target.as_deref(), receiver.url()).await?),
            None => None,
        };
        let alone = match &connector {
            Some(connector) => Some(connector.measure(self.connections, Duration::from_secs(self.seconds)).await?),
            None => None,
        };
        let server = Server::start(self.bench_dir.as_deref(), self.store.as_deref()).await?;
        self.prepare(&server, receiver.url(), connector.as_ref()).await?;
        let plan = Plan {
            address: server.address(),
            key: server.key().to_owned(),
            connections: self.connections,
            batch: self.batch,
            rate: self.rate,
            execute: self.scenario == Scenario::Execute,
            time: Duration::from_secs(self.seconds),
        };
        let load = generator::run(plan).await?;
        let drained = server.drained(self.drain_limit()).await?;
        let starts = if matches!(self.scenario, Scenario::Accept | Scenario::Execute) {
            None
        } else {
            Some(server.start_lags(load.started_at, 1000).await?)
        };
        let mut report = self.report(&server, &load, drained, starts).await?;
        if let (Some(system), Some(alone)) = (self.action, alone) {
            report["scenario"] = system.name().into();
            report["connector"] = alone;
        }
        server.stop().await?;
        if output.json {
            output.value(&report)
        } else {
            report::print(&report)
        }
        Ok(if load.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn guest(&self) -> anyhow::Result<Vec<u8>> {
        match &self.component {
            Some(file) => std::fs::read(file).with_context(|| format!("cannot read {}", file.display())),
            None if self.scenario == Scenario::Execute => guest::built_in(guest::Sort::Guard),
            None => guest::built_in(guest::Sort::Action),
        }
    }

    fn drain_limit(&self) -> Duration {
        Duration::from_secs(self.seconds * 4 + 30)
    }

    async fn prepare(&self, server: &Server, receiver: &str, connector: Option<&Connector>) -> anyhow::Result<()> {
        if let Some((kind, settings)) = connector.and_then(|connector| connector.resource.as_ref()) {
            server.resource(kind, settings).await?;
        }
        let action = match self.scenario {
            _ if connector.is_some() => connector.map(|connector| connector.action.clone()),
            Scenario::Accept => None,
            Scenario::Log => Some(json!({"type": "log.debug", "config": {"message": "order {{record.id}}"}})),
            Scenario::Http => Some(json!({"type": "http.post", "config": {"url": receiver, "body": "{{record}}"}})),
            Scenario::Wasm | Scenario::Execute => {
                let input: Value = serde_json::from_str(&self.input).context("--input is no JSON")?;
                server.push("bench", self.guest()?).await?;
                let state = self.scenario == Scenario::Wasm;
                Some(
                    json!({"type": "custom", "config": {"component": "bench", "input": input, "capabilities": {"state": state}}}),
                )
            }
        };
        for index in 0..self.components {
            server.push(&format!("idle-{index}"), self.guest()?).await?;
        }
        let event = if self.scenario == Scenario::Execute { "beforeInsert" } else { "afterInsert" };
        if let Some(action) = action {
            let condition = json!({"and": [
                {"field": "record.status", "operator": "EQUALS", "value": "confirmed"},
                {"field": "record.total", "operator": "GREATER_THAN", "value": 10},
            ]});
            server.trigger(&json!({"tag": "bench", "tables": ["orders"], "events": [event], "condition": condition, "actions": [action]})).await?;
        }
        for index in 0..self.triggers {
            let condition =
                json!({"field": "record.customer_id", "operator": "EQUALS", "value": format!("nobody-{index}")});
            let action = json!({"type": "log.info", "config": {"message": "never"}});
            server.trigger(&json!({"tag": format!("idle-{index}"), "tables": ["orders"], "events": [event], "condition": condition, "actions": [action]})).await?;
        }
        Ok(())
    }

    async fn report(
        &self,
        server: &Server,
        load: &Load,
        drained: server::Drained,
        starts: Option<Vec<f64>>,
    ) -> anyhow::Result<Value> {
        let seconds = load.elapsed.as_secs_f64();
        let until_drained = (load.elapsed + drained.after).as_secs_f64();
        let scenario = match self.scenario {
            Scenario::Accept => "accept",
            Scenario::Log => "log",
            Scenario::Wasm => "wasm",
            Scenario::Http => "http",
            Scenario::Execute => "execute",
        };
        let answers = report::percentiles(&load.latencies);
        let is_execute = self.scenario == Scenario::Execute;
        let has_runs = !matches!(self.scenario, Scenario::Accept | Scenario::Execute);
        let finished = if has_runs { load.accepted.saturating_sub(drained.unfinished + drained.failed) } else { 0 };
        Ok(json!({
            "scenario": scenario,
            "store": if self.store.is_some() { "postgres" } else { "sqlite" },
            "connections": self.connections,
            "batch": self.batch,
            "rate_wanted": self.rate,
            "seconds": seconds,
            "accepted": load.accepted,
            "refused": load.refused,
            "accepted_per_second": load.accepted as f64 / seconds,
            "finished": finished,
            "dead_letters": drained.failed,
            "unfinished": drained.unfinished,
            "finished_per_second": finished as f64 / until_drained,
            "acceptance_ms": (!is_execute).then_some(&answers),
            "answer_ms": is_execute.then_some(&answers),
            "acceptance_to_start_ms": starts.map(|lags| report::percentiles_of(&lags)),
            "server_peak_rss_mib": server.peak_rss_mib()?,
            "machine": report::machine(),
            "version": env!("CARGO_PKG_VERSION"),
            "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        }))
    }
}
