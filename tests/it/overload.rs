//! More than the server has room or leave for is refused with a time to come back; what was accepted is kept.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::harness::{Answer, Api, Receiver, Server, Settings, call, eventually, on};

/// What a body still lacks goes here; and the request that waits for it.
type Slow = (mpsc::Sender<Result<Bytes, std::io::Error>>, JoinHandle<Answer>);

/// A batch of one event whose last bytes are still to come.
fn slow_batch(bytes: usize) -> (mpsc::Sender<Result<Bytes, std::io::Error>>, reqwest::Body, usize) {
    let body = json!([{"type": "large", "payload": {"text": "x".repeat(bytes)}}]).to_string();
    let length = body.len();
    let (sender, mut receiver) = mpsc::channel(4);
    let start = Bytes::from(body).split_to(length - 2);
    sender.try_send(Ok(start)).unwrap();
    (sender, reqwest::Body::wrap_stream(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))), length)
}

/// Sends a batch whose last bytes are still to come, with the length that it will have.
fn begin_slow(api: &Api, bytes: usize) -> Slow {
    let (rest, body, length) = slow_batch(bytes);
    let request = api.request(Method::POST, "/api/v1/events/batch").header("content-type", "application/json");
    let request = request.header("content-length", length).body(body);
    let api = api.clone();
    (rest, tokio::spawn(async move { api.send(request).await }))
}

#[tokio::test]
async fn bodies_that_find_no_room_are_refused_for_now_and_small_ones_find_some() {
    const LARGE: usize = 900 * 1024;
    let settings = Settings::default().set("MAX_BATCH_BYTES", "1MiB").set("MAX_IN_FLIGHT_BYTES", "2MiB");
    let server = Server::with(settings);
    let api = server.api();
    let large = || async {
        let text = json!([{"type": "large", "payload": {"text": "y".repeat(LARGE)}}]).to_string();
        api.post_raw("/api/v1/events/batch", "application/json", text).await
    };
    // Whichever comes first takes the room: the slow one begins anew where that was the other.
    let slow = Mutex::new(None::<Slow>);
    eventually(|| async {
        let refused = large().await;
        let mut slow = slow.lock().unwrap();
        if slow.as_ref().is_none_or(|(_, first)| first.is_finished()) {
            *slow = Some(begin_slow(&api, LARGE));
        }
        match refused.status {
            503 => {
                assert_eq!(refused.header("retry-after"), "1");
                Ok(())
            }
            other => Err(format!("answered {other} while another body takes the room")),
        }
    })
    .await;
    let (rest, first) = slow.into_inner().unwrap().expect("it has begun");
    let (more, chunks, _) = slow_batch(LARGE);
    drop(more);
    let chunked = api.request(Method::POST, "/api/v1/events/batch").header("content-type", "application/json");
    api.send(chunked.body(chunks)).await.problem(503);
    api.event("small", json!({"n": 1})).await;
    rest.send(Ok(Bytes::from_static(b"}]"))).await.unwrap();
    drop(rest);
    let answer = first.await.unwrap().expect(202);
    assert_eq!(answer["accepted"], 1, "{answer}");
    large().await.expect(202);
}

#[tokio::test]
async fn of_a_burst_all_that_is_accepted_is_delivered_and_the_rest_told_when_to_come_back() {
    const SENDERS: usize = 16;
    let server = Server::start();
    let operator = server.api();
    operator.post("/api/v1/tenants", json!({"id": "busy", "rate_limit": 100})).await.expect(201);
    let api = operator.in_tenant("busy");
    let receiver = Receiver::start().await;
    api.trigger(on("tell", "burst", json!([call("c", &receiver.url("/in"))]))).await;
    let key = operator.in_tenant("busy").post("/api/v1/keys", json!({"scopes": ["events:write"]})).await.expect(201);
    let key = key["key"].as_str().unwrap();
    let senders = (0..SENDERS).map(|sender| {
        let api = api.with_key(Some(key));
        tokio::spawn(async move {
            let (mut accepted, mut refused) = (0_usize, 0_usize);
            for n in 0..60 {
                let body = json!({"type": "burst", "payload": {"sender": sender, "n": n}});
                let answer = api.post("/api/v1/events", body).await;
                match answer.status {
                    202 => accepted += 1,
                    429 | 503 => {
                        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
                        refused += 1;
                    }
                    other => panic!("answered {other}"),
                }
            }
            (accepted, refused)
        })
    });
    let (mut accepted, mut refused) = (0, 0);
    for sender in senders {
        let (ok, not_now) = sender.await.unwrap();
        accepted += ok;
        refused += not_now;
    }
    assert!(accepted >= 100 && refused > 0, "{accepted} accepted, {refused} refused");
    receiver.wait_for("/in", accepted).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.seen().len(), accepted, "each once");
}
