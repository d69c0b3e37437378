//! The command line: one file per command, each a few calls of the HTTP API but for `serve`, `bench` and `doctor`.

mod apply;
mod archive;
mod audit;
mod bench;
mod client;
mod components;
mod doctor;
mod events;
mod keys;
mod new_action;
mod output;
mod serve;
mod syncs;
mod triggers;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use client::Client;
use output::Output;

/// The trigger runtime: events in, JSON triggers matched, actions and Wasm components run, nothing lost.
#[derive(Parser)]
#[command(name = "triggerd", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

/// How commands reach a server, and how they answer.
#[derive(Args)]
struct Remote {
    /// The server that commands talk to.
    #[arg(long, global = true, env = "TRIGGERD_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The API key; else TRIGGERD_ADMIN_KEY, else `admin.key` in the local server's data directory (TRIGGERD_DATA_DIR, ./data).
    #[arg(long, global = true, env = "TRIGGERD_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The tenant to act in (admin key only).
    #[arg(long, global = true, env = "TRIGGERD_TENANT")]
    tenant: Option<String>,
    /// JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Serve),
    /// Print the effective configuration, secrets hidden.
    Config(serve::ShowConfig),
    /// Make the server's definitions those of a directory.
    Apply(apply::Apply),
    /// Write the server's definitions into a directory.
    Export(apply::Export),
    /// Triggers: list, get, test, backtest.
    #[command(subcommand)]
    Trigger(triggers::Trigger),
    /// Events: send, show, tail, export, erase.
    #[command(subcommand, visible_alias = "events")]
    Event(events::Event),
    /// List events, newest first.
    Inbox(events::Inbox),
    /// Dead letters: list, show, replay, drop.
    DeadLetters(events::DeadLetters),
    /// Run events again, one or by filter.
    Replay(events::Replay),
    /// Wasm components: list, push, test.
    #[command(subcommand)]
    Component(components::Component),
    /// Syncs: verify, status, conflicts, restore.
    #[command(subcommand)]
    Sync(syncs::Sync),
    /// Begin something new.
    #[command(subcommand)]
    New(new_action::New),
    /// API keys: create, list, rotate, revoke.
    #[command(subcommand)]
    Key(keys::Key),
    /// List who changed what, newest first.
    Audit(audit::Audit),
    /// Measure this machine: starts a server of its own, loads it, reports.
    Bench(bench::Bench),
    /// Look for what is wrong with a data directory, its configuration and the server.
    Doctor(doctor::Doctor),
    /// Print the OpenAPI document.
    Openapi,
}

/// Runs the command that the arguments name. Exit codes: 0 done, 1 failed, 2 wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("triggerd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { remote, command } = cli;
    match command {
        Command::Serve(serve) => return serve.run(),
        Command::Config(show) => return show.run(),
        Command::Openapi => {
            println!("{}", crate::api::openapi_json()?);
            return Ok(ExitCode::SUCCESS);
        }
        Command::New(new) => return new.run(),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let output = Output { json: remote.json };
        if let Command::Bench(bench) = command {
            return bench.run(output).await;
        }
        let client = Client::new(&remote)?;
        match command {
            Command::Doctor(doctor) => doctor.run(&client, output).await,
            Command::Apply(apply) => apply.run(&client, output).await,
            Command::Export(export) => export.run(&client, output).await,
            Command::Trigger(trigger) => trigger.run(&client, output).await,
            Command::Event(event) => event.run(&client, output).await,
            Command::Inbox(inbox) => inbox.run(&client, output).await,
            Command::DeadLetters(letters) => letters.run(&client, output).await,
            Command::Replay(replay) => replay.run(&client, output).await,
            Command::Component(component) => component.run(&client, output).await,
            Command::Key(key) => key.run(&client, output).await,
            Command::Audit(audit) => audit.run(&client, output).await,
            Command::Sync(sync) => sync.run(&client, output).await,
            Command::Serve(_) | Command::Config(_) | Command::Openapi | Command::New(_) | Command::Bench(_) => {
                unreachable!("answered above, without a client")
            }
        }
    })
}
