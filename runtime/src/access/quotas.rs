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
    /// Keys.
    pub max_keys: Option<u64>,
}

const NAMES: [&str; 3] = ["max_triggers", "max_components", "max_keys"];

impl Quotas {
    /// Reads what is stored.
    #[must_use]
    pub fn of(stored: &Value) -> Self {
        let read = |name: &str| stored.get(name).and_then(Value::as_u64);
        let [max_triggers, max_components, max_keys] = NAMES.map(read);
        Self { max_triggers, max_components, max_keys }
    }

    /// Mistakes in quotas as somebody wrote them, with pointers from their root. `null` takes a limit away.
    #[must_use]
    pub fn check(written: &Map<String, Value>) -> Vec<Mistake> {
        let check = |(name, value): (&String, &Value)| {
            let pointer = triggerd_core::mistake::join("", name);
            if !NAMES.contains(&name.as_str()) {
                return Some(Mistake::unknown(pointer, "quota", name, NAMES));
            }
            let is_right = value.is_null() || value.as_u64().is_some();
            (!is_right).then(|| Mistake::new(pointer, "a whole number or null is needed"))
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
        let written = json!({"max_trigger": 1, "max_keys": -1, "max_components": null});
        let mistakes = Quotas::check(written.as_object().unwrap());
        assert_eq!(mistakes.len(), 2);
        assert!(mistakes[0].detail.contains("did you mean `max_triggers`?"));
        assert_eq!(mistakes[1].pointer, "/max_keys");
    }
}
