//! `triggerd audit`: who changed what.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;

use super::client::Client;
use super::output::Output;

/// `triggerd audit`.
#[derive(Args)]
pub struct Audit {
    /// Asked for at or after (RFC 3339).
    #[arg(long)]
    start: Option<String>,
    /// Asked for before (RFC 3339).
    #[arg(long)]
    end: Option<String>,
    /// With the key of this id; `admin` is the admin key.
    #[arg(long = "by")]
    by: Option<String>,
    /// With this method.
    #[arg(long)]
    method: Option<String>,
    /// Of this path and all below it: `/api/v1/triggers`.
    #[arg(long)]
    path: Option<String>,
    /// done, refused, failed or unknown.
    #[arg(long)]
    outcome: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 50, conflicts_with = "export")]
    limit: u32,
    /// All of them, one JSON object a line.
    #[arg(long)]
    export: bool,
}

impl Audit {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        let named = [
            ("start_time", self.start),
            ("end_time", self.end),
            ("key", self.by),
            ("method", self.method),
            ("path", self.path),
            ("outcome", self.outcome),
        ];
        let mut query: Vec<(&str, String)> =
            named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        if self.export {
            let request = client.request(Method::GET, "/api/v1/audit").query(&query);
            client
                .lines(request, |entry| {
                    println!("{entry}");
                    Ok(())
                })
                .await?;
            return Ok(ExitCode::SUCCESS);
        }
        query.push(("limit", self.limit.to_string()));
        let page = client.get("/api/v1/audit", &query).await?;
        let columns = [
            ("at", "at"),
            ("key", "key"),
            ("peer", "peer"),
            ("method", "method"),
            ("path", "path"),
            ("outcome", "outcome"),
            ("before", "before"),
            ("after", "after"),
        ];
        output.list(page["entries"].as_array().map_or(&[][..], Vec::as_slice), &columns);
        Ok(ExitCode::SUCCESS)
    }
}
