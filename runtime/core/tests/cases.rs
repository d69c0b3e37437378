//! Runs `tests/cases`: every folder is a test.
//!
//! | file | holds |
//! | --- | --- |
//! | `trigger.json` | a definition |
//! | `event.json` | the body of an event, and a `moment` (`before`) where it is not `after` |
//! | `plan.json` | `{"matched", "actions": [{"name", "type", "config", "warnings"}]}`: what it comes to |
//! | `error.json` | or all the mistakes, of the definition or the event: `[{"pointer", "detail"}]` |
//!
//! An action whose condition is false has `"skipped": "condition"`, one that cannot be rendered an `error`, each
//! in place of its config.
#![allow(clippy::unwrap_used)]

mod catalog;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use triggerd_core::compile::compile;
use triggerd_core::definition::{Action, Trigger};
use triggerd_core::event::{Event, Moment};
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::index::Index;
use triggerd_core::intake_body::{Acceptance, from_json};
use triggerd_core::json;
use triggerd_core::mistake::Mistake;
use triggerd_core::template::Scope;
use triggerd_core::trace::TraceContext;

const NOW: &str = "2026-01-31T09:30:00Z";

#[test]
fn every_case_comes_to_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases");
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    let failures: Vec<String> = cases.iter().filter(|case| case.is_dir()).filter_map(|case| failure(case)).collect();
    assert!(failures.is_empty(), "{} cases fail\n\n{}", failures.len(), failures.join("\n\n"));
}

fn failure(case: &Path) -> Option<String> {
    let (found, file) = match outcome(case) {
        Ok(plan) => (plan, "plan.json"),
        Err(mistakes) => (serde_json::to_value(mistakes).unwrap(), "error.json"),
    };
    let other = if file == "plan.json" { "error.json" } else { "plan.json" };
    let wanted = match fs::read(case.join(file)) {
        Ok(text) => json::parse(&text).unwrap(),
        Err(_) => Value::Null,
    };
    let name = case.file_name().unwrap().to_string_lossy();
    if found == wanted && !case.join(other).exists() {
        return None;
    }
    Some(format!("{name}: {file} should be\n{}\nand not\n{}", pretty(&found), pretty(&wanted)))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn outcome(case: &Path) -> Result<Value, Vec<Mistake>> {
    let trigger = Arc::new(compile(&read(&case.join("trigger.json"))?, 1, &catalog::Few)?);
    let event = event(&case.join("event.json"))?;
    let index = Index::default().with(&event.tenant, Arc::clone(&trigger));
    let Some(found) = index.matches(&event).pop() else { return Ok(json!({"matched": false})) };
    let actions: Vec<Value> = trigger.actions.iter().map(|action| rendered(action, &trigger, &event)).collect();
    let mut plan = json!({"matched": true, "actions": actions});
    if found.gated {
        plan["gated"] = true.into();
    }
    Ok(plan)
}

fn read(file: &Path) -> Result<Value, Vec<Mistake>> {
    json::parse(&fs::read(file).unwrap()).map_err(|error| match error {
        json::Error::Malformed(detail) => vec![Mistake::new("", detail)],
        json::Error::Refused(mistake) => vec![mistake],
    })
}

fn event(file: &Path) -> Result<Event, Vec<Mistake>> {
    let mut body = read(file)?;
    let moment = body.as_object_mut().and_then(|body| body.shift_remove("moment"));
    let now = NOW.parse().unwrap();
    let acceptance = Acceptance {
        id: EventId::new(0, [1; 10]),
        tenant: TenantId::new("default"),
        now,
        trace: TraceContext::default(),
    };
    let mut event = from_json(body, acceptance)?;
    if let (Some(moment), Some(change)) = (moment, &mut event.change) {
        change.moment = if moment == "before" { Moment::Before } else { Moment::After };
    }
    Ok(event)
}

fn rendered(action: &Action, trigger: &Trigger, event: &Event) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), action.name.as_str().into());
    out.insert("type".into(), action.kind.into());
    if action.condition.as_ref().is_some_and(|c| c.evaluate(event, &|_| None) == Some(false)) {
        out.insert("skipped".into(), "condition".into());
        return out.into();
    }
    let delivery = RunId::new(0, [2; 10]).delivery(&action.name);
    let scope = Scope { delivery_id: Some(delivery), ..Scope::of_event(event, &trigger.tag, NOW.parse().unwrap()) };
    match action.config.render(&scope, action.strict) {
        Ok(rendered) => {
            out.insert("config".into(), rendered.config);
            if !rendered.warnings.is_empty() {
                out.insert("warnings".into(), serde_json::to_value(rendered.warnings).unwrap());
            }
        }
        Err(mistake) => {
            out.insert("error".into(), serde_json::to_value(mistake).unwrap());
        }
    }
    out.into()
}
