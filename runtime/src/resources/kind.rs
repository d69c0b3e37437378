//! What a kind of resource is made of.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use triggerd_core::mistake::{Mistake, join};

use super::{KINDS, settings};
use crate::connections::Connections;
use crate::store::StoredResource;

/// One kind of resource.
pub struct Kind {
    /// Its name in the API: plural, `caches`.
    pub name: &'static str,
    /// The JSON Schema of its settings, without `envs`.
    pub schema: fn() -> Value,
    /// Settings of one environment as the schema has them: what may be written in other ways, or left out, is put
    /// in its place.
    pub normal: fn(Value) -> Value,
    /// Mistakes beyond what the schema says, in settings that are normal.
    pub check: fn(&Value) -> Vec<Mistake>,
    /// Settings that hold templates of their own. `{{secrets.X}}` is not filled in in those of the top level, and
    /// nothing but that in those further in (`sms/body`).
    pub raw: &'static [&'static str],
    /// The settings are never shown, and stored sealed as a whole.
    pub hidden: bool,
    /// It is made, changed and shown by routes of its own, not by those that all kinds share.
    pub own_routes: bool,
    /// Why the settings cannot differ by environment (`envs`), where they cannot.
    pub of_one_env: Option<&'static str>,
    /// A setting that the server makes and nobody writes: what it is, is for whoever knows it. Left out of what is shown.
    pub made: Option<&'static str>,
    /// Tries to connect: what was found, or what is wrong.
    pub connect: fn(Connections, Value) -> BoxFuture<'static, Result<String, String>>,
}

impl Kind {
    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Mistakes in settings as they are written: the base's, and those of every environment on top of it.
    #[must_use]
    pub fn mistakes(&self, written: &Value) -> Vec<Mistake> {
        let Some(fields) = written.as_object() else {
            return vec![Mistake::new("", "the settings must be an object")];
        };
        let Some(envs) = fields.get("envs") else { return self.of_one(written) };
        if let Some(why) = self.of_one_env {
            return vec![Mistake::new("/envs", why)];
        }
        let Some(envs) = envs.as_object() else {
            return vec![Mistake::new("/envs", "must be an object of settings by environment")];
        };
        let mut found = Vec::new();
        // Settings that are all in `envs` are whole only there.
        if fields.len() > 1 || envs.is_empty() {
            found.extend(self.of_one(&settings::of_env(written.clone(), "")));
        }
        for (env, own) in envs {
            let at = join("/envs", env);
            if own.is_object() {
                let whole = settings::of_env(written.clone(), env);
                let in_base = |m: &Mistake| found.contains(m);
                let own: Vec<Mistake> = self.of_one(&whole).into_iter().filter(|m| !in_base(m)).collect();
                found.extend(own.into_iter().map(|m| m.under(&at)));
            } else {
                found.push(Mistake::new(at, "must be an object of settings"));
            }
        }
        found
    }

    fn of_one(&self, settings: &Value) -> Vec<Mistake> {
        // What will be filled in is looked at as the string that it will be.
        let filled = (self.normal)(settings::with_stand_ins(settings, self.raw));
        let mut found = triggerd_core::schema::check(&(self.schema)(), &filled);
        if found.is_empty() {
            found = (self.check)(&filled);
        }
        found
    }

    /// The resource as it may be shown.
    #[must_use]
    pub fn shown(&self, stored: &StoredResource) -> StoredResource {
        let mut settings = if self.hidden { Value::Object(Map::new()) } else { stored.settings.clone() };
        self.take_made(&mut settings);
        StoredResource { settings, ..stored.clone() }
    }

    /// Takes what the server has made out of settings.
    pub(super) fn take_made(&self, settings: &mut Value) -> Option<Value> {
        settings.as_object_mut()?.shift_remove(self.made?)
    }

    /// The mistake of who writes what the server makes.
    pub(super) fn written_made(&self, settings: &Value) -> Option<Mistake> {
        let name = self.made.filter(|name| settings.get(name).is_some())?;
        Some(Mistake::new(join("", name), "the server makes it; leave it out"))
    }

    /// The JSON Schema of what is written: with `envs`, where there are any.
    #[must_use]
    pub fn full_schema(&self) -> Value {
        let mut schema = (self.schema)();
        if self.of_one_env.is_some() {
            return schema;
        }
        add_envs(&mut schema);
        // A kind of several systems has a schema for each.
        for group in ["oneOf", "anyOf"] {
            schema.get_mut(group).and_then(Value::as_array_mut).into_iter().flatten().for_each(add_envs);
        }
        schema
    }
}

fn add_envs(schema: &mut Value) {
    let envs = json!({
        "type": "object",
        "description": "Settings that differ by environment, merged over the others.",
        "additionalProperties": {"type": "object"},
    });
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert("envs".into(), envs);
    }
}

/// Settings with their `kind`: as written, as `type`, which many people write, or else as the scheme of their `url`, or
/// the first of their `urls`, says. A URL that is a secret does not tell; it is of the first scheme then.
pub(super) fn named_by(mut settings: Value, schemes: &[(&str, &str)], otherwise: &str) -> Value {
    let Some(fields) = settings.as_object_mut().filter(|fields| !fields.contains_key("kind")) else { return settings };
    let kind = fields.shift_remove("type").unwrap_or_else(|| {
        let url = fields.get("url").or_else(|| fields.get("urls")?.get(0));
        let scheme = url.map(|url| url.as_str().and_then(|url| url.split_once("://")).map(|(scheme, _)| scheme));
        let of = |scheme: &str| schemes.iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme));
        let named = match scheme {
            None => otherwise,
            Some(scheme) => scheme.and_then(of).or(schemes.first()).map_or(otherwise, |(_, kind)| *kind),
        };
        named.into()
    });
    fields.insert("kind".to_owned(), kind);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_read_as_kind_as_type_or_from_the_url() {
        let schemes = [("redis", "redis"), ("nats", "nats"), ("tls", "nats")];
        let kind = |settings: Value| named_by(settings, &schemes, "embedded")["kind"].clone();
        assert_eq!(kind(json!({"kind": "a", "url": "nats://h"})), "a");
        assert_eq!(kind(json!({"type": "b"})), "b");
        assert_eq!(kind(json!({"url": "TLS://h"})), "nats");
        assert_eq!(kind(json!({"url": "{{secrets.URL}}"})), "redis");
        assert_eq!(kind(json!({"urls": ["tls://a", "tls://b"]})), "nats");
        assert_eq!(kind(json!({})), "embedded");
        assert_eq!(named_by(json!("text"), &schemes, "embedded"), json!("text"));
    }
}
