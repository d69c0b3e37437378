//! What templates promise.
#![allow(clippy::unwrap_used)]

mod bombs;
mod conformance;
mod helpers;
mod kept_types;
mod names;
mod places;
mod properties;

use serde_json::{Map, Value, json};

use super::{Rendered, Scope, Template, TemplatedConfig};
use crate::catalog::Place;
use crate::event::{Change, Event, Moment, Operation};
use crate::id::{EventId, RunId, TenantId};
use crate::mistake::Mistake;

/// An update of an order.
fn order() -> Event {
    Event {
        id: EventId::new(1_760_000_000_000, [1; 10]),
        tenant: TenantId::new("default"),
        event_type: "orders.updated".into(),
        source: Some("shop".into()),
        change: Some(Change {
            operation: Operation::Update,
            moment: Moment::After,
            database: Some("orders-db".into()),
            schema: None,
            table: "orders".into(),
        }),
        record: serde_json::from_str(
            r#"{"id": 7, "total": 1000, "big": 123456789012345678901234567890, "huge": 1e400, "price": 12.50,
                "name": "Ann <b>& 'Co'</b>", "email": "ann@example.com", "note": null, "paid": true, "empty": "",
                "items": [{"sku": "A-1", "qty": 2}, {"sku": "B/2", "qty": 1}], "tags": ["x", "y"], "odd key": 1,
                "address": {"city": "Köln", "number": "5a"}, "none": [], "zero": 0, "shipped": "2025-01-31T22:30:00Z"}"#,
        )
        .unwrap(),
        previous_record: json!({"id": 7.0, "total": 900, "gone": true}),
        env: "prd".into(),
        user: json!({"id": "u1", "roles": ["admin"]}),
        metadata: Map::from_iter([("trace".to_owned(), json!("t-1"))]),
        attributes: Map::new(),
        timestamp: "2025-10-09T08:53:20.5Z".parse().unwrap(),
        accepted_at: "2025-10-09T08:53:21Z".parse().unwrap(),
        traceparent: None,
        tracestate: None,
        causation: Vec::new(),
        erased_at: None,
    }
}

/// Everything that a scope borrows.
struct World {
    event: Event,
    outputs: Map<String, Value>,
    secrets: Map<String, Value>,
}

impl World {
    fn new() -> Self {
        let outputs = json!({"send-mail": {"id": "m-1"}, "http.post-0": {"status": 200}, "name.output.odd": 3});
        let secrets = json!({"KEY": "s3cr3t", "base": "https://api.example.com/v1", "stripe.key": "sk"});
        let object = |value: Value| value.as_object().cloned().unwrap();
        Self { event: order(), outputs: object(outputs), secrets: object(secrets) }
    }

    fn scope(&self) -> Scope<'_> {
        let run = RunId::new(1_760_000_000_000, [3; 10]);
        Scope {
            event: &self.event,
            trigger_tag: "process-order",
            delivery_id: Some(run.delivery("mail")),
            attempt: 2,
            outputs: Some(&self.outputs),
            secrets: Some(&self.secrets),
            now: "2025-10-09T09:00:00Z".parse().unwrap(),
        }
    }
}

fn compile_error(source: &str) -> String {
    match Template::compile(source, Place::Plain) {
        Err(error) => error,
        Ok(_) => panic!("compiles: {}", source.chars().take(80).collect::<String>()),
    }
}

/// Renders `source` at `place`.
fn render_at(source: &str, place: Place) -> Result<Value, String> {
    let template = Template::compile(source, place).unwrap_or_else(|e| panic!("{source}: {e}"));
    template.render(&World::new().scope(), &mut Vec::new())
}

fn render(source: &str) -> Value {
    render_at(source, Place::Plain).unwrap_or_else(|e| panic!("{source}: {e}"))
}

fn render_error(source: &str) -> String {
    render_at(source, Place::Plain).expect_err(source)
}

fn compile_config(config: &Value) -> Result<TemplatedConfig, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    TemplatedConfig::compile(config, "/actions/0/config", &|_| Place::Plain, &mut mistakes).ok_or(mistakes)
}

fn render_config(config: &Value, strict: bool) -> Result<Rendered, Mistake> {
    compile_config(config).unwrap().render(&World::new().scope(), strict)
}

#[test]
fn compiled_templates_are_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Template>();
    shared::<TemplatedConfig>();
}
