//! `triggerd event export` and `triggerd event erase`: taking events out, and forgetting what they say.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::events::Filter;
use super::output::{Output, text_at};

/// Writes events as lines of JSON.
pub async fn export(
    client: &Client,
    filter: &Filter,
    runs: bool,
    after: Option<&str>,
    file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let mut query = filter.query();
    query.extend(runs.then(|| ("runs", "true".to_owned())));
    query.extend(after.map(|id| ("after", id.to_owned())));
    let mut to = writer(file, after.is_some())?;
    let (mut count, mut last) = (0_u64, after.map(str::to_owned));
    let request = client.request(Method::GET, "/api/v1/events/export").query(&query);
    let exported = client
        .lines(request, |line| {
            writeln!(to, "{line}").context("cannot write the export")?;
            last = line["event_id"].as_str().map(str::to_owned).or_else(|| last.take());
            count += 1;
            Ok(())
        })
        .await;
    to.flush().context("cannot write the export")?;
    if let Err(error) = exported {
        return Err(match last {
            Some(id) => error.context(format!("the export broke off after {count} events; go on with --after {id}")),
            None => error,
        });
    }
    if file.is_some() {
        eprintln!("Exported {count} events");
    }
    Ok(ExitCode::SUCCESS)
}

fn writer(file: Option<&Path>, goes_on: bool) -> anyhow::Result<Box<dyn Write>> {
    let Some(path) = file else { return Ok(Box::new(BufWriter::new(std::io::stdout()))) };
    let opened = OpenOptions::new().create(true).write(true).append(goes_on).truncate(!goes_on).open(path);
    let opened = opened.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Box::new(BufWriter::new(opened)))
}

/// Whom the arguments name, as the API wants it.
pub fn named(path: Option<String>, value: Option<String>, user: Option<String>) -> Map<String, Value> {
    // A text that is no JSON stands for itself: most values are texts.
    let value_of = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    let members = [("path", path.map(Value::String)), ("value", value.map(value_of)), ("user", user.map(value_of))];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Erases, once somebody has said that it is meant.
pub async fn erase(
    client: &Client,
    output: Output,
    named: Map<String, Value>,
    filter: &Filter,
    yes: bool,
    dry_run: bool,
) -> anyhow::Result<ExitCode> {
    let mut body = named;
    body.extend(filter.query().into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))));
    body.insert("dry_run".to_owned(), json!(!yes));
    let request = client.request(Method::POST, "/api/v1/events/erase").json(&body);
    let report = client.expect(request).await?;
    let events = text_at(&report, "events");
    if yes {
        let runs = text_at(&report, "runs");
        output.done(&format!("Erased what {events} events say, with their {runs} runs"), &report);
    } else if dry_run {
        output.done(&format!("This would erase what {events} events say"), &report);
    } else {
        bail!("this would erase what {events} events say, for good; say so with --yes");
    }
    Ok(ExitCode::SUCCESS)
}
