//! A store that cannot write: nothing is acknowledged, nothing is half stored, reads go on.

use serde_json::json;

use crate::chaos::figures::report;
use crate::harness::{Server, Settings, on};

#[tokio::test]
async fn on_a_full_disk_nothing_is_acknowledged_and_reads_go_on() {
    let mut settings = Settings::default().embedded();
    settings.largest_file = Some(6 * 1024 * 1024 / 512);
    let mut server = Server::with(settings);
    let api = server.api();
    api.trigger(on("note", "big", json!([{"name": "n", "type": "log.debug", "config": {"message": "x"}}]))).await;
    let mut acknowledged = Vec::new();
    let refused = loop {
        let answer = api.post("/events", json!({"type": "big", "payload": {"x": "y".repeat(200_000)}})).await;
        if answer.status != 202 {
            break answer;
        }
        acknowledged.push(answer.body["event_id"].as_str().unwrap().to_owned());
        assert!(acknowledged.len() < 1000, "the disk does not fill up");
    };
    assert!(!acknowledged.is_empty());
    assert!(!refused.header("retry-after").is_empty(), "{refused:#?}");
    refused.problem(503);
    for _ in 0..5 {
        api.post("/events", json!({"type": "big", "payload": {"x": "y".repeat(200_000)}})).await.problem(503);
    }
    api.post("/api/v1/events/batch", json!([{"type": "big", "payload": {"x": "y".repeat(500_000)}}]))
        .await
        .problem(503);
    for id in &acknowledged {
        api.get(&format!("/api/v1/events/{id}")).await.expect(200);
    }
    let listed = api.get("/api/v1/inbox?limit=1").await.expect(200);
    assert_eq!(listed["total"], acknowledged.len(), "what was refused is not there");
    // With space again, all is well.
    server.kill();
    server.remove_file_limit();
    server.up();
    let api = server.api();
    assert_eq!(api.get("/api/v1/inbox?limit=1").await.expect(200)["total"], acknowledged.len());
    for id in &acknowledged {
        assert_eq!(api.ended(id).await["status"], "delivered");
    }
    let figures = json!({"by": "files of 6 MB at most", "acknowledged": acknowledged.len(), "lost": 0, "refused": 7});
    report("disk_full_embedded", &figures);
    api.event("big", json!({})).await;
}
