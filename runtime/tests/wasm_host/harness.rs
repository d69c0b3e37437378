//! A host, services that remember what they were asked, and one-line calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use triggerd::wasm::*;

/// Answers at once and remembers every question.
#[derive(Default)]
pub struct Recorder {
    pub asked: Mutex<Vec<String>>,
}

impl Recorder {
    fn note(&self, question: String) {
        self.asked.lock().push(question);
    }
}

impl Services for Recorder {
    fn state_get<'a>(&'a self, cx: &'a ServiceContext, key: &'a str) -> Answer<'a, Option<StateEntry>> {
        self.note(format!("state_get {} {key}", cx.component));
        async move {
            match key {
                "never" => std::future::pending().await,
                "slow" => tokio::time::sleep(Duration::from_millis(300)).await,
                "panic" => panic!("a service that panics"),
                _ => {}
            }
            Ok(Some(StateEntry { value: b"42".to_vec(), version: 7 }))
        }
        .boxed()
    }
    fn state_set<'a>(
        &'a self,
        _: &'a ServiceContext,
        key: &'a str,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Answer<'a, u64> {
        self.note(format!("state_set {key} {} {ttl:?}", value.len()));
        async { Ok(8) }.boxed()
    }
    fn state_compare_and_set<'a>(
        &'a self,
        _: &'a ServiceContext,
        key: &'a str,
        expected: Option<u64>,
        _: Vec<u8>,
        _: Option<Duration>,
    ) -> Answer<'a, Option<u64>> {
        self.note(format!("state_compare_and_set {key} {expected:?}"));
        async { Ok(None) }.boxed()
    }
    fn state_delete<'a>(&'a self, _: &'a ServiceContext, key: &'a str) -> Answer<'a, bool> {
        self.note(format!("state_delete {key}"));
        async { Ok(true) }.boxed()
    }
    fn cache_get<'a>(&'a self, _: &'a ServiceContext, cache: &'a str, key: &'a str) -> Answer<'a, Option<Value>> {
        self.note(format!("cache_get {cache} {key}"));
        async { Ok(Some(json!({"cached": true}))) }.boxed()
    }
    fn cache_set<'a>(
        &'a self,
        _: &'a ServiceContext,
        cache: &'a str,
        key: &'a str,
        value: Value,
        _: Option<Duration>,
    ) -> Answer<'a, ()> {
        self.note(format!("cache_set {cache} {key} {value}"));
        async { Ok(()) }.boxed()
    }
    fn cache_delete<'a>(&'a self, _: &'a ServiceContext, cache: &'a str, key: &'a str) -> Answer<'a, bool> {
        self.note(format!("cache_delete {cache} {key}"));
        async { Ok(true) }.boxed()
    }
    fn cache_invalidate<'a>(&'a self, _: &'a ServiceContext, cache: &'a str, pattern: &'a str) -> Answer<'a, u64> {
        self.note(format!("cache_invalidate {cache} {pattern}"));
        async { Ok(1) }.boxed()
    }
    fn broker_publish<'a>(&'a self, _: &'a ServiceContext, message: BrokerMessage) -> Answer<'a, Value> {
        self.note(format!("publish {}:{} #{}", message.broker, message.topic, message.index));
        async { Ok(json!({"offset": 1})) }.boxed()
    }
    fn database_query<'a>(&'a self, _: &'a ServiceContext, question: DatabaseQuestion) -> Answer<'a, Vec<Value>> {
        self.note(format!("database_query {} {} {:?}", question.database, question.sql, question.parameters));
        async { Ok(vec![json!({"n": 1})]) }.boxed()
    }
    fn database_execute<'a>(&'a self, _: &'a ServiceContext, question: DatabaseQuestion) -> Answer<'a, u64> {
        self.note(format!("database_execute {} {} {:?}", question.database, question.sql, question.parameters));
        async { Ok(1) }.boxed()
    }
    fn emit<'a>(&'a self, cx: &'a ServiceContext, event: EmittedEvent) -> Answer<'a, String> {
        self.note(format!("emit {} {} {} #{}", cx.delivery_id, event.event_type, event.payload, event.index));
        async { Ok("0190".to_owned()) }.boxed()
    }
    fn secret<'a>(&'a self, _: &'a ServiceContext, name: &'a str) -> Answer<'a, String> {
        self.note(format!("secret {name}"));
        async { Ok("\"s3cret\"".to_owned()) }.boxed()
    }
    fn http<'a>(&'a self, _: &'a ServiceContext, request: HttpRequest) -> Answer<'a, HttpResponse> {
        self.note(format!("{} {}", request.method, request.url));
        async { Ok(HttpResponse { status: 200, headers: vec![], body: Bytes::from_static(b"\"pong\"") }) }.boxed()
    }
}

pub fn host() -> Host {
    Host::new(HostConfig { guests: 8, threads: 2, ..HostConfig::default() }).unwrap()
}

pub fn invocation() -> Invocation {
    Invocation {
        event_id: "0190-event".into(),
        delivery_id: "0190-delivery".into(),
        attempt: 1,
        tenant: "acme".into(),
        trigger: "t".into(),
        action: "a".into(),
        event_name: "afterInsert".into(),
        event_type: "orders.created".into(),
        operation: Some("insert".into()),
        database: None,
        table: Some("orders".into()),
        env: "default".into(),
        timestamp: "2026-01-01T00:00:00.000Z".into(),
        source: None,
        record: r#"{"id":1,"total":12345678901234567890.5}"#.into(),
        previous_record: None,
        changed_fields: vec!["id".into()],
        user: None,
        metadata: "{}".into(),
        input: "null".into(),
        results: "{}".into(),
        traceparent: None,
    }
}

/// One call with everything at its default.
pub struct Try {
    pub host: Host,
    pub services: Arc<Recorder>,
    pub limits: Limits,
    pub capabilities: Value,
    pub export: Export,
}

impl Try {
    pub fn new() -> Self {
        Self {
            host: host(),
            services: Arc::default(),
            limits: Limits::default(),
            capabilities: Value::Null,
            export: Export::Run,
        }
    }

    pub fn granting(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self
    }

    pub fn exporting(mut self, export: Export) -> Self {
        self.export = export;
        self
    }

    pub fn within(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    pub fn call(&self) -> Call {
        Call {
            component: "lead-score".into(),
            export: self.export,
            invocation: invocation(),
            capabilities: Capabilities::parse(&self.capabilities).unwrap(),
            limits: self.limits.clone(),
            services: self.services.clone(),
        }
    }

    pub async fn run(&self, guest: &[u8]) -> CallReport {
        let prepared = self.host.prepare(&digest(guest), guest).await.unwrap();
        self.host.call(&prepared, self.call()).await
    }

    /// The code and message of a call that must fail.
    pub async fn fails(&self, guest: &[u8]) -> (String, String) {
        let error = self.run(guest).await.result.unwrap_err();
        (error.code, error.message)
    }

    pub fn asked(&self) -> Vec<String> {
        self.services.asked.lock().clone()
    }
}
