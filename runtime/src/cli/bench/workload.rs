//! What every event goes through.

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::guest::{self, Sort};
use super::limits::Limit;
use super::server::Server;

/// What every event goes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Workload {
    /// No trigger matches: acceptance alone.
    Unmatched,
    /// A condition and a log line.
    Log,
    /// A condition and a Wasm action.
    Wasm,
    /// A condition and a signed webhook to the built-in receiver.
    Http,
    /// The same, delivered from a backlog: the receiver answers once `--backlog` events are accepted.
    Backlog,
    /// Ten triggers, each with a condition and a log line.
    #[value(name = "fanout-10")]
    Fanout10,
    /// A condition and a log line, one run of a customer at a time.
    Ordered,
    /// Batches of events that match nothing.
    Batch,
    /// The execute call with a Wasm guard: a writer waits for the answer, and nothing is stored.
    Execute,
}

/// Events in a request of `batch` where `--batch` says nothing else.
const BATCH: usize = 500;
/// What webhooks are signed with.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// What is stored before the load, besides what the workload itself needs.
pub struct Extras<'b> {
    /// The component of `wasm` and `execute` instead of the built-in one.
    pub component: Option<&'b std::path::Path>,
    /// What that component is given: JSON, which may hold templates.
    pub input: &'b str,
    /// Further components that are not called.
    pub components: usize,
    /// Further triggers that do not match.
    pub triggers: usize,
}

impl Workload {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unmatched => "unmatched",
            Self::Log => "log",
            Self::Wasm => "wasm",
            Self::Http => "http",
            Self::Backlog => "backlog",
            Self::Fanout10 => "fanout-10",
            Self::Ordered => "ordered",
            Self::Batch => "batch",
            Self::Execute => "execute",
        }
    }

    /// Events in a request where nobody says.
    #[must_use]
    pub fn batch(self) -> usize {
        if self == Self::Batch { BATCH } else { 1 }
    }

    /// Whether events become runs.
    #[must_use]
    pub fn has_runs(self) -> bool {
        !matches!(self, Self::Unmatched | Self::Batch | Self::Execute)
    }

    /// What the machine could do at most of what this needs: each result is told as a share of the least of them.
    #[must_use]
    pub fn limits(self, batch: usize) -> Vec<Limit> {
        let mut limits = match self {
            Self::Execute => vec![Limit::Calls],
            Self::Wasm => vec![Limit::Inserts, Limit::Calls],
            Self::Http => vec![Limit::Inserts, Limit::Deliveries],
            Self::Backlog => return vec![Limit::Deliveries],
            Self::Unmatched | Self::Log | Self::Fanout10 | Self::Ordered | Self::Batch => vec![Limit::Inserts],
        };
        if batch == 1 {
            limits.push(Limit::Requests);
        }
        limits
    }

    /// Stores the definitions.
    pub async fn prepare(self, server: &Server, receiver: &str, extras: &Extras<'_>) -> anyhow::Result<()> {
        let action = match self {
            Self::Unmatched | Self::Batch => None,
            Self::Log | Self::Fanout10 | Self::Ordered => {
                Some(json!({"type": "log.debug", "config": {"message": "order {{record.id}}"}}))
            }
            Self::Http | Self::Backlog => Some(json!({
                "type": "http.post",
                "config": {"url": receiver, "body": "{{record}}", "signWith": SECRET},
            })),
            Self::Wasm | Self::Execute => {
                let input: Value = serde_json::from_str(extras.input).context("--input is no JSON")?;
                server.push("bench", self.guest(extras)?).await?;
                let state = self == Self::Wasm;
                Some(json!({
                    "type": "custom",
                    "config": {"component": "bench", "input": input, "capabilities": {"state": state}},
                }))
            }
        };
        for index in 0..extras.components {
            server.push(&format!("idle-{index}"), self.guest(extras)?).await?;
        }
        if let Some(action) = action {
            let count = if self == Self::Fanout10 { 10 } else { 1 };
            for index in 0..count {
                let tag = format!("bench-{index}");
                server.trigger(&self.definition(&tag, &wanted(), &action)).await?;
            }
        }
        let never = json!({"type": "log.info", "config": {"message": "never"}});
        for index in 0..extras.triggers {
            let nobody =
                json!({"field": "record.customer_id", "operator": "EQUALS", "value": format!("nobody-{index}")});
            server.trigger(&self.definition(&format!("idle-{index}"), &nobody, &never)).await?;
        }
        Ok(())
    }

    fn definition(self, tag: &str, condition: &Value, action: &Value) -> Value {
        let event = if self == Self::Execute { "beforeInsert" } else { "afterInsert" };
        let mut definition = json!({
            "tag": tag, "tables": ["orders"], "events": [event], "condition": condition, "actions": [action],
        });
        if self == Self::Ordered {
            definition["ordering"] = json!({"key": "{{record.customer_id}}"});
        }
        definition
    }

    fn guest(self, extras: &Extras<'_>) -> anyhow::Result<Vec<u8>> {
        match extras.component {
            Some(file) => std::fs::read(file).with_context(|| format!("cannot read {}", file.display())),
            None if self == Self::Execute => guest::built_in(Sort::Guard),
            None => guest::built_in(Sort::Action),
        }
    }
}

/// A condition that every event of the generator fulfils.
pub fn wanted() -> Value {
    json!({"and": [
        {"field": "record.status", "operator": "EQUALS", "value": "confirmed"},
        {"field": "record.total", "operator": "GREATER_THAN", "value": 10},
    ]})
}
