//! The command line's view of the HTTP API.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use reqwest::Method;
use serde_json::Value;

use super::Remote;

/// A server and the key to it.
pub struct Client {
    http: reqwest::Client,
    /// Without a slash at the end.
    url: String,
    key: Option<String>,
    tenant: Option<String>,
}

/// An answer.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; `Null` where it was empty.
    pub body: Value,
}

impl Client {
    /// A client for the server that the arguments name.
    pub(super) fn new(remote: &Remote) -> anyhow::Result<Self> {
        let key = remote.key.clone().or_else(|| std::env::var("TRIGGERD_ADMIN_KEY").ok()).or_else(local_key);
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build().context("cannot set up the HTTP client")?,
            url: remote.url.trim_end_matches('/').to_owned(),
            key,
            tenant: remote.tenant.clone(),
        })
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A request that is still to be filled in and sent.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("Triggerd-Tenant", tenant);
        }
        request
    }

    /// Sends a request; answers of 400 and above are returned too.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.context("the answer broke off")?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            // Not serde_json's parser: a definition may nest deeper than that reads.
            triggerd_core::json::parse_definition(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok(Answer { status, body })
    }

    /// Sends a request and expects it to succeed.
    pub async fn expect(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let answer = self.send(request).await?;
        answer.success()
    }

    /// Sends a request whose answer is a JSON value a line, and shows each of them to `see` as it comes.
    pub async fn lines(
        &self,
        request: reqwest::RequestBuilder,
        mut see: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let request = request.header(reqwest::header::ACCEPT, "application/x-ndjson");
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        if status >= 400 {
            let bytes = response.bytes().await.context("the answer broke off")?;
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            bail!(problem_text(status, &body));
        }
        let mut waiting = Vec::new();
        while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
            waiting.extend_from_slice(&chunk);
            while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                see(serde_json::from_slice(&line).context("a line of the answer is no JSON")?)?;
            }
        }
        Ok(())
    }

    /// `GET path?query`.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.expect(self.request(Method::GET, path).query(query)).await
    }

    /// Every item of a list, page by page.
    pub async fn all(&self, path: &str, items: &str, filter: &[(&str, String)]) -> anyhow::Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = filter.to_vec();
            query.push(("limit", "1000".to_owned()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            match page.get_mut(items).map(Value::take) {
                Some(Value::Array(list)) => found.extend(list),
                _ => bail!("the server's answer to GET {path} has no `{items}`"),
            }
            match page["cursor"].as_str() {
                Some(next) if page["has_more"] == Value::Bool(true) => cursor = Some(next.to_owned()),
                _ => return Ok(found),
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        if error.is_connect() {
            anyhow!("no server answers at {}: start one with `triggerd serve`, or name another with --url", self.url)
        } else {
            anyhow!("the request to {} failed: {error}", self.url)
        }
    }
}

impl Answer {
    /// The body of a successful answer; else the problem in words, with every mistake and its place.
    pub fn success(self) -> anyhow::Result<Value> {
        if self.status < 400 {
            return Ok(self.body);
        }
        Err(anyhow!(problem_text(self.status, &self.body)))
    }
}

/// A problem document in words.
#[must_use]
pub fn problem_text(status: u16, body: &Value) -> String {
    let title = body["title"].as_str().unwrap_or("the server refused");
    let mut text = format!("{title} ({status})");
    if let Some(detail) = body["detail"].as_str() {
        text.push_str(": ");
        text.push_str(detail);
    }
    for mistake in body["errors"].as_array().into_iter().flatten() {
        let pointer = mistake["pointer"].as_str().unwrap_or("");
        let detail = mistake["detail"].as_str().unwrap_or("");
        text.push_str(&format!("\n  {pointer}: {detail}"));
    }
    if status == 401 {
        text.push_str("\n  give a key with --key or TRIGGERD_KEY; a local server's is in DATA_DIR/admin.key");
    }
    text
}

/// The key that a local server made at its first start.
fn local_key() -> Option<String> {
    let data_dir = std::env::var_os("TRIGGERD_DATA_DIR").map_or_else(|| PathBuf::from("./data"), PathBuf::from);
    let text = std::fs::read_to_string(data_dir.join("admin.key")).ok()?;
    Some(text.trim().to_owned())
}
