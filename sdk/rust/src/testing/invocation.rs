//! Sample invocations.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::Invocation;

/// An invocation in the making. What is not said is like an insert into the table `items`.
#[derive(Clone, Debug)]
pub struct InvocationBuilder {
    invocation: Invocation,
    record: Value,
    previous: Option<Value>,
    results: Map<String, Value>,
}

/// A sample invocation: the first attempt for a row inserted into the table `items`.
#[must_use]
pub fn invocation() -> InvocationBuilder {
    let invocation = Invocation {
        event_id: "01890000-0000-7000-8000-000000000001".into(),
        delivery_id: "01890000-0000-7000-8000-000000000002".into(),
        attempt: 1,
        tenant: "default".into(),
        trigger: "sample".into(),
        action: "custom-0".into(),
        event_name: "afterInsert".into(),
        event_type: "items.created".into(),
        operation: Some("insert".into()),
        database: None,
        table: Some("items".into()),
        env: "default".into(),
        timestamp: "2026-01-01T00:00:00.000Z".into(),
        source: None,
        record_json: "null".into(),
        previous_record_json: None,
        changed_fields: Vec::new(),
        user_json: None,
        metadata_json: "{}".into(),
        input_json: "null".into(),
        results_json: "{}".into(),
        traceparent: None,
    };
    InvocationBuilder { invocation, record: Value::Null, previous: None, results: Map::new() }
}

impl InvocationBuilder {
    /// A row change: `change("beforeUpdate", "orders")`.
    #[must_use]
    pub fn change(mut self, event_name: &str, table: &str) -> Self {
        let operation = event_name.trim_start_matches("before").trim_start_matches("after").to_lowercase();
        self.invocation.event_type = match operation.as_str() {
            "insert" => format!("{table}.created"),
            "update" => format!("{table}.updated"),
            _ => format!("{table}.deleted"),
        };
        self.invocation.event_name = event_name.into();
        self.invocation.operation = Some(operation);
        self.invocation.table = Some(table.into());
        self
    }

    /// An event that is no row change: `event_type("order.created")`.
    #[must_use]
    pub fn event_type(mut self, event_type: &str) -> Self {
        self.invocation.event_name = event_type.into();
        self.invocation.event_type = event_type.into();
        self.invocation.operation = None;
        self.invocation.table = None;
        self.invocation.database = None;
        self
    }

    /// The row as it is now, or the payload.
    #[must_use]
    pub fn record(mut self, record: Value) -> Self {
        self.record = record;
        self
    }

    /// The row as it was.
    #[must_use]
    pub fn previous_record(mut self, record: Value) -> Self {
        self.previous = Some(record);
        self
    }

    /// The action's rendered input (a condition's config).
    #[must_use]
    pub fn input(mut self, input: impl Serialize) -> Self {
        self.invocation.input_json = text(&input);
        self
    }

    /// What an earlier action of the run returned.
    #[must_use]
    pub fn result(mut self, action: &str, output: impl Serialize) -> Self {
        let output = serde_json::to_value(output).unwrap_or_else(|error| panic!("a result: {error}"));
        self.results.insert(action.into(), output);
        self
    }

    /// Who made the change.
    #[must_use]
    pub fn user(mut self, user: impl Serialize) -> Self {
        self.invocation.user_json = Some(text(&user));
        self
    }

    /// What else the source said: an object.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Serialize) -> Self {
        self.invocation.metadata_json = text(&metadata);
        self
    }

    /// The delivery id: the same one again is a retry.
    #[must_use]
    pub fn delivery_id(mut self, id: &str) -> Self {
        self.invocation.delivery_id = id.into();
        self
    }

    /// The attempt, from 1.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.invocation.attempt = attempt;
        self
    }

    /// Changes whatever has no method of its own.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Invocation)) -> Self {
        change(&mut self.invocation);
        self
    }

    /// The invocation, with the changed fields found as the host finds them.
    #[must_use]
    pub fn build(self) -> Invocation {
        let mut invocation = self.invocation;
        if let (Some(Value::Object(old)), Value::Object(new)) = (&self.previous, &self.record) {
            let fields = new.keys().chain(old.keys().filter(|field| !new.contains_key(*field)));
            invocation.changed_fields = fields.filter(|field| new.get(*field) != old.get(*field)).cloned().collect();
        }
        invocation.record_json = self.record.to_string();
        invocation.previous_record_json = self.previous.map(|previous| previous.to_string());
        invocation.results_json = Value::Object(self.results).to_string();
        invocation
    }
}

/// A sample that is no JSON is a mistake in the test, told where it is made.
#[track_caller]
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| panic!("a sample value: {error}"))
}
