//! The server under load: a process of its own on a free port, with a data directory of its own.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::client::Client;
use super::database::Database;
use super::metrics;

/// How long claims take.
const CLAIMS: &str = "triggerd_claim_duration_seconds";

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    operator: Client,
    dir: PathBuf,
    database: Option<Database>,
}

/// What was left after the load.
pub struct Drained {
    /// How long after the load's end the last run ended.
    pub after: Duration,
    /// Runs that did not end within the limit.
    pub unfinished: u64,
    /// Dead letters.
    pub failed: u64,
    /// How long it took to claim runs that waited in the store, since the server's start.
    pub claims: Value,
}

/// A watch over the runs that are unfinished.
pub struct Watch {
    most: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// The most that it has seen.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// As the operator.
impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.operator
    }
}

impl Server {
    /// Starts this program's `serve` and waits until it is ready; on a database of its own where a PostgreSQL server is named.
    pub async fn start(dir: &Path, store: Option<&str>) -> anyhow::Result<Self> {
        let database = match store {
            Some(url) => Some(Database::make(url, "events").await?),
            None => None,
        };
        let dir = dir.join(format!("triggerd-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let address = {
            let probe = std::net::TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
            probe.local_addr()?
        };
        let key = "bench-admin-key-0123456789abcdef0123456789abcdef".to_owned();
        let mut command = Command::new(std::env::current_exe()?);
        command.envs(database.iter().map(|database| ("TRIGGERD_STORE_URL", database.url())));
        let child = command
            .arg("serve")
            .env("TRIGGERD_LISTEN", address.to_string())
            .env("TRIGGERD_DATA_DIR", &dir)
            .env("TRIGGERD_ADMIN_KEY", &key)
            .env("TRIGGERD_ENVIRONMENT", "development")
            .env("TRIGGERD_ALLOW_NETS", "127.0.0.0/8")
            .env("TRIGGERD_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the server")?;
        let server = Self { child, operator: Client::new(address, key)?, dir, database };
        server.wait_until_ready().await?;
        Ok(server)
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.http().get(self.url("/ready")).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                _ if Instant::now() > deadline => bail!("the server was not ready within 30 s"),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn metrics(&self) -> anyhow::Result<String> {
        Ok(self.http().get(self.url("/metrics")).send().await?.error_for_status()?.text().await?)
    }

    /// The most runs that were unfinished at once: looked at each second, until this is dropped.
    #[must_use]
    pub fn most_unfinished(&self) -> Watch {
        let (http, url) = (self.http().clone(), self.url("/metrics"));
        let most = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&most);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                let Ok(answer) = http.get(&url).send().await else { continue };
                let Ok(text) = answer.text().await else { continue };
                seen.fetch_max(unfinished(&text), Ordering::Relaxed);
            }
        });
        Watch { most, task }
    }

    /// Its database, where it has one.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.database.as_ref().map(Database::url)
    }

    /// Waits until no run is unfinished, at most `limit`.
    pub async fn drained(&self, limit: Duration) -> anyhow::Result<Drained> {
        /// Between two looks, which cost the server something, too.
        const PAUSE: Duration = Duration::from_millis(25);
        let began = Instant::now();
        loop {
            let text = self.metrics().await?;
            let unfinished = unfinished(&text);
            if unfinished == 0 || began.elapsed() > limit {
                let (failed, claims) = (depth(&text, "failed"), metrics::percentiles(&text, CLAIMS));
                return Ok(Drained { after: began.elapsed(), unfinished, failed, claims });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// How many changes of the database `bench` were captured.
    pub async fn captured(&self) -> anyhow::Result<u64> {
        let told = self.get("/api/v1/databases/bench/capture").await?;
        if let Some(problem) = told["captures"][0]["problem"].as_str() {
            bail!("the database cannot be captured: {problem}");
        }
        Ok(told["captures"][0]["captured"].as_u64().unwrap_or(0))
    }

    /// Ends the capture of the database `bench`, so that nothing is left of it there: a slot that nobody reads would fill
    /// the server's disk.
    pub async fn leave(&self) -> anyhow::Result<()> {
        let delete = self.request(Method::DELETE, "/api/v1/triggers/bench");
        delete.send().await?.error_for_status()?;
        let change = self.request(Method::PATCH, "/api/v1/databases/bench");
        change.json(&serde_json::json!({"capture": null})).send().await?.error_for_status()?;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if self.get("/api/v1/databases/bench/capture").await?["captures"] == serde_json::json!([]) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the capture could not be taken away")
    }

    /// The server's peak resident memory.
    pub fn peak_rss_mib(&self) -> anyhow::Result<f64> {
        let pid = self.child.id().context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .context("no /proc: peak memory is read on Linux only")?;
        let line = status.lines().find(|line| line.starts_with("VmHWM")).context("no VmHWM")?;
        let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).context("no VmHWM")?;
        Ok(kib / 1024.0)
    }

    /// The CPU time that the server has used, in seconds.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        /// What `/proc` counts in on Linux, whatever the kernel's own clock is.
        const TICKS: f64 = 100.0;
        let pid = self.child.id().context("the server has ended")?;
        let stat =
            std::fs::read_to_string(format!("/proc/{pid}/stat")).context("no /proc: CPU time is read on Linux only")?;
        // The program's name, in parentheses, may hold anything; `utime` and `stime` are the 12th and 13th field after it.
        let (_, fields) = stat.rsplit_once(')').context("no program in /proc/…/stat")?;
        let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(times.sum::<Result<f64, _>>()? / TICKS)
    }

    /// Stops the server and removes a temporary directory.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("the server could not be stopped")?;
        if let Some(database) = self.database.take() {
            database.drop_it().await.context("the database could not be dropped")?;
        }
        std::fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))
    }
}

fn depth(text: &str, queue: &str) -> u64 {
    metrics::number(text, &format!("triggerd_queue_depth{{queue=\"{queue}\"}}"))
}

fn unfinished(text: &str) -> u64 {
    depth(text, "pending") + depth(text, "running")
}
