//! `triggerd serve` and `triggerd config`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::api::certificate::Certificate;
use crate::app::App;
use crate::config::{Config, Flags};
use crate::{api, signals, spans, telemetry};

/// `triggerd serve`.
#[derive(Args)]
pub struct Serve {
    #[command(flatten)]
    flags: Flags,
}

/// `triggerd config`.
#[derive(Args)]
pub struct ShowConfig {
    #[command(flatten)]
    flags: Flags,
}

impl ShowConfig {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        print!("{}", Config::load(&self.flags)?.config.redacted());
        Ok(ExitCode::SUCCESS)
    }
}

impl Serve {
    /// Runs the server until it is told to stop.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let loaded = Config::load(&self.flags)?;
        let config = Arc::new(loaded.config);
        telemetry::start(&config)?;
        for warning in loaded.warnings {
            tracing::warn!("{warning}");
        }
        // Runs are walked on threads of their own, so that guests' CPU work cannot hold up the API or the store. Each has half of
        // the cores: with as many threads as cores each, they wake and displace each other more than they work side by side.
        let (front, engine) = (runtime("triggerd-api")?, runtime("triggerd-engine")?);
        let served = front.block_on(serve(config, engine.handle().clone()));
        // Whatever still runs there has been handed back.
        engine.shutdown_timeout(Duration::from_secs(1));
        drop(front);
        spans::end();
        served.map(|()| ExitCode::SUCCESS)
    }
}

fn runtime(name: &str) -> anyhow::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.div_ceil(2))
        .thread_name(name)
        .enable_all()
        .build()
        .context("cannot start threads")
}

async fn serve(config: Arc<Config>, engine: tokio::runtime::Handle) -> anyhow::Result<()> {
    let certificate = config.server.tls().map(Certificate::open).transpose().context("TLS")?.map(Arc::new);
    let app = App::open(config.clone(), engine).await?;
    let listener = api::serve::bind(config.server.listen).await?;
    let background = app.start().await?;
    tracing::info!(
        environment = %config.environment,
        "Listening on {}://{} (data in {})",
        if certificate.is_some() { "https" } else { "http" },
        listener.local_addr()?,
        config.data_dir().display()
    );
    let stop = signals::stop();
    // One deadline for requests and runs together, from the moment of the signal on.
    let stopping = tokio::spawn({
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            Instant::now()
        }
    });
    api::serve::run(listener, app.clone(), certificate, stop).await?;
    tracing::info!("Stopping: finishing what is under way");
    let began = stopping.await.context("cannot tell when the stop began")?;
    app.stop(background, began + config.server.drain_delay.0 + config.server.drain_timeout).await;
    tracing::info!("Stopped");
    Ok(())
}
