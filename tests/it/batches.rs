//! A batch says of each of its events what became of it.

use serde_json::{Value, json};

use crate::harness::{home, on};

#[tokio::test]
async fn the_valid_events_of_an_array_are_accepted_and_the_others_named_by_index() {
    let home = home().await;
    let batch = json!([
        {"type": "b.one", "payload": {"n": 0}},
        {"type": 5, "payload": {}},
        {"type": "b.one", "payload": {"n": 2}},
        "nonsense"
    ]);
    let answer = home.post("/api/v1/events/batch", batch).await.expect(202);
    let results = answer["results"].as_array().unwrap();
    let indexes: Vec<&Value> = results.iter().map(|result| &result["index"]).collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    for good in [0, 2] {
        assert_eq!(results[good]["status"], "accepted", "{answer}");
        let event = home.detail(results[good]["event_id"].as_str().unwrap()).await;
        assert_eq!(event["payload"]["n"], good);
    }
    for bad in [1, 3] {
        assert_eq!(results[bad]["event_id"], Value::Null, "{answer}");
        assert!(!results[bad]["errors"].as_array().unwrap().is_empty(), "{answer}");
    }
    assert_eq!(home.get("/api/v1/inbox?event_type=b.one").await.expect(200)["total"], 2);
}

#[tokio::test]
async fn lines_of_ndjson_that_are_wrong_do_not_stop_the_others() {
    let home = home().await;
    let lines = "{\"type\":\"n.one\",\"payload\":{}}\n{not json\n\n{\"type\":\"n.one\",\"payload\":{},\"x\":1}\r\n{\"type\":\"n.one\",\"payload\":{}}";
    let answer = home.post_raw("/api/v1/events/batch", "application/x-ndjson", lines).await.expect(202);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 4, "an empty line is no event: {answer}");
    let bad: Vec<&Value> = results.iter().filter(|r| r["status"] != "accepted").map(|r| &r["index"]).collect();
    assert_eq!(bad, [1, 2], "{answer}");
    assert_eq!(home.get("/api/v1/inbox?event_type=n.one").await.expect(200)["total"], 2);
}

#[tokio::test]
async fn a_batch_of_ten_thousand_is_taken_and_one_more_is_too_many() {
    let home = home().await;
    let lines = |count: usize| "{\"type\":\"many\",\"payload\":{}}\n".repeat(count);
    home.post_raw("/api/v1/events/batch", "application/x-ndjson", lines(10_000)).await.expect(202);
    assert_eq!(home.get("/api/v1/inbox?event_type=many&limit=1").await.expect(200)["total"], 10_000);
    home.post_raw("/api/v1/events/batch", "application/x-ndjson", lines(10_001)).await.problem(413);
}

#[tokio::test]
async fn a_batch_that_is_none_is_refused_whole() {
    let home = home().await;
    home.post_raw("/api/v1/events/batch", "application/json", "{\"type\":\"x\",\"payload\":{}}").await.problem(400);
    home.post_raw("/api/v1/events/batch", "text/csv", "a,b").await.problem(415);
}

#[tokio::test]
async fn every_event_of_a_batch_has_its_own_runs() {
    let home = home().await;
    home.trigger(on(
        "batched",
        "run.me",
        json!([{"name": "note", "type": "log.info", "config": {"message": "{{record.n}}"}}]),
    ))
    .await;
    let batch: Vec<Value> = (0..20).map(|n| json!({"type": "run.me", "payload": {"n": n}})).collect();
    let answer = home.post("/api/v1/events/batch", json!(batch)).await.expect(202);
    for result in answer["results"].as_array().unwrap() {
        let event = home.ended(result["event_id"].as_str().unwrap()).await;
        assert_eq!((&event["status"], event["runs"].as_array().unwrap().len()), (&json!("delivered"), 1));
    }
}
