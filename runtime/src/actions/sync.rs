//! `sync.apply`: looks after the rows of a captured change. It stands in the triggers that syncs are made of, and in no
//! definition that anybody writes.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerd_core::event::Operation;
use triggerd_core::outcome::Outcome;
use triggerd_core::sync::Side;

use super::{Action, Context};
use crate::failed::{Failed, outcome};
use crate::syncs;

/// `sync.apply`
pub struct Apply;

/// Its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The sync's tag.
    sync: String,
    /// The side that the change was made on.
    side: WrittenSide,
}

/// A side, as settings name it.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum WrittenSide {
    /// The source.
    Source,
    /// The target.
    Target,
}

impl Action for Apply {
    const KIND: &'static str = "sync.apply";
    type Config = Config;

    fn destination(_cx: &Context, config: &Config) -> Option<String> {
        Some(format!("sync:{}", config.sync))
    }

    async fn run(cx: Context, config: Config) -> Outcome {
        outcome(apply(&cx, &config).await)
    }
}

async fn apply(cx: &Context, config: &Config) -> Result<Value, Failed> {
    let Some(plan) = syncs::plan(&cx.services, cx.tenant(), &config.sync).await else {
        // Deleted while this run was on its way: nobody wants what it would do.
        return Ok(json!({"rows": [], "skipped": "the sync is gone"}));
    };
    let plan = plan?;
    if !plan.sync().enabled {
        return Ok(json!({"rows": [], "skipped": "the sync is not enabled"}));
    }
    let side = match config.side {
        WrittenSide::Source => Side::Source,
        WrittenSide::Target => Side::Target,
    };
    if cx.event.change.as_ref().is_some_and(|change| change.operation == Operation::Truncate) {
        return Ok(json!({"outcomes": syncs::truncated(cx, &plan, side).await?}));
    }
    let done = syncs::changed(cx, &plan, side).await?;
    let rows =
        done.iter().map(|applied| json!({"outcome": applied.outcome(), "written": applied.to.map(Side::as_str)}));
    Ok(json!({ "rows": rows.collect::<Vec<_>>() }))
}
