//! `record.set` and `record.reject`: what before-events may do to the write that they see.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use triggerd_core::mistake::{Mistake, join};
use triggerd_core::outcome::Outcome;
use triggerd_core::path::{Path, Step};
use triggerd_core::run::Effect;

use super::{Action, Context};

/// The code of a refusal that brings none of its own.
pub const REJECTED: &str = "RECORD_REJECTED";

/// How deep a path may reach.
const MAX_STEPS: usize = 32;
/// The longest that an array is made by writing behind its end.
const MAX_INDEX: usize = 10_000;

/// `record.set`
pub struct Set;
/// `record.reject`
pub struct Reject;

/// Settings of `record.set`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    /// Values by path within the record: `{"status": "new", "address.city": "Bern", "items[0].sku": "x"}`.
    fields: Map<String, Value>,
}

/// Settings of `record.reject`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectConfig {
    /// Why the write is refused, for whoever made it.
    message: Value,
    /// A stable code for programs; `RECORD_REJECTED` where it is left out.
    code: Option<String>,
}

impl Action for Set {
    const KIND: &'static str = "record.set";
    const BEFORE_ONLY: bool = true;
    type Config = SetConfig;

    fn check(config: &Value) -> Vec<Mistake> {
        let fields = config.get("fields").and_then(Value::as_object);
        let keys = fields.into_iter().flat_map(Map::keys);
        keys.filter_map(|key| steps(key).err().map(|detail| Mistake::new(join("/fields", key), detail))).collect()
    }

    async fn run(cx: Context, config: SetConfig) -> Outcome {
        let mut record = cx.event.record.clone();
        if let Err(mistake) = apply_fields(&mut record, &config.fields) {
            return Outcome::dead("CONFIG_INVALID", mistake.to_string());
        }
        *cx.effect.lock() = Some(Effect::Record(record));
        Outcome::Done(json!({ "set": config.fields }))
    }
}

impl Action for Reject {
    const KIND: &'static str = "record.reject";
    const BEFORE_ONLY: bool = true;
    type Config = RejectConfig;

    async fn run(cx: Context, config: RejectConfig) -> Outcome {
        let message = match config.message {
            Value::String(text) => text,
            Value::Null => "the write was refused".to_owned(),
            other => other.to_string(),
        };
        *cx.effect.lock() = Some(Effect::Refuse);
        Outcome::dead(config.code.filter(|code| !code.is_empty()).unwrap_or_else(|| REJECTED.to_owned()), message)
    }
}

/// Writes each value at its path, with or without the leading `record.`; objects on the way are made where they
/// are missing. Either all of them are written or none.
pub fn apply_fields(record: &mut Value, fields: &Map<String, Value>) -> Result<(), Mistake> {
    let mut changed = record.clone();
    for (path, value) in fields {
        let wrong = |detail: String| Mistake::new(join("/fields", path), detail);
        let steps = steps(path).map_err(wrong)?;
        write(&mut changed, &steps, value.clone()).map_err(wrong)?;
    }
    *record = changed;
    Ok(())
}

fn write(target: &mut Value, steps: &[Step], value: Value) -> Result<(), String> {
    let Some((step, rest)) = steps.split_first() else {
        *target = value;
        return Ok(());
    };
    if let (Step::Key(digits), Value::Array(_)) = (step, &*target)
        && let Ok(index) = digits.parse::<usize>()
    {
        let steps: Vec<Step> = std::iter::once(Step::Index(index.min(MAX_INDEX))).chain(rest.iter().cloned()).collect();
        return write(target, &steps, value);
    }
    if target.is_null() {
        *target = if matches!(step, Step::Key(_)) { json!({}) } else { json!([]) };
    }
    match (step, target) {
        (Step::Key(key), Value::Object(fields)) => write(fields.entry(key.clone()).or_insert(Value::Null), rest, value),
        (Step::Index(index), Value::Array(items)) => {
            while items.len() <= *index {
                items.push(Value::Null);
            }
            write(&mut items[*index], rest, value)
        }
        (Step::Key(key), _) => Err(format!("`{key}` cannot be set: what it is in is no object")),
        (Step::Index(index), _) => Err(format!("[{index}] cannot be set: what it is in is no array")),
    }
}

/// Where in the record a path leads.
fn steps(path: &str) -> Result<Vec<Step>, String> {
    let steps = Path::parse_in_record(path)?.steps;
    let too_far = steps.iter().any(|step| matches!(step, Step::Index(index) if *index > MAX_INDEX));
    if steps.is_empty() {
        Err("name a field of the record, such as `status` or `address.city`".to_owned())
    } else if steps.len() > MAX_STEPS || too_far {
        Err(format!("a path has at most {MAX_STEPS} steps, and an index is at most {MAX_INDEX}"))
    } else {
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn applied(record: Value, fields: Value) -> Result<Value, String> {
        let mut record = record;
        let Value::Object(fields) = fields else { panic!("fields are an object") };
        apply_fields(&mut record, &fields).map_err(|m| m.pointer)?;
        Ok(record)
    }

    #[test]
    fn values_are_written_at_their_paths() {
        let record = json!({"status": "new", "items": [{"sku": "a"}]});
        let fields = json!({"status": "ok", "address.city": "Bern", "items[0].sku": "b", "items[1].sku": "c", "record.total": 10, "[\"odd.key\"]": 1});
        let wanted = json!({"status": "ok", "items": [{"sku": "b"}, {"sku": "c"}], "address": {"city": "Bern"}, "total": 10, "odd.key": 1});
        assert_eq!(applied(record, fields).unwrap(), wanted);
        assert_eq!(applied(Value::Null, json!({"a": 1})).unwrap(), json!({"a": 1}));
        assert_eq!(applied(json!({"a": [1]}), json!({"a.0": 2})).unwrap(), json!({"a": [2]}));
    }

    #[test]
    fn a_path_that_leads_nowhere_changes_nothing() {
        assert_eq!(applied(json!({"a": 1}), json!({"a.b": 2})), Err("/fields/a.b".into()));
        for bad in ["", ".", "a.", "a..b", "a[", "a[x]", "a[99999999999]", "a]b[", "[\"x", "record"] {
            assert!(applied(json!({}), json!({ bad: 1 })).is_err(), "{bad}");
        }
    }
}
