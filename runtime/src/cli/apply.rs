//! `triggerd apply` and `export`: definitions as files.
//!
//! A directory holds `triggers/*.json`, and resources of every kind but secrets in `<kind>/<tag>.json` (`caches/main.json`).
//! Components stand in `components/<name>.wasm`, with `components/<name>.json` as their settings. Files at the top
//! that have `actions` are triggers too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use similar::TextDiff;

use super::client::{Client, problem_text};
use super::components::read_json;
use super::output::Output;
use crate::resources::KINDS;

/// Resource kinds that stand in files. Secrets do not: they are never read back, and never written to disk.
fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().filter(|kind| !kind.hidden && !kind.own_routes).map(|kind| kind.name)
}

/// `triggerd apply`.
#[derive(Args)]
pub struct Apply {
    /// The directory.
    #[arg(short = 'f', long = "file")]
    dir: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Delete triggers that the directory does not hold.
    #[arg(long)]
    prune: bool,
}

/// `triggerd export`.
#[derive(Args)]
pub struct Export {
    /// The directory to write; made where it is missing.
    #[arg(short = 'f', long = "file")]
    dir: PathBuf,
}

/// What a directory holds.
#[derive(Default)]
struct Bundle {
    /// (kind, tag) → settings.
    resources: BTreeMap<(&'static str, String), Value>,
    /// name → (file, settings).
    components: BTreeMap<String, (PathBuf, Option<Value>)>,
    /// tag → definition.
    triggers: BTreeMap<String, Value>,
}

/// One thing to do.
struct Step {
    verb: &'static str,
    what: String,
    diff: Option<String>,
    request: Option<(Method, String, Body)>,
}

enum Body {
    None,
    Json(Value),
    File(PathBuf),
}

impl Apply {
    /// Runs the command. Everything is checked before anything is changed.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        let bundle = Bundle::read(&self.dir)?;
        let steps = plan(client, &bundle, self.prune).await?;
        if !self.dry_run {
            for step in &steps {
                perform(client, step).await?;
            }
        }
        report(output, &steps, self.dry_run);
        Ok(ExitCode::SUCCESS)
    }
}

impl Bundle {
    fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut bundle = Self::default();
        for file in json_files(dir)?.into_iter().chain(json_files(&dir.join("triggers"))?) {
            bundle.add_trigger(&file)?;
        }
        for kind in kinds() {
            for file in json_files(&dir.join(kind))? {
                bundle.resources.insert((kind, stem(&file)), read_json(&file)?);
            }
        }
        let components = dir.join("components");
        for file in files(&components, "wasm")? {
            let settings = components.join(format!("{}.json", stem(&file)));
            let settings = settings.is_file().then(|| read_json(&settings)).transpose()?;
            bundle.components.insert(stem(&file), (file, settings));
        }
        if bundle.triggers.is_empty() && bundle.resources.is_empty() && bundle.components.is_empty() {
            bail!(
                "{} holds no definitions: expected triggers/*.json, {}/*.json or components/*.wasm",
                dir.display(),
                kinds().collect::<Vec<_>>().join("/*.json, ")
            );
        }
        Ok(bundle)
    }

    fn add_trigger(&mut self, file: &Path) -> anyhow::Result<()> {
        let definition = read_json(file)?;
        if definition.get("actions").is_none() {
            return Ok(());
        }
        let Some(tag) = definition["tag"].as_str() else { bail!("{}: /tag: a trigger needs a tag", file.display()) };
        let tag = tag.to_owned();
        if self.triggers.insert(tag.clone(), definition).is_some() {
            bail!("{}: the tag `{tag}` stands in another file too", file.display());
        }
        Ok(())
    }
}

async fn plan(client: &Client, bundle: &Bundle, prune: bool) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for ((kind, tag), settings) in &bundle.resources {
        let path = format!("/api/v1/{kind}/{tag}");
        let current = client.send(client.request(Method::GET, &path)).await?;
        let current = if current.status == 404 { None } else { Some(current.success()?["settings"].clone()) };
        steps.push(step(format!("{kind}/{tag}"), current, settings, (Method::PUT, path, Body::Json(settings.clone()))));
    }
    for (name, (file, settings)) in &bundle.components {
        let path = format!("/api/v1/components/{name}");
        steps.push(Step {
            verb: "push",
            what: format!("components/{name}"),
            diff: None,
            request: Some((Method::PUT, path.clone(), Body::File(file.clone()))),
        });
        if let Some(settings) = settings {
            steps.push(Step {
                verb: "set",
                what: format!("components/{name} settings"),
                diff: None,
                request: Some((Method::PATCH, path, Body::Json(settings.clone()))),
            });
        }
    }
    let current: BTreeMap<String, Value> = current_triggers(client).await?;
    for (tag, definition) in &bundle.triggers {
        let known = current.get(tag).cloned();
        steps.push(step(
            format!("triggers/{tag}"),
            known,
            definition,
            (Method::PUT, format!("/api/v1/triggers/{tag}"), Body::Json(definition.clone())),
        ));
    }
    for tag in current.keys().filter(|tag| prune && !bundle.triggers.contains_key(*tag)) {
        steps.push(Step {
            verb: "delete",
            what: format!("triggers/{tag}"),
            diff: None,
            request: Some((Method::DELETE, format!("/api/v1/triggers/{tag}"), Body::None)),
        });
    }
    check(client, bundle).await?;
    Ok(steps)
}

/// Lets the server check every definition, so that a mistake in the last one does not leave the first applied.
/// Mistakes about components that this directory brings are not mistakes yet.
async fn check(client: &Client, bundle: &Bundle) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for (tag, definition) in &bundle.triggers {
        let answer = client.expect(client.request(Method::POST, "/api/v1/triggers/validate").json(definition)).await?;
        for mistake in answer["errors"].as_array().into_iter().flatten() {
            let detail = mistake["detail"].as_str().unwrap_or_default();
            let comes_along = bundle.components.keys().any(|name| detail.contains(&format!("component `{name}`")));
            if !comes_along {
                found.push(format!("  trigger `{tag}`: {}: {detail}", mistake["pointer"].as_str().unwrap_or_default()));
            }
        }
    }
    if found.is_empty() {
        Ok(())
    } else {
        bail!("nothing was applied, the definitions have mistakes:\n{}", found.join("\n"))
    }
}

async fn current_triggers(client: &Client) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut current = BTreeMap::new();
    for item in client.all("/api/v1/triggers", "triggers", &[]).await? {
        if let Some(tag) = item["tag"].as_str().map(str::to_owned) {
            current.insert(tag, definition_of(item));
        }
    }
    Ok(current)
}

/// What the server adds to a definition when it shows it is taken away again.
fn definition_of(mut item: Value) -> Value {
    if let Some(fields) = item.as_object_mut() {
        for added in ["version", "created_at", "updated_at", "status"] {
            fields.shift_remove(added);
        }
    }
    item
}

fn step(what: String, current: Option<Value>, wanted: &Value, request: (Method, String, Body)) -> Step {
    match current {
        None => Step { verb: "create", what, diff: None, request: Some(request) },
        Some(current) if current == *wanted => Step { verb: "unchanged", what, diff: None, request: None },
        Some(current) => Step { verb: "change", what, diff: Some(diff(&current, wanted)), request: Some(request) },
    }
}

fn diff(current: &Value, wanted: &Value) -> String {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    let (old, new) = (pretty(current), pretty(wanted));
    TextDiff::from_lines(&old, &new).unified_diff().context_radius(2).to_string()
}

async fn perform(client: &Client, step: &Step) -> anyhow::Result<()> {
    let Some((method, path, body)) = &step.request else { return Ok(()) };
    let request = client.request(method.clone(), path);
    let request = match body {
        Body::None => request,
        Body::Json(value) => request.json(value),
        Body::File(file) => {
            let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            request.header("content-type", "application/wasm").body(bytes)
        }
    };
    let answer = client.send(request).await?;
    if answer.status >= 400 {
        bail!("{}: {}", step.what, problem_text(answer.status, &answer.body));
    }
    Ok(())
}

fn report(output: Output, steps: &[Step], dry_run: bool) {
    if output.json {
        let steps: Vec<Value> = steps.iter().map(|s| json!({"verb": s.verb, "what": s.what, "diff": s.diff})).collect();
        return output.value(&json!({"dry_run": dry_run, "steps": steps}));
    }
    for step in steps {
        println!("{:<9}  {}", step.verb, step.what);
        if let Some(diff) = &step.diff {
            diff.lines().for_each(|line| println!("    {line}"));
        }
    }
    let changes = steps.iter().filter(|s| s.request.is_some()).count();
    println!("{changes} {}", if dry_run { "to do (dry run, nothing was changed)" } else { "done" });
}

impl Export {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        let mut written = Vec::new();
        for (tag, definition) in current_triggers(client).await? {
            written.push(write(&self.dir.join("triggers"), &tag, &definition)?);
        }
        for kind in kinds() {
            for item in client.all(&format!("/api/v1/{kind}"), kind, &[]).await? {
                if let Some(tag) = item["tag"].as_str() {
                    written.push(write(&self.dir.join(kind), tag, &item["settings"])?);
                }
            }
        }
        let files: Vec<Value> = written.iter().map(|file| Value::String(file.display().to_string())).collect();
        output.done(&format!("Wrote {} files below {}", files.len(), self.dir.display()), &Value::Array(files.clone()));
        Ok(ExitCode::SUCCESS)
    }
}

fn write(dir: &Path, name: &str, value: &Value) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = dir.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(value)? + "\n";
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn json_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    files(dir, "json")
}

fn files(dir: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}
