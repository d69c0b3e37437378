//! Which resources an action's settings name, as far as they can be read before they are rendered.

use serde_json::Value;

/// A kind of resource, and a tag.
pub type Use = (&'static str, String);

/// The tag that `field` names: all of it, or what stands before the `:` of `TAG:REST`. `None` where it is a template.
#[must_use]
pub fn named(config: &Value, field: &str, kind: &'static str) -> Option<Use> {
    tag(config.get(field)?.as_str()?).map(|tag| (kind, tag))
}

/// What `capabilities` grants a guest.
#[must_use]
pub fn granted(capabilities: &Value) -> Vec<Use> {
    let lists = [("caches", "caches"), ("brokers", "brokers"), ("secrets", "secrets")];
    let of_list = |(field, kind): (&str, &'static str)| -> Vec<Use> {
        let entries = capabilities.get(field).and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(|entry| tag(entry.as_str()?)).map(|tag| (kind, tag)).collect()
    };
    let databases = capabilities.get("databases").and_then(Value::as_object).into_iter().flatten();
    let databases = databases.filter_map(|(name, _)| tag(name)).map(|tag| ("databases", tag));
    lists.into_iter().flat_map(of_list).chain(databases).collect()
}

fn tag(written: &str) -> Option<String> {
    let tag = written.split_once(':').map_or(written, |(tag, _)| tag);
    (!tag.is_empty() && !tag.contains("{{")).then(|| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn literal_tags_are_read_and_templates_are_not() {
        let config = json!({"cache": "main", "broker": "kafka:{{record.topic}}", "storage": "{{record.s}}", "n": 1});
        assert_eq!(named(&config, "cache", "caches"), Some(("caches", "main".into())));
        assert_eq!(named(&config, "broker", "brokers"), Some(("brokers", "kafka".into())));
        assert_eq!(named(&config, "storage", "storages"), None);
        assert_eq!(named(&config, "n", "caches"), None);
        assert_eq!(named(&config, "absent", "caches"), None);
        let grants = json!({"caches": ["c"], "brokers": ["b:x-*"], "secrets": ["KEY"], "http": ["a.example"],
            "databases": {"orders-db": "read"}});
        let found: Vec<String> = granted(&grants).into_iter().map(|(kind, tag)| format!("{kind}/{tag}")).collect();
        assert_eq!(found, ["caches/c", "brokers/b", "secrets/KEY", "databases/orders-db"]);
    }
}
