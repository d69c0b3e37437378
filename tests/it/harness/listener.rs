//! Somebody who reads the event stream.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::Method;
use serde_json::Value;

use super::{Api, PATIENCE};

/// A client of the stream, with what it was told so far.
pub struct Listener {
    chunks: BoxStream<'static, Vec<u8>>,
    text: String,
    /// What was told, in order; an `event: missed` among it as `{"missed": true}`.
    pub items: Vec<Value>,
    /// The last item's id.
    pub last_id: String,
}

impl Listener {
    /// Listens with a query such as `?event_type=a`.
    pub async fn at(api: &Api, query: &str) -> Self {
        Self::after(api, query, "").await
    }

    /// Comes back behind an item.
    pub async fn after(api: &Api, query: &str, last_id: &str) -> Self {
        let mut request = api.request(Method::GET, &format!("/api/v1/events/stream{query}"));
        if !last_id.is_empty() {
            request = request.header("last-event-id", last_id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        let chunks = response.bytes_stream().map(|chunk| chunk.unwrap().to_vec()).boxed();
        Self { chunks, text: String::new(), items: Vec::new(), last_id: last_id.to_owned() }
    }

    /// Reads until an item is the wanted one, which may have come before.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let reading = async {
            loop {
                if let Some(found) = self.items.iter().find(|item| wanted(item)) {
                    return found.clone();
                }
                let chunk = self.chunks.next().await.expect("the stream goes on");
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
                while let Some((message, rest)) = self.text.split_once("\n\n") {
                    for line in message.lines() {
                        if let Some(id) = line.strip_prefix("id:") {
                            self.last_id = id.trim().to_owned();
                        }
                        if let Some(data) = line.strip_prefix("data:") {
                            self.items.push(serde_json::from_str(data.trim()).unwrap());
                        }
                    }
                    self.text = rest.to_owned();
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the stream tells of it")
    }
}
