//! `custom`: the users' own code, as a Wasm component in the sandbox.
//!
//! A component that exports several worlds is called by the one that fits best: its guard in a before-event, else its
//! action, else its transform. A guard may change or refuse the record; a transform's event is what the run's later
//! actions see, and where it lets none out they are skipped.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerd_core::event::{Event, Moment};
use triggerd_core::intake_body::{self, Acceptance};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::{Failure, Outcome};
use triggerd_core::run::Effect;
use triggerd_core::trace::TraceContext;

use super::context::MAX_EXCERPT;
use super::guest_services::{GuestServices, invocation};
use super::record::REJECTED;
use super::{Action, Context, Use, granted};
use crate::components::Loaded;
use crate::redact::Redactor;
use crate::wasm::{Call, CallReport, Capabilities, Export, GuardVerdict, GuestAnswer};

/// `custom`
pub struct Custom;

/// Its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// `NAME` (the latest version), `NAME@VERSION` or `NAME@sha256:…`.
    component: String,
    /// What the guest is given as its input.
    #[serde(default)]
    input: Value,
    /// What this call may reach, besides what the component itself may.
    #[serde(default)]
    capabilities: Value,
}

impl Action for Custom {
    const KIND: &'static str = "custom";
    const WHOLE: Option<&'static str> = Some("input");
    type Config = Config;

    fn whole(config: &mut Config) -> Option<&mut Value> {
        Some(&mut config.input)
    }

    fn check(config: &Value) -> Vec<Mistake> {
        let Some(capabilities) = config.get("capabilities").filter(|written| !has_template(written)) else {
            return Vec::new();
        };
        let found = Capabilities::parse(capabilities).err().unwrap_or_default();
        found.into_iter().map(|mistake| mistake.under("/capabilities")).collect()
    }

    fn uses(config: &Value) -> Vec<Use> {
        config.get("capabilities").map(granted).unwrap_or_default()
    }

    async fn run(cx: Context, config: Config) -> Outcome {
        let loaded = match cx.services.components.resolve(cx.tenant(), &config.component).await {
            Ok(loaded) => loaded,
            Err(failure) if failure.code == "STORE_UNAVAILABLE" => return Outcome::Retry { failure, after: None },
            Err(failure) => return Outcome::Dead(failure),
        };
        let granted = match Capabilities::parse(&config.capabilities) {
            Ok(granted) => granted,
            Err(mistakes) => return Outcome::dead("CONFIG_INVALID", format!("/capabilities{}", mistakes[0])),
        };
        let Some(export) = export_of(&loaded, &cx.event) else {
            let message = format!("component `{}` exports no action, guard or transform", config.component);
            return Outcome::dead("CONFIG_INVALID", message);
        };
        let services = Arc::new(GuestServices::of(&cx));
        let input = config.input.to_string();
        let call = Call {
            component: loaded.name.clone(),
            export,
            invocation: invocation(&cx, input.clone()),
            capabilities: loaded.capabilities.clone().and(granted),
            limits: loaded.limits.clone(),
            services: services.clone(),
        };
        let report = cx.services.components.call(cx.tenant(), &loaded.prepared, call).await;
        let redactor = cx.redactor(&services.given());
        note(&cx, &loaded, &input, &report, &redactor);
        match report.result {
            Ok(answer) => take(&cx, answer, &redactor),
            Err(error) => {
                let failure = Failure::new(error.code, redactor.text(&error.message));
                if error.retryable { Outcome::Retry { failure, after: error.delay } } else { Outcome::Dead(failure) }
            }
        }
    }
}

fn export_of(loaded: &Loaded, event: &Event) -> Option<Export> {
    let before = event.change.as_ref().is_some_and(|change| change.moment == Moment::Before);
    let preferred = if before {
        [Export::Guard, Export::Run, Export::Transform]
    } else {
        [Export::Run, Export::Transform, Export::Guard]
    };
    preferred.into_iter().find(|export| loaded.prepared.exports(*export))
}

/// What a guest's answer means for the run.
fn take(cx: &Context, answer: GuestAnswer, redactor: &Redactor) -> Outcome {
    match answer {
        GuestAnswer::Json(value) => Outcome::Done(redactor.value(value)),
        GuestAnswer::Guard(GuardVerdict::Proceed) => Outcome::Done(json!({"verdict": "proceed"})),
        GuestAnswer::Guard(GuardVerdict::Change(record)) => {
            *cx.effect.lock() = Some(Effect::Record(record));
            Outcome::Done(json!({"verdict": "change"}))
        }
        GuestAnswer::Guard(GuardVerdict::Refuse { code, message }) => {
            *cx.effect.lock() = Some(Effect::Refuse);
            let code = code.filter(|code| !code.is_empty()).unwrap_or_else(|| REJECTED.to_owned());
            Outcome::dead(code, redactor.text(&message))
        }
        GuestAnswer::Transform(None) => {
            *cx.effect.lock() = Some(Effect::Drop);
            Outcome::Done(Value::Null)
        }
        GuestAnswer::Transform(Some(body)) => transformed(cx, body),
        GuestAnswer::Matches(_) => Outcome::dead("WASM_RESULT", "the component answered with a condition's verdict"),
    }
}

/// The run goes on with the rows of the event that a transform let out, a body of `POST /api/v1/events`.
fn transformed(cx: &Context, body: Value) -> Outcome {
    let acceptance = Acceptance {
        id: cx.event.id,
        tenant: cx.tenant().clone(),
        now: cx.event.accepted_at,
        trace: TraceContext::default(),
    };
    match intake_body::from_json(body, acceptance) {
        Ok(event) => {
            let Event { record, previous_record, .. } = event;
            *cx.effect.lock() = Some(Effect::Rows { record: record.clone(), previous_record });
            Outcome::Done(record)
        }
        Err(mistakes) => {
            let message = format!("the transform's event is not a body of POST /api/v1/events: {}", mistakes[0]);
            Outcome::dead("WASM_RESULT", message)
        }
    }
}

/// Keeps what the guest was given and what it wrote with the attempt, as far as they fit; every line also goes to
/// the server's log.
fn note(cx: &Context, loaded: &Loaded, input: &str, report: &CallReport, redactor: &Redactor) {
    let shown = redactor.text(input);
    let input = if shown.len() > MAX_EXCERPT / 2 { format!("{} bytes", shown.len()) } else { shown };
    let mut kept = Vec::new();
    let mut left = MAX_EXCERPT;
    for line in &report.logs {
        let fields = if line.fields.is_null() { String::new() } else { format!(" {}", line.fields) };
        let text = redactor.text(&format!("{} {}{fields}", line.level, line.message));
        tracing::debug!(run.id = %cx.run_id, action = %cx.action, "guest: {text}");
        if text.len() > left {
            break;
        }
        left -= text.len();
        kept.push(text);
    }
    let dropped = report.logs_dropped + (report.logs.len() - kept.len()) as u64;
    let mut excerpt = cx.excerpt.lock();
    excerpt.request = Some(json!({"component": loaded.name, "version": loaded.version, "input": input}));
    excerpt.response = Some(json!({
        "logs": kept,
        "logs_dropped": dropped,
        "cpu_ms": report.cpu.as_secs_f64() * 1000.0,
        "memory_bytes": report.memory_peak,
    }));
}

fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{"),
        Value::Array(items) => items.iter().any(has_template),
        Value::Object(fields) => fields.values().any(has_template),
        _ => false,
    }
}
