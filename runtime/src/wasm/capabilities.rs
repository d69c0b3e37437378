//! What a component may reach: the grants of an action or component, read from `capabilities`.

use reqwest::Url;
use serde_json::{Map, Value};
use triggerd_core::mistake::{Mistake, join};

use super::grants::{BrokerGrant, HostGrant, event_fits, event_pattern};

/// The grants of one call. Empty: nothing but logging, clocks and chance.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Capabilities {
    state: bool,
    caches: Vec<String>,
    brokers: Vec<BrokerGrant>,
    /// By tag; whether it may be written too.
    databases: Vec<(String, bool)>,
    events: Vec<String>,
    secrets: Vec<String>,
    http: Vec<HostGrant>,
}

const NAMES: [&str; 7] = ["state", "caches", "brokers", "databases", "events", "secrets", "http"];

impl Capabilities {
    /// Reads `capabilities`; every mistake is reported, with pointers from its own root.
    pub fn parse(value: &Value) -> Result<Self, Vec<Mistake>> {
        if value.is_null() {
            return Ok(Self::default());
        }
        let Some(object) = value.as_object() else {
            return Err(vec![Mistake::new("", "capabilities are an object: {\"state\": true, \"http\": [\"HOST\"]}")]);
        };
        let mut mistakes = Vec::new();
        for name in object.keys().filter(|name| !NAMES.contains(&name.as_str())) {
            mistakes.push(Mistake::unknown(join("", name), "capability", name, NAMES));
        }
        let read = Self {
            state: flag(object, "state", &mut mistakes),
            caches: list(object, "caches", plain_name, &mut mistakes),
            brokers: list(object, "brokers", BrokerGrant::parse, &mut mistakes),
            databases: databases(object, &mut mistakes),
            events: list(object, "events", event_pattern, &mut mistakes),
            secrets: list(object, "secrets", plain_name, &mut mistakes),
            http: list(object, "http", HostGrant::parse, &mut mistakes),
        };
        if mistakes.is_empty() { Ok(read) } else { Err(mistakes) }
    }

    /// What either grants: an action's grants and its component's own.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.state |= other.state;
        self.caches.extend(other.caches);
        self.brokers.extend(other.brokers);
        self.databases.extend(other.databases);
        self.events.extend(other.events);
        self.secrets.extend(other.secrets);
        self.http.extend(other.http);
        self
    }

    /// Whether durable state is granted.
    #[must_use]
    pub fn grants_state(&self) -> bool {
        self.state
    }

    /// Whether the cache of this tag is granted.
    #[must_use]
    pub fn grants_cache(&self, tag: &str) -> bool {
        self.caches.iter().any(|granted| granted == tag)
    }

    /// Whether publishing to this topic of this broker is granted.
    #[must_use]
    pub fn grants_broker(&self, tag: &str, topic: &str) -> bool {
        self.brokers.iter().any(|granted| granted.fits(tag, topic))
    }

    /// Whether the database of this tag may be read, or written.
    #[must_use]
    pub fn grants_database(&self, tag: &str, write: bool) -> bool {
        self.databases.iter().any(|(granted, writes)| granted == tag && (*writes || !write))
    }

    /// Whether emitting this event type is granted.
    #[must_use]
    pub fn grants_event(&self, event_type: &str) -> bool {
        self.events.iter().any(|granted| event_fits(granted, event_type))
    }

    /// Whether this secret is granted.
    #[must_use]
    pub fn grants_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|granted| granted == name)
    }

    /// Whether requests to this URL are granted.
    #[must_use]
    pub fn grants_url(&self, url: &Url) -> bool {
        self.http.iter().any(|granted| granted.fits(url))
    }
}

fn flag(object: &Map<String, Value>, name: &str, mistakes: &mut Vec<Mistake>) -> bool {
    match object.get(name) {
        None => false,
        Some(Value::Bool(granted)) => *granted,
        Some(_) => {
            mistakes.push(Mistake::new(join("", name), format!("`{name}` is true or false")));
            false
        }
    }
}

fn list<T>(
    object: &Map<String, Value>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<T> {
    let pointer = || join("", name);
    let entries = match object.get(name) {
        None => return Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(_) => {
            mistakes.push(Mistake::new(pointer(), format!("`{name}` is a list of strings")));
            return Vec::new();
        }
    };
    let mut read = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let parsed = entry.as_str().ok_or_else(|| "a string is wanted here".to_owned()).and_then(&parse);
        match parsed {
            Ok(granted) => read.push(granted),
            Err(detail) => mistakes.push(Mistake::new(join(&pointer(), &index.to_string()), detail)),
        }
    }
    read
}

/// `{"orders-db": "read"}`
fn databases(object: &Map<String, Value>, mistakes: &mut Vec<Mistake>) -> Vec<(String, bool)> {
    let entries = match object.get("databases") {
        None => return Vec::new(),
        Some(Value::Object(entries)) => entries,
        Some(_) => {
            let detail = "`databases` is an object: {\"orders-db\": \"read\"}, or \"write\"";
            mistakes.push(Mistake::new("/databases", detail));
            return Vec::new();
        }
    };
    let granted = entries.iter().filter_map(|(tag, access)| match access.as_str() {
        Some("read") => Some((tag.clone(), false)),
        Some("write") => Some((tag.clone(), true)),
        _ => {
            mistakes.push(Mistake::new(join("/databases", tag), "`read` or `write` is wanted here"));
            None
        }
    });
    granted.collect()
}

fn plain_name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("the name is empty".to_owned()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn granted(value: Value) -> Capabilities {
        Capabilities::parse(&value).unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let none = granted(Value::Null);
        assert_eq!(none, Capabilities::default());
        assert!(!none.grants_state() && !none.grants_cache("redis") && !none.grants_secret("KEY"));
        assert!(!none.grants_broker("kafka", "t") && !none.grants_event("a.b"));
        assert!(!none.grants_url(&url("https://example.com/")));
    }

    #[test]
    fn hosts_fit_by_name_wildcard_and_port() {
        let some = granted(json!({"http": ["api.stripe.com", "*.example.com:8443", "Bücher.example", "[::1]:8080"]}));
        for fits in [
            "https://api.stripe.com/v1",
            "http://API.stripe.com/",
            "https://api.stripe.com./",
            "https://a.b.example.com:8443/",
            "https://xn--bcher-kva.example/",
            "http://[::1]:8080/",
        ] {
            assert!(some.grants_url(&url(fits)), "{fits}");
        }
        for other in [
            "https://api.stripe.com:8443/",
            "https://api.stripe.com.evil.example/",
            "https://evilapi.stripe.com/",
            "https://example.com:8443/",
            "https://evilexample.com:8443/",
            "https://a.example.com/",
            "ftp://api.stripe.com/",
            "https://api.stripe.com@evil.example/",
        ] {
            assert!(!some.grants_url(&url(other)), "{other}");
        }
    }

    #[test]
    fn a_written_default_port_counts() {
        let some = granted(json!({"http": ["a.example:80"]}));
        assert!(some.grants_url(&url("http://a.example/")));
        assert!(!some.grants_url(&url("https://a.example/")));
    }

    #[test]
    fn topics_and_event_types_fit_by_pattern() {
        let some = granted(json!({"brokers": ["kafka:user-*"], "events": ["order.*", "audit.**"]}));
        assert!(some.grants_broker("kafka", "user-events") && !some.grants_broker("nats", "user-events"));
        assert!(!some.grants_broker("kafka", "users"));
        assert!(
            some.grants_event("order.paid") && !some.grants_event("order.paid.late") && !some.grants_event("order")
        );
        assert!(some.grants_event("audit.a.b") && some.grants_event("audit"));
    }

    #[test]
    fn databases_are_granted_to_be_read_or_written() {
        let some = granted(json!({"databases": {"orders": "read", "audit": "write"}}));
        assert!(some.grants_database("orders", false) && !some.grants_database("orders", true));
        assert!(some.grants_database("audit", false) && some.grants_database("audit", true));
        assert!(!some.grants_database("other", false));
        let mistakes = Capabilities::parse(&json!({"databases": {"orders": "all"}})).unwrap_err();
        assert_eq!(mistakes[0].pointer, "/databases/orders");
        assert_eq!(Capabilities::parse(&json!({"databases": ["orders"]})).unwrap_err()[0].pointer, "/databases");
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let wrong = json!({"htp": [], "state": 1, "brokers": ["kafka"], "http": ["https://a/", 3], "events": ["a.*b"]});
        let mistakes = Capabilities::parse(&wrong).unwrap_err();
        let places: Vec<&str> = mistakes.iter().map(|m| m.pointer.as_str()).collect();
        assert_eq!(places, ["/htp", "/state", "/brokers/0", "/events/0", "/http/0", "/http/1"]);
        assert!(mistakes[0].detail.contains("did you mean `http`"), "{}", mistakes[0].detail);
    }
}
