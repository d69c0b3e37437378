//! A client of the HTTP API that shows what it got when it got something else.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::wait::eventually;

/// A client.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
    tenant: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; `Null` where it is none.
    pub body: Value,
    what: String,
}

impl Api {
    /// A client of the server at `base`.
    pub fn new(base: &str, key: Option<&str>) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(90)).build();
        Self {
            http: http.expect("a client can be made"),
            base: base.to_owned(),
            key: key.map(str::to_owned),
            tenant: None,
        }
    }

    /// The same client, acting in another tenant.
    pub fn in_tenant(&self, tenant: &str) -> Self {
        Self { tenant: Some(tenant.to_owned()), ..self.clone() }
    }

    /// The same client with another key, or with none.
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), tenant: None, ..self.clone() }
    }

    /// Its key.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The server's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request with its key, still to be sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("Triggerd-Tenant", tenant);
        }
        request
    }

    /// Sends a request; `Err` where no whole answer came.
    pub async fn try_send(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        let (client, request) = request.build_split();
        let request = request?;
        let what = format!("{} {}", request.method(), request.url().path());
        let response = client.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, text, body, what })
    }

    /// Sends a request.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Posts a body of any kind.
    pub async fn post_raw(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request(Method::POST, path).header("content-type", content_type).body(body)).await
    }

    /// Stores a trigger that must be right.
    pub async fn trigger(&self, definition: Value) -> Value {
        let tag = definition["tag"].as_str().expect("a definition has a tag").to_owned();
        let answer = self.put(&format!("/api/v1/triggers/{tag}"), definition).await;
        assert!(answer.status < 300, "{answer:#?}");
        answer.body
    }

    /// Stores a resource that must be right.
    pub async fn resource(&self, kind: &str, tag: &str, settings: Value) {
        let answer = self.put(&format!("/api/v1/{kind}/{tag}"), settings).await;
        assert!(answer.status < 300, "{answer:#?}");
    }

    /// Uploads a component that must be right.
    pub async fn component(&self, name: &str, bytes: Vec<u8>) -> Value {
        let answer = self.upload(name, bytes).await;
        assert!(answer.status < 300, "{answer:#?}");
        answer.body
    }

    /// Uploads a component.
    pub async fn upload(&self, name: &str, bytes: Vec<u8>) -> Answer {
        let request = self.request(Method::PUT, &format!("/api/v1/components/{name}"));
        self.send(request.header("content-type", "application/wasm").body(bytes)).await
    }

    /// Sends any body; the id of the accepted event.
    pub async fn accept(&self, body: Value) -> String {
        let answer = self.post("/api/v1/events", body).await.expect(202);
        answer["event_id"].as_str().expect("an accepted event has an id").to_owned()
    }

    /// Sends an event of a type; its id.
    pub async fn event(&self, event_type: &str, payload: Value) -> String {
        self.accept(json!({"type": event_type, "payload": payload})).await
    }

    /// Everything that is known of an event.
    pub async fn detail(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/events/{id}")).await.expect(200)
    }

    /// Everything that is known of an event once all its runs have ended.
    pub async fn ended(&self, id: &str) -> Value {
        eventually(|| async {
            let detail = self.detail(id).await;
            // An event counts as failed as soon as one of its runs has.
            let ended = |run: &Value| run["status"] == "delivered" || run["status"] == "failed";
            let all = detail["status"] != "pending" && detail["runs"].as_array().into_iter().flatten().all(ended);
            if all { Ok(detail) } else { Err(format!("event {id} has not ended: {detail:#}")) }
        })
        .await
    }

    /// Sends an event of a type and waits until all its runs have ended.
    pub async fn event_ended(&self, event_type: &str, payload: Value) -> Value {
        let id = self.event(event_type, payload).await;
        self.ended(&id).await
    }
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{} answered {}: {}", self.what, self.status, self.text);
        self.body
    }

    /// The body of an answer that must be a problem document with this status.
    #[track_caller]
    pub fn problem(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{} answered {}: {}", self.what, self.status, self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}: {}", self.what, self.text);
        for field in ["type", "title", "detail"] {
            assert!(self.body[field].is_string(), "{}: no `{field}` in {}", self.what, self.text);
        }
        assert_eq!(self.body["status"], status, "{}: {}", self.what, self.text);
        self.body
    }

    /// A header's text; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
