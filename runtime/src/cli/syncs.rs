//! `triggerd sync`: syncs.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::Value;

use super::client::Client;
use super::output::{Output, text_at};

/// Syncs.
#[derive(Subcommand)]
pub enum Sync {
    /// Compare everything; exit code 1 where something differs that was not put right.
    Verify {
        /// The sync.
        tag: String,
        /// Put right what differs.
        #[arg(long)]
        repair: bool,
    },
    /// Show how a sync fares.
    Status {
        /// The sync.
        tag: String,
    },
    /// List the values that a sync did not carry over, newest first.
    Conflicts {
        /// The sync.
        tag: String,
    },
    /// Put the value back that a conflict lost, as a new change.
    Restore {
        /// The sync.
        tag: String,
        /// The conflict.
        id: String,
    },
}

impl Sync {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        match self {
            Self::Verify { tag, repair } => return verify(client, output, &tag, repair).await,
            Self::Status { tag } => output.value(&client.get(&format!("/api/v1/syncs/{tag}/status"), &[]).await?),
            Self::Conflicts { tag } => {
                let conflicts = client.all(&format!("/api/v1/syncs/{tag}/conflicts"), "conflicts", &[]).await?;
                let columns = [
                    ("id", "id"),
                    ("at", "at"),
                    ("key", "key"),
                    ("reason", "reason"),
                    ("winner", "winner"),
                    ("lost", "lost"),
                    ("resolved", "resolved"),
                ];
                output.list(&conflicts, &columns);
            }
            Self::Restore { tag, id } => {
                let path = format!("/api/v1/syncs/{tag}/conflicts/{id}/restore");
                let restored = client.expect(client.request(Method::POST, &path)).await?;
                output.done(&format!("Restored {}", text_at(&restored, "key")), &restored);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// How many rows were compared, for who sits at a terminal; on standard error, so that what is piped on is the report alone.
struct Progress(ProgressBar);

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        bar.set_message("comparing");
        Self(bar)
    }

    fn show(&self, counts: &Value) {
        let number = |name: &str| counts[name].as_u64().unwrap_or(0);
        let apart = number("differing") + number("only_source") + number("only_target");
        self.0.set_message(format!("{} rows compared, {apart} differ", number("compared")));
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

async fn verify(client: &Client, output: Output, tag: &str, repair: bool) -> anyhow::Result<ExitCode> {
    let request = client.request(Method::POST, &format!("/api/v1/syncs/{tag}/verify"));
    let progress = Progress::new();
    let mut report = None;
    let seen = |line: Value| {
        if let Some(counts) = line.get("progress") {
            progress.show(counts);
        } else if let Some(error) = line.get("error") {
            bail!("{}: {}", text_at(error, "code"), text_at(error, "message"));
        } else {
            report = line.get("report").cloned();
        }
        Ok(())
    };
    let ended = client.lines(request.query(&[("repair", repair)]), seen).await;
    progress.clear();
    ended?;
    let report = report.context("the answer broke off before the report: triggerd may have been stopped")?;
    let number = |name: &str| report[name].as_u64().unwrap_or(0);
    let apart = number("differing") + number("only_source") + number("only_target");
    let sentence = format!(
        "{} compared: {} same, {} differing, {} only in the source, {} only in the target; {} put right, {} failed",
        number("compared"),
        number("same"),
        number("differing"),
        number("only_source"),
        number("only_target"),
        number("repaired"),
        number("failed"),
    );
    output.done(&sentence, &report);
    if !output.json {
        for example in report["examples"].as_array().into_iter().flatten() {
            let error = example["error"].as_str().map(|error| format!(": {error}")).unwrap_or_default();
            println!("  {} {}{error}", text_at(example, "found"), text_at(example, "key"));
        }
    }
    let well = number("failed") == 0 && (repair || apart == 0);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
