//! Settings as they are written: environments merged, references to secrets filled in.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use triggerd_core::outcome::Failure;

/// What stands for a secret while settings are checked.
const STAND_IN: &str = "{{secrets}}";

/// The settings of `env`: its own merged over the others. An environment without its own has the others alone.
pub(super) fn of_env(written: Value, env: &str) -> Value {
    let Value::Object(mut fields) = written else { return written };
    let own = fields.remove("envs").and_then(|envs| envs.get(env).cloned());
    let mut base = Value::Object(fields);
    if let Some(own) = own {
        merge(&mut base, &own);
    }
    base
}

/// RFC 7396.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    // What is sealed and what refers to a secret are values, and objects in form alone.
    if !target.is_object() || super::sealing::is_sealed(target) || reference(target).is_some() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            fields.shift_remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Fills in `{"secret": "NAME"}` and `{{secrets.NAME}}`. Of the settings named in `raw`, those at the top level are left
/// alone, and those further in (`sms/body`) keep placeholders that are no secrets' as they are.
pub(super) fn fill_in(
    settings: &mut Value,
    raw: &[&str],
    secret: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Failure> {
    let Value::Object(fields) = settings else { return Ok(()) };
    let filling = Filling { raw, secret };
    for (key, value) in fields.iter_mut().filter(|(key, _)| !raw.contains(&key.as_str())) {
        filling.value(value, key, false).map_err(|f| Failure { message: format!("/{key}: {}", f.message), ..f })?;
    }
    Ok(())
}

struct Filling<'f> {
    raw: &'f [&'f str],
    secret: &'f dyn Fn(&str) -> Option<String>,
}

impl Filling<'_> {
    /// Fills in what stands at `path`; `others` stay where other placeholders may.
    fn value(&self, value: &mut Value, path: &str, others: bool) -> Result<(), Failure> {
        if let Some(name) = reference(value) {
            *value = Value::String(look_up(&name, self.secret)?);
            return Ok(());
        }
        let others = others || self.raw.contains(&path);
        match value {
            Value::String(text) if text.contains("{{") => *text = self.text(text, others)?,
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.value(item, path, others))?,
            Value::Object(fields) => {
                fields.iter_mut().try_for_each(|(key, item)| self.value(item, &format!("{path}/{key}"), others))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&self, text: &str, others: bool) -> Result<String, Failure> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, tail) =
                after.split_once("}}").ok_or_else(|| Failure::new("RESOURCE_INVALID", "`{{` without `}}`"))?;
            out.push_str(before);
            match inside.trim().strip_prefix("secrets.") {
                Some(name) => out.push_str(&look_up(name.trim(), self.secret)?),
                None if others => out.push_str(&format!("{{{{{inside}}}}}")),
                None => {
                    return Err(Failure::new(
                        "RESOURCE_INVALID",
                        format!("`{{{{{inside}}}}}`: settings may hold `{{{{secrets.NAME}}}}` and nothing else"),
                    ));
                }
            }
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// The name in `{"secret": "NAME"}`.
fn reference(value: &Value) -> Option<String> {
    super::single(value, "secret")?.as_str().map(str::to_owned)
}

/// The names of the secrets that [`fill_in`] would ask for, of whichever environment.
pub(super) fn secrets(written: &Value, raw: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (key, value) in written.as_object().into_iter().flatten().filter(|(key, _)| !raw.contains(&key.as_str())) {
        let envs = if key == "envs" { value.as_object() } else { None };
        match envs {
            Some(envs) => envs.values().for_each(|own| names.extend(secrets(own, raw))),
            None => collect_secrets(value, &mut names),
        }
    }
    names
}

fn collect_secrets(value: &Value, names: &mut BTreeSet<String>) {
    if let Some(name) = reference(value) {
        names.insert(name);
        return;
    }
    match value {
        Value::String(text) => {
            let inside = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
            names.extend(inside.filter_map(|(inside, _)| inside.trim().strip_prefix("secrets.")).map(str::to_owned));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_secrets(item, names)),
        Value::Object(fields) => fields.values().for_each(|item| collect_secrets(item, names)),
        _ => {}
    }
}

fn look_up(name: &str, secret: &dyn Fn(&str) -> Option<String>) -> Result<String, Failure> {
    secret(name).ok_or_else(|| {
        Failure::new("SECRET_NOT_FOUND", format!("there is no secret `{name}`; PUT /api/v1/secrets/{name} makes it"))
    })
}

/// The settings with a string for everything that will be filled in, and for sealed passwords.
pub(super) fn with_stand_ins(settings: &Value, raw: &[&str]) -> Value {
    let Value::Object(fields) = settings else { return settings.clone() };
    let stand_in = |(key, value): (&String, &Value)| {
        let value = if raw.contains(&key.as_str()) { value.clone() } else { stand_in(value) };
        (key.clone(), value)
    };
    Value::Object(fields.iter().map(stand_in).collect())
}

fn stand_in(value: &Value) -> Value {
    match value {
        _ if reference(value).is_some() || super::sealing::is_sealed(value) => Value::from(STAND_IN),
        Value::Array(items) => items.iter().map(stand_in).collect(),
        Value::Object(fields) => Value::Object(fields.iter().map(|(k, v)| (k.clone(), stand_in(v))).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn an_environment_is_merged_over_the_rest() {
        let written = json!({"host": "a", "smtp": {"port": 1, "tls": "none"}, "envs": {"prd": {"host": "b", "smtp": {"port": 2}}}});
        assert_eq!(of_env(written.clone(), "prd"), json!({"host": "b", "smtp": {"port": 2, "tls": "none"}}));
        assert_eq!(of_env(written, "dev"), json!({"host": "a", "smtp": {"port": 1, "tls": "none"}}));
    }

    #[test]
    fn a_reference_takes_the_place_of_what_was_sealed() {
        let mut settings = json!({"a": {"sealed": "x"}, "b": {"secret": "OLD"}});
        merge(&mut settings, &json!({"a": {"secret": "NEW"}, "b": {"sealed": "y"}}));
        assert_eq!(settings, json!({"a": {"secret": "NEW"}, "b": {"sealed": "y"}}));
    }

    #[test]
    fn the_secrets_that_settings_name_are_found_in_every_environment() {
        let written = json!({"a": {"secret": "A"}, "b": ["x:{{secrets.B}}@{{ secrets.C }}"],
            "envs": {"prd": {"smtp": {"password": {"secret": "D"}}, "messages": {"m": "{{secrets.E}}"}}},
            "messages": {"m": "{{secrets.F}}"}, "e": "{{record.x}} {{secrets.G"});
        assert_eq!(secrets(&written, &["messages"]).into_iter().collect::<String>(), "ABCD");
    }

    #[test]
    fn secrets_are_filled_in_everywhere_but_in_raw_settings() {
        let secret = |name: &str| (name == "PW").then(|| "hunter2".to_owned());
        let mut settings = json!({"a": {"secret": "PW"}, "b": ["x:{{secrets.PW}}@{{ secrets.PW }}"], "messages": {"m": "{{secrets.PW}}"}});
        fill_in(&mut settings, &["messages"], &secret).unwrap();
        assert_eq!(settings, json!({"a": "hunter2", "b": ["x:hunter2@hunter2"], "messages": {"m": "{{secrets.PW}}"}}));
        for (bad, code) in [
            (json!({"a": {"secret": "NO"}}), "SECRET_NOT_FOUND"),
            (json!({"a": "{{record.x}}"}), "RESOURCE_INVALID"),
            (json!({"a": "{{secrets.PW"}), "RESOURCE_INVALID"),
            (json!({"sms": {"other": "{{to}}"}}), "RESOURCE_INVALID"),
        ] {
            assert_eq!(fill_in(&mut bad.clone(), &["sms/body"], &secret).unwrap_err().code, code, "{bad}");
        }
        let mut own = json!({"sms": {"body": {"key": "{{secrets.PW}}", "to": "{{to}}", "x": ["{{#if a}}b{{/if}}"]}}});
        fill_in(&mut own, &["sms/body"], &secret).unwrap();
        assert_eq!(own, json!({"sms": {"body": {"key": "hunter2", "to": "{{to}}", "x": ["{{#if a}}b{{/if}}"]}}}));
    }
}
