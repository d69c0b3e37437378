//! `triggerd serve` and `triggerd config`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::runtime::{Builder, Runtime};

use crate::app::App;
use crate::config::{Config, Flags};
use crate::{api, signals, telemetry};

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
        // Runs are walked on threads of their own, so that guests' CPU work cannot hold up the API or the store.
        let (front, engine) = (runtime("triggerd-api")?, runtime("triggerd-engine")?);
        let served = front.block_on(serve(config.clone(), engine.handle().clone()));
        engine.shutdown_timeout(config.server.drain_timeout);
        served.map(|()| ExitCode::SUCCESS)
    }
}

fn runtime(name: &str) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().thread_name(name).enable_all().build().context("cannot start threads")
}

async fn serve(config: Arc<Config>, engine: tokio::runtime::Handle) -> anyhow::Result<()> {
    let app = App::open(config.clone(), engine).await?;
    let listener = api::serve::bind(config.server.listen).await?;
    let background = app.start().await?;
    tracing::info!(
        environment = %config.environment,
        "Listening on http://{} (data in {})",
        listener.local_addr()?,
        config.data_dir().display()
    );
    let stop = signals::stop();
    api::serve::run(listener, app.clone(), stop).await;
    tracing::info!("Stopping: finishing what is under way");
    app.stop(background, config.server.drain_timeout).await;
    tracing::info!("Stopped");
    Ok(())
}
