//! `triggerd trigger`: definitions on the server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::client::Client;
use super::components::read_json;
use super::output::Output;

/// Triggers.
#[derive(Subcommand)]
pub enum Trigger {
    /// List triggers.
    List {
        /// Only those of this table.
        #[arg(long)]
        table: Option<String>,
        /// Only those that react to this event.
        #[arg(long)]
        event: Option<String>,
    },
    /// Print a trigger's definition.
    Get {
        /// Its tag.
        tag: String,
    },
    /// Try a trigger on a sample event: what would match, what would be done, and why. Nothing is done.
    Test {
        /// Its tag.
        tag: String,
        /// The sample event, as a body of POST /events.
        #[arg(long)]
        event: PathBuf,
    },
    /// How many stored events a trigger would have matched.
    Backtest {
        /// Its tag.
        tag: String,
        /// From when (RFC 3339).
        #[arg(long)]
        start: String,
        /// Until when (RFC 3339); now without.
        #[arg(long)]
        end: Option<String>,
    },
}

impl Trigger {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        match self {
            Self::List { table, event } => {
                let filter: Vec<(&str, String)> = [("table", table), ("event", event)]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect();
                let triggers = client.all("/api/v1/triggers", "triggers", &filter).await?;
                output.list(
                    &triggers,
                    &[
                        ("tag", "tag"),
                        ("version", "version"),
                        ("enabled", "enabled"),
                        ("events", "events"),
                        ("tables", "tables"),
                        ("name", "name"),
                    ],
                );
            }
            Self::Get { tag } => output.value(&client.get(&format!("/api/v1/triggers/{tag}"), &[]).await?),
            Self::Test { tag, event } => {
                let request =
                    client.request(Method::POST, &format!("/api/v1/triggers/{tag}/test")).json(&read_json(&event)?);
                output.value(&client.expect(request).await?);
            }
            Self::Backtest { tag, start, end } => {
                let mut range = json!({"start_time": start});
                if let Some(end) = end {
                    range["end_time"] = end.into();
                }
                let request = client.request(Method::POST, &format!("/api/v1/triggers/{tag}/backtest")).json(&range);
                output.value(&client.expect(request).await?);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
