//! How much a tenant may have, beside its rate.

use serde_json::{Map, Value};
use triggerd_core::mistake::Mistake;

/// The quotas; `None` is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Quotas {
    /// Triggers.
    pub max_triggers: Option<u64>,
    /// Components.
    pub max_components: Option<u64>,
    /// Keys that open something.
    pub max_keys: Option<u64>,
    /// Stored events.
    pub max_events: Option<u64>,
    /// Attempts under way.
    pub max_concurrency: Option<u64>,
    /// CPU time of guests in a minute, in milliseconds.
    pub wasm_cpu_per_minute: Option<u64>,
}

const NAMES: [&str; 6] =
    ["max_triggers", "max_components", "max_keys", "max_events", "max_concurrency", "wasm_cpu_per_minute"];

impl Quotas {
    /// Reads what is stored.
    #[must_use]
    pub fn of(stored: &Value) -> Self {
        let read = |name: &str| stored.get(name).and_then(Value::as_u64);
        let [max_triggers, max_components, max_keys, max_events, max_concurrency, wasm_cpu_per_minute] =
            NAMES.map(read);
        Self { max_triggers, max_components, max_keys, max_events, max_concurrency, wasm_cpu_per_minute }
    }

    /// Mistakes in quotas as somebody wrote them, with pointers from their root. `null` takes a limit away.
    #[must_use]
    pub fn check(written: &Map<String, Value>) -> Vec<Mistake> {
        let check = |(name, value): (&String, &Value)| {
            let pointer = triggerd_core::mistake::join("", name);
            if !NAMES.contains(&name.as_str()) {
                return Some(Mistake::unknown(pointer, "quota", name, NAMES));
            }
            // With no place at all runs would wait for ever.
            let least = u64::from(name == "max_concurrency");
            let is_right = value.is_null() || value.as_u64().is_some_and(|value| value >= least);
            (!is_right).then(|| Mistake::new(pointer, format!("a whole number from {least} or null is needed")))
        };
        written.iter().filter_map(check).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_quotas_are_named_with_the_nearest_known_one() {
        let written =
            json!({"max_trigger": 1, "max_keys": -1, "max_components": null, "max_concurrency": 0, "max_events": 0});
        let mistakes = Quotas::check(written.as_object().unwrap());
        assert_eq!(mistakes.len(), 3);
        assert!(mistakes[0].detail.contains("did you mean `max_triggers`?"));
        assert_eq!((mistakes[1].pointer.as_str(), mistakes[2].pointer.as_str()), ("/max_keys", "/max_concurrency"));
    }
}
