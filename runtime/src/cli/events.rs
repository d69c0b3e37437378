//! `triggerd event`, `inbox`, `dead-letters`, `replay`: what came in and what became of it.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use super::archive;
use super::client::Client;
use super::output::{Output, text_at};

/// Events.
#[derive(Subcommand)]
pub enum Event {
    /// Send an event: a file, `-` for standard input, or --type with --payload.
    Send {
        /// A body of POST /events; `-` is standard input. A file of several lines that each are JSON is sent as a batch.
        file: Option<PathBuf>,
        /// The event's type.
        #[arg(long = "type", conflicts_with = "file", requires = "payload")]
        event_type: Option<String>,
        /// The event's payload as JSON.
        #[arg(long, requires = "event_type")]
        payload: Option<String>,
        /// Wait until its runs have ended, and print them.
        #[arg(long)]
        wait: bool,
    },
    /// Print an event with its runs, and why other triggers did not match.
    Show {
        /// The event's id.
        id: String,
    },
    /// Write events as lines of JSON, oldest first.
    Export {
        /// Which events.
        #[command(flatten)]
        filter: Filter,
        /// With runs and attempts.
        #[arg(long)]
        runs: bool,
        /// Go on behind the event of this id: the last one of an export that broke off.
        #[arg(long)]
        after: Option<String>,
        /// Into this file, which is lengthened where --after is given; else to standard output.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Erase what events say about somebody. Ids and outcomes stay.
    Erase {
        /// Where somebody is named: a dotted path or a query, such as `$.customer.email`.
        #[arg(long, requires = "value", required_unless_present = "user", conflicts_with = "user")]
        path: Option<String>,
        /// What stands there: JSON, or a text as it is.
        #[arg(long, requires = "path")]
        value: Option<String>,
        /// The id of who made the change: JSON, or a text as it is.
        #[arg(long)]
        user: Option<String>,
        /// Which events.
        #[command(flatten)]
        filter: Filter,
        /// Without asking again.
        #[arg(long)]
        yes: bool,
        /// Only say how many there are.
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
    },
    /// Print events and run ends as they happen.
    Tail {
        /// Only events of this type.
        #[arg(long = "type")]
        event_type: Option<String>,
    },
}

/// Which events.
#[derive(Args)]
pub struct Filter {
    /// Of this type.
    #[arg(long = "type")]
    event_type: Option<String>,
    /// pending, delivered, failed or unmatched.
    #[arg(long)]
    status: Option<String>,
    /// From this source.
    #[arg(long)]
    source: Option<String>,
    /// Of this table.
    #[arg(long)]
    table: Option<String>,
    /// Accepted at or after (RFC 3339).
    #[arg(long)]
    start: Option<String>,
    /// Accepted before (RFC 3339).
    #[arg(long)]
    end: Option<String>,
}

/// `triggerd inbox`.
#[derive(Args)]
pub struct Inbox {
    #[command(flatten)]
    filter: Filter,
    /// How many.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// `triggerd dead-letters`.
#[derive(Args)]
pub struct DeadLetters {
    #[command(subcommand)]
    what: Option<DeadLetter>,
    #[command(flatten)]
    filter: Filter,
    /// Of this trigger.
    #[arg(long)]
    trigger: Option<String>,
}

#[derive(Subcommand)]
enum DeadLetter {
    /// Print one with its attempts.
    Show { run_id: String },
    /// Run one again, from the action that failed.
    Replay { run_id: String },
    /// Drop one for good.
    Drop { run_id: String },
}

/// `triggerd replay`.
#[derive(Args)]
pub struct Replay {
    /// One event; without it, every event that the filters let through.
    id: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Replay by filter without asking again.
    #[arg(long)]
    yes: bool,
    /// Only say what would be done.
    #[arg(long, conflicts_with_all = ["id", "yes"])]
    dry_run: bool,
}

impl Filter {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let fields = [
            ("event_type", &self.event_type),
            ("status", &self.status),
            ("source", &self.source),
            ("table", &self.table),
            ("start_time", &self.start),
            ("end_time", &self.end),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

impl Event {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        match self {
            Self::Send { file, event_type, payload, wait } => {
                let body = match (file, event_type) {
                    (Some(file), _) => read_text(&file)?,
                    (None, Some(event_type)) => {
                        let payload = payload.unwrap_or_else(|| "{}".into());
                        let payload: Value = serde_json::from_str(&payload).context("--payload is not JSON")?;
                        json!({"type": event_type, "payload": payload}).to_string()
                    }
                    (None, None) => bail!("give a file, `-`, or --type with --payload"),
                };
                send(client, output, body, wait).await
            }
            Self::Show { id } => {
                let event = client.get(&format!("/api/v1/events/{id}"), &[]).await?;
                if output.json {
                    output.value(&event)
                } else {
                    print_event(&event)
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Tail { event_type } => tail(client, output, event_type).await,
            Self::Export { filter, runs, after, output: file } => {
                archive::export(client, &filter, runs, after.as_deref(), file.as_deref()).await
            }
            Self::Erase { path, value, user, filter, yes, dry_run } => {
                let named = archive::named(path, value, user);
                archive::erase(client, output, named, &filter, yes, dry_run).await
            }
        }
    }
}

async fn send(client: &Client, output: Output, body: String, wait: bool) -> anyhow::Result<ExitCode> {
    let lines = body.lines().filter(|line| !line.trim().is_empty()).count();
    let is_batch = serde_json::from_str::<Value>(&body).is_err() && lines > 1;
    if is_batch {
        let request =
            client.request(Method::POST, "/api/v1/events/batch").header("content-type", "application/x-ndjson");
        output.value(&client.expect(request.body(body)).await?);
        return Ok(ExitCode::SUCCESS);
    }
    let path = if wait { "/api/v1/events?wait=true" } else { "/api/v1/events" };
    let answer =
        client.expect(client.request(Method::POST, path).header("content-type", "application/json").body(body)).await?;
    match answer["event_id"].as_str() {
        Some(id) if wait && !output.json => print_event(&client.get(&format!("/api/v1/events/{id}"), &[]).await?),
        Some(id) => output.done(&format!("Accepted {id}"), &answer),
        None => output.value(&answer),
    }
    Ok(ExitCode::SUCCESS)
}

/// An event for people: what came in, then each run with its actions.
pub fn print_event(event: &Value) {
    println!("{}  {}  {}", text_at(event, "event_id"), text_at(event, "type"), text_at(event, "status"));
    for run in event["runs"].as_array().into_iter().flatten() {
        println!("  {} (version {}): {}", text_at(run, "trigger"), text_at(run, "version"), text_at(run, "status"));
        for action in run["actions"].as_array().into_iter().flatten() {
            print_action(action);
        }
    }
    for other in event["not_matched"].as_array().into_iter().flatten() {
        println!("  {} did not match", text_at(other, "trigger"));
    }
}

fn print_action(action: &Value) {
    let attempts = action["attempts"].as_array().map_or(0, Vec::len);
    let mut line =
        format!("    {} [{}]: {}", text_at(action, "name"), text_at(action, "type"), text_at(action, "status"));
    if let Some(reason) = action["reason"].as_str() {
        line.push_str(&format!(" ({reason})"));
    }
    if attempts > 1 {
        line.push_str(&format!(" after {attempts} attempts"));
    }
    if !action["output"].is_null() {
        line.push_str(&format!("  -> {}", shortened(&action["output"].to_string())));
    }
    println!("{line}");
    let last = action["attempts"].as_array().and_then(|attempts| attempts.last());
    if let Some(error) = last.and_then(|attempt| attempt["error"].as_str()) {
        println!("      {}: {error}", text_at(last.unwrap_or(&Value::Null), "error_code"));
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 120 {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(119).collect::<String>())
    }
}

async fn tail(client: &Client, output: Output, event_type: Option<String>) -> anyhow::Result<ExitCode> {
    let query: Vec<(&str, String)> = event_type.map(|t| ("event_type", t)).into_iter().collect();
    let response =
        client.request(Method::GET, "/api/v1/events/stream").query(&query).send().await.context("no server answers")?;
    if !response.status().is_success() {
        bail!("the server refused the stream ({})", response.status());
    }
    let mut chunks = response.bytes_stream();
    let mut pending: Vec<u8> = Vec::new();
    while let Some(chunk) = chunks.next().await {
        pending.extend_from_slice(&chunk.context("the stream broke off")?);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = line.trim_end().strip_prefix("data:") {
                print_item(output, data.trim_start());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_item(output: Output, data: &str) {
    match serde_json::from_str::<Value>(data) {
        Ok(item) if !output.json => {
            let trigger = item["trigger"].as_str().unwrap_or("");
            println!(
                "{}  {:<10}  {}  {}  {trigger}",
                text_at(&item, "timestamp"),
                text_at(&item, "status"),
                text_at(&item, "event_id"),
                text_at(&item, "type")
            );
        }
        _ => println!("{data}"),
    }
}

impl Inbox {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        let mut query = self.filter.query();
        query.push(("limit", self.limit.to_string()));
        let page = client.get("/api/v1/inbox", &query).await?;
        let events = page["events"].as_array().cloned().unwrap_or_default();
        let columns = [
            ("event", "event_id"),
            ("type", "type"),
            ("status", "status"),
            ("attempts", "delivery_attempts"),
            ("source", "source"),
            ("accepted", "timestamp"),
        ];
        output.list(&events, &columns);
        if !output.json {
            println!("{} of {}", events.len(), text_at(&page, "total"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl DeadLetters {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        let one = |run_id: &str| format!("/api/v1/dead-letters/{run_id}");
        match self.what {
            None => {
                let mut query = self.filter.query();
                query.extend(self.trigger.map(|tag| ("trigger", tag)));
                let letters = client.all("/api/v1/dead-letters", "dead_letters", &query).await?;
                output.list(
                    &letters,
                    &[
                        ("run", "run_id"),
                        ("trigger", "trigger"),
                        ("event", "event_id"),
                        ("type", "type"),
                        ("code", "error_code"),
                        ("error", "error"),
                    ],
                );
            }
            Some(DeadLetter::Show { run_id }) => output.value(&client.get(&one(&run_id), &[]).await?),
            Some(DeadLetter::Replay { run_id }) => {
                let answer = client.expect(client.request(Method::POST, &format!("{}/replay", one(&run_id)))).await?;
                output.done(&format!("Run {run_id} is tried again"), &answer);
            }
            Some(DeadLetter::Drop { run_id }) => {
                client.expect(client.request(Method::DELETE, &one(&run_id))).await?;
                output.done(&format!("Dropped {run_id}"), &json!({"dropped": run_id}));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Replay {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        let request = match &self.id {
            Some(id) => client.request(Method::POST, &format!("/api/v1/events/{id}/replay")),
            None => {
                let query = self.filter.query();
                if !self.yes {
                    let mut asked = query.clone();
                    asked.push(("dry_run", "true".into()));
                    let request = client.request(Method::POST, "/api/v1/replay").query(&asked);
                    return told(self.dry_run, output, &client.expect(request).await?);
                }
                client.request(Method::POST, "/api/v1/replay").query(&query)
            }
        };
        let answer = client.expect(request).await?;
        output.done(&format!("{} runs are done again", text_at(&answer, "runs")), &answer);
        Ok(ExitCode::SUCCESS)
    }
}

/// What a replay would do. Whoever did not ask for that has forgotten to say that it is meant.
fn told(is_asked: bool, output: Output, preview: &Value) -> anyhow::Result<ExitCode> {
    let more = if preview["is_complete"] == true { "" } else { " and more" };
    let sum =
        format!("this would replay {} runs of {} events{more}", text_at(preview, "runs"), text_at(preview, "events"));
    if !is_asked {
        bail!("{sum}; say so with --yes, or look at it with --dry-run");
    }
    if output.json {
        output.value(preview);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{sum}");
    for action in preview["actions"].as_array().into_iter().flatten() {
        let (trigger, name) = (text_at(action, "trigger"), text_at(action, "name"));
        println!("  {}  {trigger} {name} [{}]", text_at(action, "count"), text_at(action, "type"));
    }
    for event in preview["samples"].as_array().into_iter().flatten() {
        println!("  {}  {}  {}", text_at(event, "event_id"), text_at(event, "type"), text_at(event, "status"));
    }
    Ok(ExitCode::SUCCESS)
}

fn read_text(file: &PathBuf) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
