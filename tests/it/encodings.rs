//! Bodies may come compressed: what they say is the same, and what they take is bounded.

use std::io::Read;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, Server, Settings, home};

const ENCODINGS: [&str; 3] = ["gzip", "zstd", "deflate"];

/// All of it, compressed.
fn compressed(encoding: &str, mut text: impl Read) -> Vec<u8> {
    let best = Compression::best();
    match encoding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), best);
            std::io::copy(&mut text, &mut encoder).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), best);
            std::io::copy(&mut text, &mut encoder).unwrap();
            encoder.finish().unwrap()
        }
        _ => zstd::encode_all(text, 1).unwrap(),
    }
}

async fn send(api: &Api, path: &str, media_type: &str, encoding: &str, body: Vec<u8>) -> Answer {
    let request =
        api.request(Method::POST, path).header("content-type", media_type).header("content-encoding", encoding);
    api.send(request.body(body)).await
}

#[tokio::test]
async fn a_compressed_event_is_the_event_that_it_holds() {
    let home = home().await;
    for encoding in ENCODINGS {
        let text = "naïve ".repeat(20_000);
        for path in ["/events", "/api/v1/events"] {
            let body = json!({"type": "packed", "payload": {"text": text}}).to_string();
            let answer = send(&home, path, "application/json", encoding, compressed(encoding, body.as_bytes())).await;
            let event = home.detail(answer.expect(202)["event_id"].as_str().unwrap()).await;
            assert_eq!(event["payload"]["text"], text, "{encoding} to {path}");
        }
        let lines = "{\"type\":\"packed\",\"payload\":{}}\n".repeat(50);
        let body = compressed(encoding, lines.as_bytes());
        let answer = send(&home, "/api/v1/events/batch", "application/x-ndjson", encoding, body).await.expect(202);
        assert_eq!(answer["accepted"], 50, "{encoding}");
        // A CloudEvent of headers: its data is what the body says once it is inflated.
        let request = home
            .request(Method::POST, "/events")
            .header("ce-specversion", "1.0")
            .header("ce-id", encoding)
            .header("ce-source", "/shop")
            .header("ce-type", "com.shop.sold")
            .header("content-type", "application/json")
            .header("content-encoding", encoding);
        let answer = home.send(request.body(compressed(encoding, &b"{\"sku\":\"tea\"}"[..]))).await.expect(202);
        let event = home.detail(answer["event_id"].as_str().unwrap()).await;
        assert_eq!(event["payload"], json!({"sku": "tea"}), "{encoding}");
    }
    let answer =
        send(&home, "/events", "application/json", "identity", br#"{"type":"plain","payload":1}"#.to_vec()).await;
    answer.expect(202);
}

#[tokio::test]
async fn an_unknown_encoding_is_415_and_says_which_are_taken() {
    let home = home().await;
    for encoding in ["br", "compress", "gzip, gzip", "gzip;q=1"] {
        let answer = send(&home, "/events", "application/json", encoding, b"{}".to_vec()).await;
        assert_eq!(answer.header("accept-encoding"), "gzip, zstd, deflate", "{encoding}");
        answer.problem(415);
    }
    // Another media type is another reason.
    let answer = send(&home, "/events", "text/csv", "gzip", compressed("gzip", &b"a,b"[..])).await;
    assert_eq!(answer.header("accept-encoding"), "");
    answer.problem(415);
}

#[tokio::test]
async fn a_stream_that_is_broken_is_400_and_nothing_of_it_is_kept() {
    let home = home().await;
    let body = json!({"type": "broken", "payload": {"text": "x".repeat(5000)}}).to_string();
    for encoding in ENCODINGS {
        let whole = compressed(encoding, body.as_bytes());
        for bad in [whole[..whole.len() - 3].to_vec(), body.clone().into_bytes(), b"\0".to_vec()] {
            let problem = send(&home, "/events", "application/json", encoding, bad).await.problem(400);
            assert!(problem["detail"].as_str().unwrap().contains(encoding), "{problem}");
        }
    }
    assert_eq!(home.get("/api/v1/inbox").await.expect(200)["total"], 0);
}

#[tokio::test]
async fn a_body_is_the_same_to_its_idempotency_key_however_it_comes() {
    let home = home().await;
    let body = json!({"type": "once", "payload": {"n": 1}}).to_string();
    let post = async |encoding: &str, body: Vec<u8>| {
        let request = home.request(Method::POST, "/events").header("content-type", "application/json");
        home.send(request.header("content-encoding", encoding).header("Idempotency-Key", "packed").body(body)).await
    };
    let first = post("identity", body.clone().into_bytes()).await.expect(202);
    for encoding in ENCODINGS {
        let again = post(encoding, compressed(encoding, body.as_bytes())).await;
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.expect(202), first);
    }
}

/// The most memory that a process has had, in KiB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_bomb_is_413_and_takes_no_memory() {
    let server = Server::with(Settings::default().set("RATE_LIMIT", "0"));
    let api = server.api();
    api.post("/events", json!({"type": "first", "payload": {}})).await.expect(202);
    let bombs: Vec<(&str, Vec<u8>)> = ENCODINGS
        .iter()
        .map(|encoding| {
            // A quarter of a GiB, in less than is taken plain.
            let text = std::io::repeat(b' ').take(256 << 20);
            (*encoding, compressed(encoding, text))
        })
        .collect();
    assert!(bombs.iter().all(|(_, bomb)| bomb.len() < 1 << 20));
    let before = peak(server.process_id());
    for (encoding, bomb) in &bombs {
        for path in ["/events", "/api/v1/triggers/validate"] {
            let sends = (0..8).map(|_| send(&api, path, "application/json", encoding, bomb.clone()));
            for answer in futures_util::future::join_all(sends).await {
                let problem: Value = answer.problem(413);
                assert!(problem["detail"].as_str().unwrap().contains("bytes"), "{problem}");
            }
        }
        // A batch's bound is higher.
        send(&api, "/api/v1/events/batch", "application/json", encoding, bomb.clone()).await.problem(413);
    }
    let grown = peak(server.process_id()) - before;
    assert!(grown < 200 << 10, "{grown} KiB more");
    api.post("/events", json!({"type": "last", "payload": {}})).await.expect(202);
}
