//! `custom`: a Wasm component, which may also be a before-event's guard or a transform of the event.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use triggerd_core::event::Moment;
use triggerd_core::intake_body::{self, Acceptance};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;
use triggerd_core::run::Effect;

use super::guest_services::GuestServices;
use super::{Action, Context, MAX_EXCERPT, record};
use crate::components::Loaded;
use crate::failed::Failed;
use crate::redact::Redactor;
use crate::wasm::{Call, CallError, CallReport, Capabilities, Export, GuardVerdict, GuestAnswer, Invocation};

/// `custom`
pub struct Custom;

/// Its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The component: `NAME` for its latest version, `NAME@VERSION`, or `NAME@sha256:...`.
    component: String,
    /// What the component is given as its input.
    #[serde(default)]
    input: Value,
    /// What it may reach, on top of the component's own grants: `{"state": true, "http": ["api.example.com"]}`.
    #[serde(default)]
    capabilities: Map<String, Value>,
}

impl Action for Custom {
    const KIND: &'static str = "custom";
    type Config = Config;

    fn check(config: &Value) -> Vec<Mistake> {
        let written = config.get("capabilities").filter(|value| !has_template(value));
        let found = written.and_then(|value| Capabilities::parse(value).err()).unwrap_or_default();
        found.into_iter().map(|mistake| mistake.under("/capabilities")).collect()
    }

    async fn run(cx: Context, config: Config) -> Outcome {
        match call(&cx, config).await {
            Ok(outcome) => outcome,
            Err(failed) => failed.into(),
        }
    }
}

fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{"),
        Value::Array(items) => items.iter().any(has_template),
        Value::Object(fields) => fields.values().any(has_template),
        _ => false,
    }
}

async fn call(cx: &Context, config: Config) -> Result<Outcome, Failed> {
    let components = &cx.services.components;
    let loaded = components.resolve(cx.tenant(), &config.component).await.map_err(|failure| {
        // A store that is away comes back; a component that is not there does not.
        let retryable = failure.code == "STORE_UNAVAILABLE";
        Failed { failure, retryable, after: None }
    })?;
    let own = Capabilities::parse(&Value::Object(config.capabilities)).map_err(|mistakes| {
        let all: Vec<String> = mistakes.into_iter().map(|m| m.under("/capabilities").to_string()).collect();
        Failed::permanent("CONFIG_INVALID", all.join("; "))
    })?;
    let export = export(cx, &loaded)?;
    let services = GuestServices::new(cx.services.clone(), cx.event.clone(), cx.trigger.clone(), cx.run_id, &loaded);
    let services = Arc::new(services);
    let mut limits = loaded.limits.clone();
    // Its own name for running out of time comes before the attempt's end.
    let left = cx.deadline.saturating_duration_since(tokio::time::Instant::now());
    limits.wall = limits.wall.min(left.saturating_sub(Duration::from_millis(50)));
    let call = Call {
        component: loaded.name.clone(),
        export,
        invocation: invocation(cx, &config.input),
        capabilities: loaded.capabilities.clone().and(own),
        limits,
        services: services.clone(),
    };
    let report = components.host().call(&loaded.prepared, call).await;
    let redactor = cx.redactor(&services.given());
    keep_excerpt(cx, &loaded, &config.input, &report, &redactor);
    Ok(settle(cx, report.result, &redactor))
}

fn invocation(cx: &Context, input: &Value) -> Invocation {
    Invocation {
        delivery_id: cx.delivery_id.to_string(),
        attempt: cx.attempt,
        trigger: cx.trigger.to_string(),
        action: cx.action.to_string(),
        input: input.to_string(),
        results: Value::Object((*cx.outputs).clone()).to_string(),
        traceparent: Some(cx.traceparent()),
        ..Invocation::of_event(&cx.event)
    }
}

/// Which of its functions is called: a guard's first where the write is still to come, an action's otherwise.
fn export(cx: &Context, loaded: &Loaded) -> Result<Export, Failed> {
    let before = cx.event.change.as_ref().is_some_and(|change| change.moment == Moment::Before);
    let wanted = if before {
        [("guard", Export::Guard), ("action", Export::Run), ("transform", Export::Transform)]
    } else {
        [("action", Export::Run), ("transform", Export::Transform), ("guard", Export::Guard)]
    };
    let found = wanted.into_iter().find(|(world, _)| loaded.has(world));
    found.map(|(_, export)| export).ok_or_else(|| {
        Failed::permanent(
            "WASM_INTERFACE",
            format!("component `{}` exports no action, guard or transform", loaded.name),
        )
    })
}

fn settle(cx: &Context, result: Result<GuestAnswer, CallError>, redactor: &Redactor) -> Outcome {
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => return refused(error, redactor).into(),
    };
    let effect = |effect: Effect| *cx.effect.lock() = Some(effect);
    match answer {
        GuestAnswer::Json(value) => Outcome::Done(redactor.value(value)),
        GuestAnswer::Guard(GuardVerdict::Proceed) => Outcome::Done(json!({ "verdict": "proceed" })),
        GuestAnswer::Guard(GuardVerdict::Change(changed)) => {
            effect(Effect::Record(changed));
            Outcome::Done(json!({ "verdict": "change" }))
        }
        GuestAnswer::Guard(GuardVerdict::Refuse { code, message }) => {
            Outcome::dead(code.unwrap_or_else(|| record::REJECTED.to_owned()), redactor.text(&message))
        }
        GuestAnswer::Transform(None) => {
            effect(Effect::Drop);
            Outcome::Done(Value::Null)
        }
        GuestAnswer::Transform(Some(event)) => match rewritten(cx, event) {
            Ok(rewritten) => {
                effect(Effect::Record(rewritten.clone()));
                Outcome::Done(redactor.value(rewritten))
            }
            Err(failed) => failed.into(),
        },
        GuestAnswer::Matches(verdict) => Outcome::Done(verdict.into()),
    }
}

fn refused(error: CallError, redactor: &Redactor) -> Failed {
    let message = redactor.text(&error.message);
    let failed =
        if error.retryable { Failed::transient(error.code, message) } else { Failed::permanent(error.code, message) };
    Failed { after: error.delay, ..failed }
}

/// The record of the event that a transform let out, in whichever form that intake takes.
fn rewritten(cx: &Context, event: Value) -> Result<Value, Failed> {
    let acceptance = Acceptance {
        id: cx.event.id,
        tenant: cx.event.tenant.clone(),
        now: cx.services.clock.now(),
        traceparent: None,
    };
    let parsed = intake_body::from_json(event, acceptance).map_err(|mistakes| {
        let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        Failed::permanent("WASM_RESULT", format!("the transform's event: {}", all.join("; ")))
    })?;
    Ok(parsed.record)
}

fn keep_excerpt(cx: &Context, loaded: &Loaded, input: &Value, report: &CallReport, redactor: &Redactor) {
    let bounded = |value: Value| {
        let text = value.to_string();
        if text.len() <= MAX_EXCERPT / 2 { value } else { format!("{} bytes", text.len()).into() }
    };
    let mut logs = Vec::new();
    let mut room = MAX_EXCERPT / 2;
    for line in &report.logs {
        let shown = redactor.value(json!({ "level": line.level, "message": line.message, "fields": line.fields }));
        let bytes = shown.to_string().len();
        if bytes > room {
            break;
        }
        room -= bytes;
        logs.push(shown);
    }
    let dropped = report.logs_dropped + (report.logs.len() - logs.len()) as u64;
    let mut excerpt = cx.excerpt.lock();
    excerpt.request = Some(json!({
        "component": loaded.name,
        "version": loaded.version,
        "input": bounded(redactor.value(input.clone())),
    }));
    excerpt.response = Some(json!({
        "logs": logs,
        "logsDropped": dropped,
        "durationMs": report.duration.as_secs_f64() * 1000.0,
        "cpuMs": report.cpu.as_secs_f64() * 1000.0,
        "memoryBytes": report.memory_peak,
    }));
}
