//! `triggerd component`: Wasm components.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::output::Output;

/// Wasm components.
#[derive(Subcommand)]
pub enum Component {
    /// Upload a component; the same bytes again are the same version.
    Push {
        /// Its name.
        name: String,
        /// The .wasm file.
        file: PathBuf,
        /// What every call of it may reach, as a JSON file: {"state": true, "http": ["api.example.com"]}.
        #[arg(long)]
        capabilities: Option<PathBuf>,
    },
    /// List components.
    List,
    /// Run a .wasm file, or a stored component, on a sample event; nothing is kept.
    Test {
        /// A .wasm file, or the name of a stored component.
        what: String,
        /// The sample event, as a body of POST /events.
        #[arg(long)]
        event: PathBuf,
        /// The action's input, as a JSON file.
        #[arg(long)]
        input: Option<PathBuf>,
        /// What it may reach, as a JSON file.
        #[arg(long)]
        capabilities: Option<PathBuf>,
    },
}

impl Component {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        match self {
            Self::Push { name, file, capabilities } => {
                let made = push(client, &name, &file).await?;
                if let Some(file) = capabilities {
                    let settings = json!({"capabilities": read_json(&file)?});
                    client
                        .expect(client.request(Method::PATCH, &format!("/api/v1/components/{name}")).json(&settings))
                        .await?;
                }
                output.done(
                    &format!("{name}@{} {}", made["version"], made["digest"].as_str().unwrap_or_default()),
                    &made,
                );
            }
            Self::List => {
                let components = client.all("/api/v1/components", "components", &[]).await?;
                output.list(
                    &components,
                    &[
                        ("name", "name"),
                        ("version", "version"),
                        ("world", "world"),
                        ("size", "size"),
                        ("digest", "digest"),
                    ],
                );
            }
            Self::Test { what, event, input, capabilities } => {
                return test(client, output, &what, &event, input, capabilities).await;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn push(client: &Client, name: &str, file: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let request =
        client.request(Method::PUT, &format!("/api/v1/components/{name}")).header("content-type", "application/wasm");
    client.expect(request.body(bytes)).await
}

async fn test(
    client: &Client,
    output: Output,
    what: &str,
    event: &Path,
    input: Option<PathBuf>,
    capabilities: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let mut body = json!({"event": read_json(event)?});
    if let Some(input) = input {
        body["input"] = read_json(&input)?;
    }
    if let Some(capabilities) = capabilities {
        body["capabilities"] = read_json(&capabilities)?;
    }
    // A file is pushed under a name of its own and taken away again: the server's sandbox is the one that counts.
    let draft = Path::new(what).is_file();
    let name = if draft { format!("draft-{}", std::process::id()) } else { what.to_owned() };
    if draft {
        push(client, &name, Path::new(what)).await?;
    }
    let answer =
        client.send(client.request(Method::POST, &format!("/api/v1/components/{name}/invoke")).json(&body)).await;
    if draft {
        client.expect(client.request(Method::DELETE, &format!("/api/v1/components/{name}"))).await?;
    }
    let answer = answer?.success()?;
    output.value(&answer);
    Ok(if answer["error"].is_null() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads a JSON file as strictly as the server reads a body.
pub fn read_json(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    triggerd_core::json::parse_definition(&text).with_context(|| format!("{} is not acceptable JSON", file.display()))
}
