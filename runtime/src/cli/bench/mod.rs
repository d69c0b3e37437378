//! `triggerd bench`: a server of its own, a load generator and a receiver; the report is a table, or JSON.
//!
//! The server is a process of its own with a data directory of its own, so that its memory and its fsyncs are what a
//! user's would be. Everything stays on loopback, bounded in count and time. [`series`] tells how runs are repeated and
//! compared, [`limits`] what each result is a share of, [`workload`] what events go through.

mod capture;
mod client;
mod connector;
mod database;
mod generator;
mod guest;
mod limits;
mod long_reads;
mod machine;
mod metrics;
mod receiver;
mod report;
mod run;
mod scenarios;
mod series;
mod server;
mod store;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::output::Output;
use connector::System;
use receiver::Receiver;
use run::Run;
use scenarios::Scenario;
use series::{Series, Sweep};
use server::Server;
use store::{Kind, Used};
use workload::{Extras, Workload};

/// `triggerd bench`.
#[derive(Args)]
pub struct Bench {
    /// What every event goes through; several with commas between them.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Workload::Log])]
    workload: Vec<Workload>,
    /// Where events are kept: `sqlite`, `postgres` (a server that is started for this), or the `postgres://` URL of a server, in
    /// a database that is made for this and dropped. Several with commas between them.
    #[arg(long, value_delimiter = ',', default_value = "sqlite")]
    store: Vec<Kind>,
    /// Runs of each, turn about; medians are told.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of load in each run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Seconds of load before that, which do not count.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// Events per second; as many as it takes without.
    #[arg(long)]
    rate: Option<u32>,
    /// Connections that send one request after another.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Events in a request; more than one goes to /api/v1/events/batch. 500 for `batch`, else 1.
    #[arg(long)]
    batch: Option<usize>,
    /// Events that `backlog` accepts before they are delivered.
    #[arg(long, default_value_t = 100_000)]
    backlog: u64,
    /// Varies a setting: `connections=1,16,64`, or `batch`, `triggers`, `backlog`.
    #[arg(long)]
    sweep: Option<Sweep>,
    /// Leaves the machine's raw limits out.
    #[arg(long)]
    no_limits: bool,
    /// Further triggers that do not match, to give the index something to do.
    #[arg(long, default_value_t = 0)]
    triggers: usize,
    /// Read transactions that are open on PostgreSQL while the load lasts, for two minutes each.
    #[arg(long, default_value_t = 0)]
    long_reads: u32,
    /// The component of `wasm` or `execute`: a .wasm file that exports an action, or a guard. Without, a small one that
    /// is built in.
    #[arg(long)]
    component: Option<PathBuf>,
    /// What that component is given as its input: JSON, which may hold templates.
    #[arg(long, default_value = "\"{{record}}\"")]
    input: String,
    /// Further components that are stored and not called.
    #[arg(long, default_value_t = 0)]
    components: usize,
    /// A connector instead of a workload: the action beside its client library alone, then through the whole server.
    #[arg(long, value_enum, conflicts_with = "workload")]
    action: Option<System>,
    /// The capture of a PostgreSQL table instead of a workload: what it costs writers, how soon actions start, how much it
    /// takes.
    #[arg(long, value_enum, conflicts_with_all = ["workload", "action"])]
    capture: Option<capture::From>,
    /// What one load does to another, instead of a workload.
    #[arg(long, value_enum, conflicts_with_all = ["workload", "action", "capture"])]
    scenario: Option<Scenario>,
    /// The server that `--action` or `--capture` speaks to.
    #[arg(long)]
    target: Option<String>,
    /// Where the server's data goes; the directory for temporary files without. A RAM disk would measure nothing.
    #[arg(long)]
    bench_dir: Option<PathBuf>,
}

/// The longest load, and the most runs.
const MAX_SECONDS: u64 = 3600;
const MAX_RUNS: usize = 100;
/// Each takes a connection of the server's hundred.
const MAX_LONG_READS: u32 = 20;
/// How long a raw limit is measured at most.
const LIMIT_SECONDS: u64 = 2;

impl Bench {
    /// Runs the command.
    pub async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        if self.seconds == 0 || self.seconds.max(self.warm_up) > MAX_SECONDS || self.runs == 0 || self.runs > MAX_RUNS {
            bail!("--seconds is 1 to {MAX_SECONDS}, --warm-up to {MAX_SECONDS}, --runs 1 to {MAX_RUNS}");
        }
        if self.connections == 0 || self.batch.is_some_and(|batch| batch == 0 || batch > 10_000) {
            bail!("--connections is at least 1, --batch 1 to 10,000");
        }
        if self.workload.contains(&Workload::Execute) && self.batch.is_some_and(|batch| batch != 1) {
            bail!("`execute` asks about one write at a time: leave --batch out");
        }
        if self.long_reads > MAX_LONG_READS {
            bail!("--long-reads is {MAX_LONG_READS} at most");
        }
        let dir = self.bench_dir.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut stores = Vec::new();
        for kind in &self.store {
            stores.push(Used::start(kind, &dir).await?);
        }
        let report = match (self.capture, self.action, self.scenario) {
            (Some(from), ..) => self.capture(from, &stores[0], &dir).await?,
            (_, Some(system), _) => self.connector(system, &stores[0], &dir).await?,
            (.., Some(scenario)) => self.scenario(scenario, &stores[0], &dir).await?,
            _ => self.series(&stores, &dir).await?,
        };
        if output.json {
            output.value(&report);
        } else if self.capture.is_some() {
            capture::print(&report);
        } else if self.scenario.is_some() {
            scenarios::print(&report["result"]);
        } else if self.action.is_some() {
            report::print_connector(&report);
        } else {
            report::print(&report);
        }
        let results = report["results"].as_array().into_iter().flatten();
        let refused = results.map(|result| result["median"]["refused"].as_f64().unwrap_or_default()).sum::<f64>();
        Ok(if refused == 0.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn series(&self, stores: &[Used], dir: &std::path::Path) -> anyhow::Result<Value> {
        let receiver = Receiver::start().await?;
        let (warm_up, time) = (Duration::from_secs(self.warm_up), Duration::from_secs(self.seconds));
        let extras = Extras {
            component: self.component.as_deref(),
            input: &self.input,
            components: self.components,
            triggers: self.triggers,
        };
        let run = Run {
            workload: Workload::Log,
            connections: self.connections,
            batch: 1,
            rate: self.rate,
            warm_up,
            time,
            backlog: self.backlog,
            long_reads: self.long_reads,
            extras: &extras,
            dir,
        };
        let limit_time = (!self.no_limits).then(|| Duration::from_secs(LIMIT_SECONDS.min(self.seconds)));
        let series = Series {
            workloads: &self.workload,
            stores,
            runs: self.runs,
            run,
            batch: self.batch,
            sweep: self.sweep.as_ref(),
            limit_time,
        };
        let mut report = self.about(dir)?;
        report["results"] = series.measure(&receiver, dir).await?;
        if let Some(sweep) = &self.sweep {
            report["sweep"] = sweep.what.name().into();
        }
        Ok(report)
    }

    fn about(&self, dir: &std::path::Path) -> anyhow::Result<Value> {
        Ok(json!({
            "machine": machine::facts(dir)?,
            "version": env!("CARGO_PKG_VERSION"),
            "build": if cfg!(debug_assertions) { "debug" } else { "release" },
            "at": jiff::Timestamp::now().to_string(),
            "runs": self.runs,
            "seconds": self.seconds,
            "warm_up_seconds": self.warm_up,
        }))
    }

    async fn capture(&self, from: capture::From, store: &Used, dir: &std::path::Path) -> anyhow::Result<Value> {
        let url = self.target.as_deref().unwrap_or("postgres://postgres@127.0.0.1:5432/postgres");
        let server = Server::start(dir, store.url()).await?;
        let report = capture::run(from, url, Duration::from_secs(self.seconds), &server).await?;
        server.stop().await?;
        Ok(report)
    }

    async fn scenario(&self, scenario: Scenario, store: &Used, dir: &std::path::Path) -> anyhow::Result<Value> {
        let receiver = Receiver::start().await?;
        let server = Server::start(dir, store.url()).await?;
        let result = scenario.run(Duration::from_secs(self.seconds), &server, &receiver).await?;
        server.stop().await?;
        let mut report = self.about(dir)?;
        report["result"] = result;
        Ok(report)
    }

    async fn connector(&self, system: System, store: &Used, dir: &std::path::Path) -> anyhow::Result<Value> {
        let receiver = Receiver::start().await?;
        let connector = system.connect(self.target.as_deref(), receiver.url()).await?;
        let alone = connector.measure(self.connections, Duration::from_secs(self.seconds)).await?;
        let server = Server::start(dir, store.url()).await?;
        if let Some((kind, settings)) = &connector.resource {
            server.resource(kind, settings).await?;
        }
        let definition = json!({
            "tag": "bench", "tables": ["orders"], "events": ["afterInsert"], "condition": workload::wanted(),
            "actions": [connector.action],
        });
        server.trigger(&definition).await?;
        let extras = Extras { component: None, input: &self.input, components: 0, triggers: 0 };
        let run = Run {
            workload: Workload::Http,
            connections: self.connections,
            batch: self.batch.unwrap_or(1),
            rate: self.rate,
            warm_up: Duration::from_secs(self.warm_up),
            time: Duration::from_secs(self.seconds),
            backlog: 0,
            long_reads: 0,
            extras: &extras,
            dir,
        };
        let through = run.load(&server).await?;
        server.stop().await?;
        let mut report = self.about(dir)?;
        report["system"] = system.name().into();
        report["connector"] = alone;
        report["server"] = through;
        Ok(report)
    }
}
