//! Endpoints that accept and never answer do not hold up those that do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Receiver, Server, call, on};

const ENDPOINTS: usize = 1000;

#[tokio::test]
async fn a_thousand_hanging_endpoints_do_not_stop_a_healthy_one() {
    let server = Server::start();
    let api = server.api();
    api.post("/api/v1/tenants", json!({"id": "neighbour", "rate_limit": 0})).await.expect(201);
    let neighbour = api.in_tenant("neighbour");
    let healthy = Receiver::start().await;
    // One listener is a thousand destinations: every address of 127.0.0.0/8 is this machine.
    let listener = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (opened, mut hanging) = tokio::sync::watch::channel(0_usize);
    let accepting = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
            opened.send_replace(held.len());
        }
    });
    let mut hang = call("hang", &format!("http://{{{{record.host}}}}:{port}/"));
    hang["timeout"] = json!(60_000);
    api.trigger(on("hang", "hang", json!([hang]))).await;
    for tenant in [&api, &neighbour] {
        tenant.trigger(on("healthy", "healthy", json!([call("c", &healthy.url("/ok"))]))).await;
    }
    let events: Vec<Value> = (0..ENDPOINTS * 2)
        .map(|n| json!({"type": "hang", "payload": {"host": format!("127.9.{}.{}", n % ENDPOINTS / 250, n % ENDPOINTS % 250 + 1)}}))
        .collect();
    api.post("/api/v1/events/batch", json!(events)).await.expect(202);
    let many = tokio::time::timeout(Duration::from_secs(30), hanging.wait_for(|open| *open >= ENDPOINTS * 9 / 10))
        .await
        .is_ok();
    assert!(many, "{} connections hang", *hanging.borrow());
    let mut slowest = Duration::ZERO;
    for n in 1..=20 {
        for tenant in [&api, &neighbour] {
            let began = Instant::now();
            tenant.event("healthy", json!({"n": n})).await;
            let before = healthy.seen().len();
            healthy.wait_for("/ok", before.max(1)).await;
            slowest = slowest.max(began.elapsed());
        }
    }
    healthy.wait_for("/ok", 40).await;
    assert!(slowest < Duration::from_secs(5), "the slowest healthy delivery took {slowest:?}");
    accepting.abort();
}
