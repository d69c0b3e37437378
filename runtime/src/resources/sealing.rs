//! Passwords in settings: sealed before they are stored, bound to tenant, resource and place.

use serde_json::{Value, json};
use triggerd_core::id::TenantId;
use triggerd_core::mistake::{Mistake, join};
use triggerd_core::outcome::Failure;

use crate::secrets::Vault;
use crate::store::StoredResource;

/// The member that holds a sealed value.
const SEALED: &str = "sealed";

/// Whether `value` is a sealed one.
pub(super) fn is_sealed(value: &Value) -> bool {
    super::single(value, SEALED).is_some_and(|sealed| sealed.is_string())
}

/// All of the settings in one sealed value.
pub(super) fn seal_whole(vault: &Vault, tenant: &TenantId, kind: &str, tag: &str, settings: &Value) -> Value {
    json!({ SEALED: vault.seal(&place(tenant, kind, tag, ""), &settings.to_string()) })
}

/// The settings with every password sealed that was written plainly: fields that are called one, and URLs that
/// carry one. What refers to a secret, or is sealed already, stays.
pub(super) fn seal_passwords(vault: &Vault, tenant: &TenantId, kind: &str, tag: &str, settings: Value) -> Value {
    let seal = |pointer: &str, text: &str| json!({ SEALED: vault.seal(&place(tenant, kind, tag, pointer), text) });
    walk(settings, "", &seal)
}

fn walk(value: Value, pointer: &str, seal: &dyn Fn(&str, &str) -> Value) -> Value {
    match value {
        Value::Object(fields) => {
            // A member `secret` alone refers to one by its name.
            let is_reference = fields.len() == 1;
            let is_password = |key: &str| is_password(key) || (key == "secret" && !is_reference);
            let holds_password = |key: &str, text: &str| holds_password(is_password(key), text);
            let sealed = fields.into_iter().map(|(key, value)| {
                let at = join(pointer, &key);
                let value = match value {
                    Value::String(text) if holds_password(&key, &text) => seal(&at, &text),
                    // Several keys that are all used.
                    Value::Array(items) if !items.is_empty() && is_password(&key) => {
                        let one = |(i, item): (usize, Value)| match item {
                            Value::String(text) if holds_password(&key, &text) => {
                                seal(&join(&at, &i.to_string()), &text)
                            }
                            other => other,
                        };
                        Value::Array(items.into_iter().enumerate().map(one).collect())
                    }
                    value => walk(value, &at, seal),
                };
                (key, value)
            });
            Value::Object(sealed.collect())
        }
        Value::Array(items) => {
            let sealed = items.into_iter().enumerate();
            sealed.map(|(i, item)| walk(item, &join(pointer, &i.to_string()), seal)).collect()
        }
        other => other,
    }
}

fn holds_password(is_password: bool, text: &str) -> bool {
    if text.is_empty() || text.contains("{{secrets.") || text.contains("{{ secrets.") {
        return false;
    }
    let in_url = reqwest::Url::parse(text).is_ok_and(|url| url.password().is_some());
    is_password || in_url
}

/// Whether a field of this name is a password. `private_key` is how Google's key files call theirs.
fn is_password(key: &str) -> bool {
    matches!(key, "password" | "secretAccessKey" | "apiKey" | "token" | "clientSecret" | "privateKey" | "credentials")
        || matches!(key, "authToken" | "private_key" | "serviceAccount" | "signingSecret")
        || key.eq_ignore_ascii_case("authorization")
}

/// A value sealed for its place.
pub(super) fn seal_one(vault: &Vault, tenant: &TenantId, kind: &str, tag: &str, pointer: &str, text: &str) -> Value {
    json!({ SEALED: vault.seal(&place(tenant, kind, tag, pointer), text) })
}

/// What is sealed at a place; `None` where no key that is known opens it.
pub(super) fn open_one(
    vault: &Vault,
    tenant: &TenantId,
    kind: &str,
    tag: &str,
    pointer: &str,
    sealed: &Value,
) -> Option<String> {
    vault.open(&place(tenant, kind, tag, pointer), sealed.get(SEALED)?.as_str()?).ok()
}

/// The settings with everything opened that is sealed.
pub(super) fn open_all(vault: &Vault, tenant: &TenantId, kind: &str, known: &StoredResource) -> Result<Value, Failure> {
    let open = |pointer: &str, sealed: &Value| {
        let text = sealed[SEALED].as_str().unwrap_or_default();
        vault.open(&place(tenant, kind, &known.tag, pointer), text).map_err(|e| {
            let at = if pointer.is_empty() { "the value" } else { pointer };
            Failure::new(
                "SECRET_UNREADABLE",
                format!("{at}: {e}; write it again, or start with the key it was sealed with"),
            )
        })
    };
    if is_sealed(&known.settings) {
        let text = open("", &known.settings)?;
        return serde_json::from_str(&text)
            .map_err(|_| Failure::new("SECRET_UNREADABLE", "the sealed value is damaged"));
    }
    unwalk(known.settings.clone(), "", &open)
}

/// The settings with everything sealed under the current key that was sealed under one before it; `None` where
/// nothing was.
pub(super) fn reseal(
    vault: &Vault,
    tenant: &TenantId,
    kind: &str,
    known: &StoredResource,
) -> Result<Option<Value>, crate::secrets::Error> {
    if is_current(vault, &known.settings) {
        return Ok(None);
    }
    let again = |pointer: &str, sealed: &str| {
        let place = place(tenant, kind, &known.tag, pointer);
        vault.open(&place, sealed).map(|text| vault.seal(&place, &text))
    };
    rewalk(known.settings.clone(), "", &again).map(Some)
}

/// Whether the current key sealed everything that is sealed.
pub(super) fn is_current(vault: &Vault, value: &Value) -> bool {
    match value {
        sealed if is_sealed(sealed) => sealed[SEALED].as_str().is_some_and(|text| vault.is_current(text)),
        Value::Object(fields) => fields.values().all(|value| is_current(vault, value)),
        Value::Array(items) => items.iter().all(|item| is_current(vault, item)),
        _ => true,
    }
}

type Again<'a> = &'a dyn Fn(&str, &str) -> Result<String, crate::secrets::Error>;

fn rewalk(value: Value, pointer: &str, again: Again<'_>) -> Result<Value, crate::secrets::Error> {
    if is_sealed(&value) {
        return Ok(json!({ SEALED: again(pointer, value[SEALED].as_str().unwrap_or_default())? }));
    }
    match value {
        Value::Object(fields) => {
            let sealed = fields.into_iter().map(|(key, value)| {
                let at = join(pointer, &key);
                rewalk(value, &at, again).map(|value| (key, value))
            });
            sealed.collect::<Result<_, _>>().map(Value::Object)
        }
        Value::Array(items) => {
            let sealed = items.into_iter().enumerate();
            sealed.map(|(i, item)| rewalk(item, &join(pointer, &i.to_string()), again)).collect()
        }
        other => Ok(other),
    }
}

/// What is sealed in settings that somebody writes, and does not open at its place: each with its pointer.
pub(super) fn unopenable(vault: &Vault, tenant: &TenantId, kind: &str, tag: &str, written: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    collect_unopenable(written, "", &mut |pointer, sealed| {
        if vault.open(&place(tenant, kind, tag, pointer), sealed).is_err() {
            found
                .push(Mistake::new(pointer, "it was sealed for another place, or under another key: write it plainly"));
        }
    });
    found
}

fn collect_unopenable(value: &Value, pointer: &str, see: &mut dyn FnMut(&str, &str)) {
    match value {
        sealed if is_sealed(sealed) => see(pointer, sealed[SEALED].as_str().unwrap_or_default()),
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| collect_unopenable(value, &join(pointer, key), see));
        }
        Value::Array(items) => {
            let places = items.iter().enumerate();
            places.for_each(|(i, item)| collect_unopenable(item, &join(pointer, &i.to_string()), see));
        }
        _ => {}
    }
}

fn unwalk(
    value: Value,
    pointer: &str,
    open: &dyn Fn(&str, &Value) -> Result<String, Failure>,
) -> Result<Value, Failure> {
    if is_sealed(&value) {
        return open(pointer, &value).map(Value::String);
    }
    match value {
        Value::Object(fields) => {
            let opened = fields.into_iter().map(|(key, value)| {
                let at = join(pointer, &key);
                unwalk(value, &at, open).map(|value| (key, value))
            });
            opened.collect::<Result<_, _>>().map(Value::Object)
        }
        Value::Array(items) => {
            let opened = items.into_iter().enumerate();
            opened.map(|(i, item)| unwalk(item, &join(pointer, &i.to_string()), open)).collect()
        }
        other => Ok(other),
    }
}

fn place(tenant: &TenantId, kind: &str, tag: &str, pointer: &str) -> String {
    format!("{tenant}|{kind}/{tag}|{pointer}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn passwords_are_sealed_for_their_place_and_open_again() {
        let vault = Vault::from_key(&hex::encode([3; 32])).unwrap();
        let tenant = TenantId::new("acme");
        let written = json!({
            "url": "redis://:hunter2@host:6379", "smtp": {"password": "hunter2", "username": "u"},
            "envs": {"prd": {"smtp": {"password": {"secret": "PW"}}}}, "ca": "text", "plain": "redis://host",
            "sms": {"authToken": "hunter2", "headers": {"Authorization": "Bearer hunter2"}},
            "push": {"fcm": {"serviceAccount": {"private_key": "hunter2", "client_email": "a@b"}}},
            "callback": {"signingSecret": ["whsec_hunter2", "{{secrets.NEW}}", {"secret": "OLD"}]},
            "verify": {"type": "github", "secret": "hunter2"}, "other": {"type": "slack", "secret": ["hunter2", {"secret": "NEW"}]},
            "named": {"type": "stripe", "secret": {"secret": "NAME"}},
        });
        let sealed = seal_passwords(&vault, &tenant, "caches", "main", written.clone());
        assert!(!sealed.to_string().contains("hunter2"), "{sealed}");
        assert_eq!((&sealed["plain"], &sealed["named"]), (&written["plain"], &written["named"]));
        // Writing what was read changes nothing.
        assert_eq!(seal_passwords(&vault, &tenant, "caches", "main", sealed.clone()), sealed);
        let known = |settings: &Value, tag: &str| StoredResource {
            kind: "caches".into(),
            tag: tag.into(),
            settings: settings.clone(),
            version: 1,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(open_all(&vault, &tenant, "caches", &known(&sealed, "main")).unwrap(), written);
        assert!(open_all(&vault, &tenant, "caches", &known(&sealed, "other")).is_err());
        assert!(open_all(&vault, &TenantId::new("evil"), "caches", &known(&sealed, "main")).is_err());
    }
}
