//! One run: a fresh server, the load, and what came of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Value, json};

use super::client::Lag;
use super::generator::{self, Load, Plan};
use super::long_reads::LongReads;
use super::receiver::Receiver;
use super::report;
use super::server::{Drained, Server};
use super::store::Used;
use super::workload::{Extras, Workload};

/// Events whose way from acceptance to their action's start is looked at.
const SAMPLE: usize = 500;
/// Events in a request while a backlog is made.
const BACKLOG_BATCH: usize = 500;

/// What is run.
#[derive(Clone, Copy)]
pub struct Run<'b> {
    /// What every event goes through.
    pub workload: Workload,
    /// Connections that send one request after another.
    pub connections: usize,
    /// Events in a request.
    pub batch: usize,
    /// Events per second; as many as it takes without.
    pub rate: Option<u32>,
    /// Load before anything counts.
    pub warm_up: Duration,
    /// Load that counts.
    pub time: Duration,
    /// Events that are accepted before the receiver answers, for [`Workload::Backlog`].
    pub backlog: u64,
    /// Read transactions that are open meanwhile, on PostgreSQL.
    pub long_reads: u32,
    /// What else is stored.
    pub extras: &'b Extras<'b>,
    /// Where the server's data goes.
    pub dir: &'b Path,
}

impl Run<'_> {
    /// Runs it, on a server and a database of its own.
    pub async fn measure(&self, store: &Used, receiver: &Receiver) -> anyhow::Result<Value> {
        let server = Server::start(self.dir, store.url()).await?;
        self.workload.prepare(&server, receiver.url(), self.extras).await?;
        let figures = match self.workload {
            Workload::Backlog => self.backlog(&server, receiver).await?,
            _ => self.load(&server).await?,
        };
        server.stop().await?;
        Ok(figures)
    }

    /// Loads a server on which everything is prepared.
    pub async fn load(&self, server: &Server) -> anyhow::Result<Value> {
        let plan = Plan {
            connections: self.connections,
            batch: self.batch,
            rate: self.rate,
            execute: self.workload == Workload::Execute,
            warm_up: self.warm_up,
            time: self.time,
            ..Plan::to(server.address(), server.key().to_owned())
        };
        let reads = server.database().filter(|_| self.long_reads > 0).map(|url| LongReads::begin(url, self.long_reads));
        let watch = (self.rate.is_some() && self.workload.has_runs()).then(|| server.most_unfinished());
        let load = generator::run(plan).await?;
        let drained = server.drained(self.time * 4 + Duration::from_secs(30)).await?;
        if let Some(reads) = reads {
            reads.end().await?;
        }
        let cpu = server.cpu_seconds()?;
        let lags = match self.workload.has_runs() {
            true => Some(server.acceptance_lags(load.started_at, SAMPLE, None).await?),
            false => None,
        };
        let seconds = load.elapsed.as_secs_f64();
        let answers = report::percentiles(&load.latencies);
        let is_execute = self.workload == Workload::Execute;
        let mut figures = self.figures(server, &load, &drained)?;
        figures["accepted_per_second"] = json!(load.accepted as f64 / seconds);
        figures[if is_execute { "answer_ms" } else { "acceptance_ms" }] = answers;
        figures["server_cpu_us_per_event"] = json!(cpu * 1e6 / (load.accepted + load.warmed_up).max(1) as f64);
        if let Some(watch) = watch {
            figures["most_unfinished"] = json!(watch.most());
        }
        if let Some(lags) = lags {
            let until_drained = (load.elapsed + drained.after).as_secs_f64();
            figures["finished_per_second"] = json!(load.accepted as f64 / until_drained);
            let of = |part: fn(&Lag) -> f64| report::percentiles_of(&lags.iter().map(part).collect::<Vec<_>>());
            figures["acceptance_to_start_ms"] = of(|lag| lag.to_start);
            figures["acceptance_to_end_ms"] = of(|lag| lag.to_end);
        }
        Ok(figures)
    }

    /// Accepts what the receiver does not answer yet, then lets it answer.
    async fn backlog(&self, server: &Server, receiver: &Receiver) -> anyhow::Result<Value> {
        receiver.set_open(false);
        let plan = Plan {
            connections: self.connections.min(8),
            batch: BACKLOG_BATCH.min(usize::try_from(self.backlog).unwrap_or(1).max(1)),
            time: Duration::from_secs(3600),
            enough: Some(self.backlog),
            ..Plan::to(server.address(), server.key().to_owned())
        };
        let load = generator::run(plan).await?;
        let (began, cpu) = (Instant::now(), server.cpu_seconds()?);
        receiver.set_open(true);
        let limit = Duration::from_secs(60 + self.backlog / 500);
        let drained = server.drained(limit).await?;
        if drained.unfinished > 0 {
            bail!("{} of {} webhooks were not delivered within {limit:?}", drained.unfinished, load.accepted);
        }
        let mut figures = self.figures(server, &load, &drained)?;
        figures["finished_per_second"] = json!(load.accepted as f64 / began.elapsed().as_secs_f64());
        figures["server_cpu_us_per_event"] = json!((server.cpu_seconds()? - cpu) * 1e6 / load.accepted.max(1) as f64);
        Ok(figures)
    }

    fn figures(&self, server: &Server, load: &Load, drained: &Drained) -> anyhow::Result<Value> {
        Ok(json!({
            "accepted": load.accepted,
            "refused": load.refused,
            "dead_letters": drained.failed,
            "unfinished": drained.unfinished,
            "claim_ms": drained.claims,
            "server_peak_rss_mib": server.peak_rss_mib()?,
        }))
    }
}
