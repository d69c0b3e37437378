//! The API of the server under load, as one tenant or the operator.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

/// A client with a key.
pub struct Client {
    address: SocketAddr,
    key: String,
    http: reqwest::Client,
}

/// How long it took until an event's first attempt, in milliseconds.
#[derive(Clone, Copy)]
pub struct Lag {
    /// Until it began.
    pub to_start: f64,
    /// Until it ended.
    pub to_end: f64,
}

impl Client {
    /// A client of the server at an address.
    pub fn new(address: SocketAddr, key: String) -> anyhow::Result<Self> {
        Ok(Self { address, key, http: reqwest::Client::builder().no_proxy().build()? })
    }

    /// A client of a tenant that is made for this, with so many requests a second.
    pub async fn of_tenant(&self, id: &str, rate_limit: u32) -> anyhow::Result<Self> {
        let tenant = json!({"id": id, "rate_limit": rate_limit});
        self.sent(self.request(Method::POST, "/api/v1/tenants").json(&tenant), "the tenant").await?;
        let scopes = json!({"scopes": ["admin"]});
        let asked = self.request(Method::POST, "/api/v1/keys").header("triggerd-tenant", id).json(&scopes);
        let made = self.sent(asked, "the key").await?;
        Self::new(self.address, made["key"].as_str().context("the key is not shown")?.to_owned())
    }

    /// A request with the key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).bearer_auth(&self.key)
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The HTTP client.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Stores a trigger.
    pub async fn trigger(&self, definition: &Value) -> anyhow::Result<()> {
        let request = self.request(Method::POST, "/api/v1/triggers").json(definition);
        self.sent(request, "the trigger").await.map(drop)
    }

    /// Stores the resource `bench`.
    pub async fn resource(&self, kind: &str, settings: &Value) -> anyhow::Result<()> {
        let request = self.request(Method::PUT, &format!("/api/v1/{kind}/bench")).json(settings);
        self.sent(request, "the resource").await.map(drop)
    }

    /// Uploads a component.
    pub async fn push(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let request = self.request(Method::PUT, &format!("/api/v1/components/{name}"));
        let request = request.header("content-type", "application/wasm").body(bytes);
        self.sent(request, "the component").await.map(drop)
    }

    /// What is at a path.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.request(Method::GET, path).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    async fn sent(&self, request: RequestBuilder, what: &str) -> anyhow::Result<Value> {
        let answer = request.send().await?;
        if !answer.status().is_success() {
            bail!("{what} was refused: {}", answer.text().await?);
        }
        Ok(answer.json().await?)
    }

    /// From a captured change, by the database's clock, to the first attempt's start.
    pub async fn change_lags(&self, since: Timestamp, sample: usize) -> anyhow::Result<Vec<Lag>> {
        self.lags(since, sample, "occurred_at", None).await
    }

    /// From acceptance to the first attempt, of a sample of the events since `since`; of the runs of one trigger, where it is named.
    pub async fn acceptance_lags(&self, since: Timestamp, sample: usize, of: Option<&str>) -> anyhow::Result<Vec<Lag>> {
        self.lags(since, sample, "accepted_at", of).await
    }

    async fn lags(&self, since: Timestamp, sample: usize, from: &str, of: Option<&str>) -> anyhow::Result<Vec<Lag>> {
        let mut lags = Vec::with_capacity(sample);
        let mut cursor: Option<String> = None;
        while lags.len() < sample {
            let after = cursor.map(|c| format!("&cursor={c}")).unwrap_or_default();
            let page = self.get(&format!("/api/v1/inbox?limit=1000&start_time={since}{after}")).await?;
            let events = page["events"].as_array().context("the inbox has no events")?;
            for event in events.iter().step_by(10) {
                let id = event["event_id"].as_str().context("an event without an id")?;
                lags.extend(lag(&self.get(&format!("/api/v1/events/{id}")).await?, from, of));
            }
            cursor = page["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        Ok(lags)
    }
}

fn lag(event: &Value, from: &str, of: Option<&str>) -> Option<Lag> {
    let accepted: Timestamp = event[from].as_str().or_else(|| event["timestamp"].as_str())?.parse().ok()?;
    let run = event["runs"].as_array()?.iter().find(|run| of.is_none_or(|tag| run["trigger"] == tag))?;
    let attempt = &run["actions"][0]["attempts"][0];
    let started: Timestamp = attempt["started_at"].as_str()?.parse().ok()?;
    let to_start = (started.as_millisecond() - accepted.as_millisecond()) as f64;
    Some(Lag { to_start, to_end: to_start + attempt["duration_ms"].as_f64()? })
}
