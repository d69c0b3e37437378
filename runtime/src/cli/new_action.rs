//! `triggerd new`: the beginnings of a custom action.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use triggerd_core::id::is_tag;

/// Begin something new.
#[derive(Subcommand)]
pub enum New {
    /// A custom action as a Wasm component: source, sample event, trigger, tests.
    Action {
        /// Its name: the directory, the crate and the component.
        name: String,
        /// The language.
        #[arg(long, value_enum, default_value_t = Lang::Rust)]
        lang: Lang,
        /// A checkout's `sdk/rust`, to depend on by path; else the SDK comes from the project's repository.
        #[arg(long)]
        sdk: Option<PathBuf>,
    },
}

/// Languages with an SDK.
#[derive(Clone, Copy, ValueEnum)]
pub enum Lang {
    /// Rust, with `triggerd-sdk`.
    Rust,
}

const CARGO: &str = r#"[package]
name = "NAME"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
serde = { version = "1", features = ["derive"] }
serde_json = "1"
triggerd-sdk = SDK

[profile.release]
lto = true
opt-level = "s"
strip = true
panic = "abort"

[workspace]
"#;

const LIB: &str = r#"//! NAME: a custom action for triggerd.

use serde::{Deserialize, Serialize};
use triggerd_sdk::{ActionError, Context};

/// What a trigger gives as `input`.
#[derive(Deserialize)]
struct Input {
    name: String,
}

/// What later actions read as `actions.NAME.output`.
#[derive(Serialize, Debug, PartialEq)]
struct Greeting {
    text: String,
}

#[triggerd_sdk::action]
fn run(cx: Context<Input>) -> Result<Greeting, ActionError> {
    let name = &cx.input().name;
    if name.is_empty() {
        return Err(ActionError::permanent("NO_NAME", "the input has an empty `name`"));
    }
    Ok(Greeting { text: format!("Hello, {name}!") })
}
"#;

const TRIGGER: &str = r#"{
  "tag": "NAME",
  "events": ["NAME.wanted"],
  "actions": [
    {"name": "greet", "type": "custom", "config": {"component": "NAME", "input": {"name": "{{payload.name}}"}}}
  ]
}
"#;

const EVENT: &str = r#"{"type": "NAME.wanted", "payload": {"name": "Ada"}}
"#;

const README: &str = r#"# NAME

    cargo build --release --target wasm32-wasip2
    triggerd component test target/wasm32-wasip2/release/CRATE.wasm --event event.json --input input.json
    triggerd component push NAME target/wasm32-wasip2/release/CRATE.wasm
    triggerd apply -f .
    triggerd event send event.json --wait
"#;

const INPUT: &str = "{\"name\": \"Ada\"}\n";

impl New {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Action { name, lang: Lang::Rust, sdk } = self;
        if !is_tag(&name) || name.contains('.') {
            bail!(
                "`{name}` cannot name a component: small letters, digits, `-` and `_`, beginning with a letter or digit"
            );
        }
        let dir = Path::new(&name);
        if dir.exists() {
            bail!("{} exists already", dir.display());
        }
        let sdk = match sdk {
            Some(path) => format!(
                "{{ path = {:?} }}",
                path.canonicalize().with_context(|| format!("no SDK at {}", path.display()))?
            ),
            None => format!("{{ git = {:?} }}", env!("CARGO_PKG_REPOSITORY")),
        };
        std::fs::create_dir_all(dir.join("src")).with_context(|| format!("cannot make {}", dir.display()))?;
        let files = [
            ("Cargo.toml", CARGO),
            ("src/lib.rs", LIB),
            ("trigger.json", TRIGGER),
            ("event.json", EVENT),
            ("input.json", INPUT),
            ("README.md", README),
        ];
        for (file, text) in files {
            let text = text.replace("SDK", &sdk).replace("CRATE", &name.replace('-', "_"));
            let text = if file == "src/lib.rs" {
                text.replacen("NAME", &name, 1).replace("actions.NAME", "actions.greet")
            } else {
                text.replace("NAME", &name)
            };
            let path = dir.join(file);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        println!("Made {}. Next: cd {name} && cargo build --release --target wasm32-wasip2", dir.display());
        Ok(ExitCode::SUCCESS)
    }
}
