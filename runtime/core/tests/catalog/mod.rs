//! A catalog of a few action types, as a host's registry would give it.

use serde_json::{Value, json};
use triggerd_core::catalog::{Catalog, Place};
use triggerd_core::mistake::Mistake;
use triggerd_core::schema;

/// `http.post` (and `CUSTOM_HTTP`), `log.info`, `custom`, `record.set`, `event.emit`.
pub struct Few;

const KINDS: [&str; 6] = ["http.post", "CUSTOM_HTTP", "log.info", "custom", "record.set", "event.emit"];

impl Catalog for Few {
    fn kinds(&self) -> Vec<&'static str> {
        KINDS.to_vec()
    }

    fn canonical(&self, kind: &str, config: &Value) -> Option<&'static str> {
        match kind {
            "CUSTOM_HTTP" => (config["method"].as_str().unwrap_or("POST") == "POST").then_some("http.post"),
            _ => KINDS.into_iter().find(|known| *known == kind),
        }
    }

    fn check(&self, kind: &str, config: &Value) -> Vec<Mistake> {
        schema::check(&settings(kind), config)
    }

    fn place(&self, kind: &str, _config: &Value, pointer: &str) -> Place {
        match (kind, pointer) {
            ("http.post", "/url") => Place::Url,
            ("http.post", pointer) if pointer.starts_with("/headers/") => Place::Header,
            _ => Place::Plain,
        }
    }

    fn reads_event(&self, kind: &str, _config: &Value) -> bool {
        kind == "custom"
    }

    fn before_only(&self, kind: &str) -> bool {
        kind == "record.set"
    }
}

fn settings(kind: &str) -> Value {
    let (properties, required) = match kind {
        "http.post" => (
            json!({
                "method": {"type": "string"},
                "url": {"type": "string", "minLength": 1},
                "headers": {"type": "object", "additionalProperties": {"type": "string"}},
                "body": true,
                "expectStatus": {"type": "array", "items": {"type": "integer", "minimum": 100, "maximum": 599}},
                "auth": {"anyOf": [{"$ref": "#/$defs/Auth"}, {"type": "null"}]},
            }),
            json!(["url"]),
        ),
        "log.info" => (json!({"message": {"type": "string"}, "data": true}), json!(["message"])),
        "custom" => (
            json!({"component": {"type": "string"}, "input": true, "capabilities": {"type": "object"}}),
            json!(["component"]),
        ),
        "record.set" => (json!({"fields": {"type": "object"}}), json!(["fields"])),
        _ => (json!({"type": {"type": "string"}, "payload": true}), json!(["type"])),
    };
    json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        "$defs": {"Auth": {"oneOf": [
            {"type": "object", "properties": {"bearer": {"type": "string"}}, "required": ["bearer"], "additionalProperties": false},
            {"type": "object", "properties": {"basic": {"type": "object"}}, "required": ["basic"], "additionalProperties": false},
        ]}},
    })
}
