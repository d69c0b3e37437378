//! One event with everything that is known of it: what happened in order, why subscriptions did not match, and a status that says
//! what its runs say.

use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::{Api, Receiver, Reply, Server, call, eventually, fast, home, on};

fn told(event: &Value) -> Vec<&str> {
    event["timeline"].as_array().unwrap().iter().map(|moment| moment["what"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_timeline_tells_of_attempts_dead_letters_and_replays_in_order() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/t", [Reply::status(503), Reply::status(400), Reply::status(200)]);
    let mut action = call("c", &receiver.url("/t"));
    action["retry"] = fast(3);
    home.trigger(on("told", "timeline", json!([action]))).await;
    let event = home.event_ended("timeline", json!({})).await;
    let first = ["accepted", "started", "attempt", "attempt", "dead_lettered"];
    assert_eq!(told(&event), first, "{event:#}");
    let timeline = event["timeline"].as_array().unwrap();
    assert_eq!((&timeline[2]["outcome"], &timeline[2]["attempt"]), (&json!("retry"), &json!(1)));
    assert_eq!((&timeline[3]["error_code"], &timeline[4]["error_code"]), (&json!("HTTP_400"), &json!("HTTP_400")));
    assert_eq!((&timeline[4]["trigger"], &timeline[4]["run_id"]), (&json!("told"), &event["runs"][0]["run_id"]));
    let id = event["event_id"].as_str().unwrap();
    home.post(&format!("/api/v1/events/{id}/replay"), json!({})).await.expect(202);
    let event = eventually(|| async {
        let event = home.detail(id).await;
        if event["status"] == "delivered" { Ok(event) } else { Err(format!("{event:#}")) }
    })
    .await;
    assert_eq!(told(&event), [&first[..], &["replayed", "started", "attempt", "delivered"]].concat(), "{event:#}");
    let times: Vec<&str> =
        event["timeline"].as_array().unwrap().iter().map(|m| m["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let none = home.event("timeline.none", json!({})).await;
    assert_eq!(told(&home.detail(&none).await), ["accepted"]);
}

#[tokio::test]
async fn subscriptions_that_did_not_match_are_explained() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let large = json!({"type": "custom", "function": {"field": "amount", "operator": "greater_than", "value": 100}});
    let subscribe = async |selector: Value| {
        let body = json!({"event_selector": selector, "webhook_url": receiver.url("/in")});
        home.post("/api/v1/subscriptions", body).await.expect(201)["id"].as_str().unwrap().to_owned()
    };
    let id = subscribe(large.clone()).await;
    subscribe(json!({"type": "event_type", "value": "other"})).await;
    let small = home.event("order.created", json!({"amount": 50})).await;
    subscribe(large).await;
    let event = home.detail(&small).await;
    let not_matched = event["not_matched"].as_array().unwrap();
    assert_eq!(not_matched.len(), 1, "neither of another type nor from after the event: {event:#}");
    assert_eq!(not_matched[0]["trigger"], format!("subscription:{id}"));
    let said_no = &not_matched[0]["explanation"];
    assert_eq!((&said_no["verdict"], &said_no["found"], &said_no["wanted"]), (&json!(false), &json!(50), &json!(100)));
    let event = home.event_ended("order.created", json!({"amount": 500})).await;
    assert_eq!(event["not_matched"], json!([]), "{event:#}");
}

/// What an event's status is by its runs.
fn status_of(event: &Value) -> &'static str {
    let runs: Vec<&str> = event["runs"].as_array().unwrap().iter().map(|run| run["status"].as_str().unwrap()).collect();
    if runs.contains(&"failed") {
        "failed"
    } else if runs.iter().any(|status| ["pending", "running"].contains(status)) {
        "pending"
    } else if runs.is_empty() && event["timeline"].as_array().unwrap().len() == 1 && event["type"] == "s.none" {
        "unmatched"
    } else {
        "delivered"
    }
}

async fn check(api: &Api, ids: &[String], when: &str) {
    for id in ids {
        // Whatever becomes of it meanwhile: what is told together fits together.
        let event = api.detail(id).await;
        assert_eq!(event["status"], status_of(&event), "{when}: {event:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_s_status_is_that_of_its_runs_through_failures_replays_and_kills() {
    let seed = rand::rng().random();
    eprintln!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut server = Server::start();
    let receiver = Receiver::start().await;
    let mixed = |random: &mut rand::rngs::StdRng| {
        (0..200).map(|_| Reply::status([200, 200, 400, 503][random.random_range(0..4)])).collect::<Vec<_>>()
    };
    receiver.script("/a", mixed(&mut random));
    receiver.script("/b", mixed(&mut random));
    for name in ["a", "b"] {
        let mut action = call("c", &receiver.url(&format!("/{name}")));
        action["retry"] = fast(2);
        server.api().trigger(on(name, "s.some", json!([action]))).await;
    }
    let mut ids = Vec::new();
    for round in 0..6 {
        let api = server.api();
        for _ in 0..10 {
            ids.push(api.event(if random.random_bool(0.2) { "s.none" } else { "s.some" }, json!({})).await);
        }
        check(&api, &ids, "under way").await;
        for _ in 0..4 {
            let id = &ids[random.random_range(0..ids.len())];
            api.post(&format!("/api/v1/events/{id}/replay"), json!({})).await.expect(202);
        }
        let letters = api.get("/api/v1/dead-letters?limit=2").await.expect(200);
        for letter in letters["dead_letters"].as_array().unwrap() {
            // It may have been replayed meanwhile.
            api.delete(&format!("/api/v1/dead-letters/{}", letter["run_id"].as_str().unwrap())).await;
        }
        check(&api, &ids, "replayed and dropped").await;
        if round % 2 == 1 {
            tokio::task::block_in_place(|| server.crash_and_restart());
            check(&server.api(), &ids, "after a kill").await;
        }
    }
    let api = server.api();
    eventually(|| async {
        let page = api.get("/api/v1/inbox?status=pending").await.expect(200);
        if page["total"] == 0 && page["total_is_exact"] == true { Ok(()) } else { Err(format!("{page:#}")) }
    })
    .await;
    check(&api, &ids, "in the end").await;
    let mut listed = 0;
    for status in ["delivered", "failed", "unmatched"] {
        let page = api.get(&format!("/api/v1/inbox?status={status}&limit=1000")).await.expect(200);
        for event in page["events"].as_array().unwrap() {
            let detail = api.detail(event["event_id"].as_str().unwrap()).await;
            assert_eq!((&event["status"], status_of(&detail)), (&json!(status), status), "{detail:#}");
            listed += 1;
        }
    }
    assert_eq!(listed, ids.len());
}
