//! What is tried again, when, how often, and what follows when it is over.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Reply, call, fast, free_port, home, on};

/// The codes of an event's attempts of its first action; null for one that went well.
fn codes(event: &Value) -> Vec<Value> {
    event["runs"][0]["actions"][0]["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["error_code"].clone())
        .collect()
}

async fn run(home: &Home, receiver: &Receiver, path: &str, replies: Vec<Reply>, change: impl Fn(&mut Value)) -> Value {
    receiver.script(path, replies);
    let mut action = call("c", &receiver.url(path));
    change(&mut action);
    let tag = path.trim_start_matches('/').to_owned();
    home.trigger(on(&tag, &tag, json!([action]))).await;
    home.event_ended(&tag, json!({})).await
}

#[tokio::test]
async fn a_failing_receiver_is_tried_as_often_as_the_policy_says_and_then_it_is_a_dead_letter() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let event = run(&home, &receiver, "/down", vec![Reply::status(500)], |action| {
        action["retry"] =
            json!({"maxAttempts": 4, "initialDelay": 100, "backoffMultiplier": 2, "maxDelay": 150, "jitter": "none"});
    })
    .await;
    assert_eq!(event["status"], "failed");
    assert_eq!(codes(&event), ["HTTP_500"; 4]);
    let seen = receiver.seen_at("/down");
    assert_eq!(seen.len(), 4);
    for (pair, least) in seen.windows(2).zip([100, 150, 150]) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= Duration::from_millis(least - 5), "{gap:?} is shorter than {least} ms");
    }
    let outcomes: Vec<&Value> =
        event["runs"][0]["actions"][0]["attempts"].as_array().unwrap().iter().map(|a| &a["outcome"]).collect();
    assert_eq!(outcomes, ["retry", "retry", "retry", "failed"]);
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let busy = |status| Reply::status(status).header("retry-after", "1");
    let event = run(&home, &receiver, "/busy", vec![busy(429), busy(503), Reply::status(200)], |_| {}).await;
    assert_eq!(codes(&event), [json!("HTTP_429"), json!("HTTP_503"), Value::Null]);
    let seen = receiver.seen_at("/busy");
    for pair in seen.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= Duration::from_millis(990), "{gap:?} is shorter than the second that was asked for");
    }
}

#[tokio::test]
async fn client_errors_are_permanent_but_for_408_425_and_429() {
    let home = home().await;
    let receiver = Receiver::start().await;
    for status in [400, 401, 403, 404, 409, 410, 422, 451] {
        let event =
            run(&home, &receiver, &format!("/p{status}"), vec![Reply::status(status), Reply::status(200)], |_| {})
                .await;
        assert_eq!((&event["status"], codes(&event)), (&json!("failed"), vec![json!(format!("HTTP_{status}"))]));
        assert_eq!(event["runs"][0]["error_code"], format!("HTTP_{status}"));
    }
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let event =
            run(&home, &receiver, &format!("/t{status}"), vec![Reply::status(status), Reply::status(200)], |_| {})
                .await;
        assert_eq!(
            (&event["status"], codes(&event)),
            (&json!("delivered"), vec![json!(format!("HTTP_{status}")), Value::Null])
        );
    }
}

#[tokio::test]
async fn a_timed_out_attempt_is_retried_with_the_same_idempotency_key() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let event =
        run(&home, &receiver, "/hang", vec![Reply::Hang, Reply::status(200)], |action| action["timeout"] = json!(200))
            .await;
    assert_eq!(codes(&event), [json!("ETIMEDOUT"), Value::Null]);
    let seen = receiver.seen_at("/hang");
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
}

#[tokio::test]
async fn failures_of_the_network_have_codes_and_are_retried() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let event = run(&home, &receiver, "/reset", vec![Reply::Reset, Reply::status(200)], |_| {}).await;
    assert_eq!(codes(&event), [json!("ECONNRESET"), Value::Null]);
    let event = run(&home, &receiver, "/refused", vec![], |action| {
        action["config"]["url"] = json!(format!("http://127.0.0.1:{}/", free_port()));
        action["retry"] = fast(2);
    })
    .await;
    assert_eq!(codes(&event), ["ECONNREFUSED"; 2]);
    let event = run(&home, &receiver, "/unknown", vec![], |action| {
        action["config"]["url"] = json!("http://nowhere.invalid/");
        action["retry"] = fast(2);
    })
    .await;
    assert_eq!(codes(&event), ["ENOTFOUND"; 2]);
}

#[tokio::test]
async fn retry_on_names_what_is_tried_again() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let only = |codes: Value| {
        move |action: &mut Value| {
            action["retry"] = fast(3);
            action["retry"]["retryOn"] = codes.clone();
        }
    };
    let event =
        run(&home, &receiver, "/on-429", vec![Reply::status(500), Reply::status(200)], only(json!(["HTTP_429"]))).await;
    assert_eq!(codes(&event), ["HTTP_500"]);
    let event =
        run(&home, &receiver, "/on-5xx", vec![Reply::status(502), Reply::status(200)], only(json!(["HTTP_5XX"]))).await;
    assert_eq!(codes(&event), [json!("HTTP_502"), Value::Null]);
}

#[tokio::test]
async fn continue_on_error_lets_later_actions_run() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/bad", [Reply::status(400)]);
    let mut bad = call("bad", &receiver.url("/bad"));
    bad["continueOnError"] = json!(true);
    home.trigger(on("goes-on", "goes.on", json!([bad, call("good", &receiver.url("/good"))]))).await;
    let event = home.event_ended("goes.on", json!({})).await;
    let actions = &event["runs"][0]["actions"];
    assert_eq!((&actions[0]["status"], &actions[1]["status"]), (&json!("failed"), &json!("delivered")));
    assert_eq!(event["status"], "delivered", "it is no dead letter: {event:#}");
    // Without it, nothing after the failed action runs.
    home.trigger(on(
        "stops",
        "stops",
        json!([call("bad", &receiver.url("/bad")), call("never", &receiver.url("/never"))]),
    ))
    .await;
    assert_eq!(home.event_ended("stops", json!({})).await["status"], "failed");
    assert_eq!(receiver.seen_at("/never").len(), 0);
}

#[tokio::test]
async fn a_fallback_runs_in_the_place_of_what_failed_for_good() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/bad", [Reply::status(400)]);
    receiver.script("/worse", [Reply::status(400)]);
    let mut first = call("first", &receiver.url("/bad"));
    first["fallback"] = json!([call("instead", &receiver.url("/instead"))]);
    home.trigger(on("falls", "falls", json!([first.clone(), call("after", &receiver.url("/after"))]))).await;
    let event = home.event_ended("falls", json!({})).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    assert_eq!((receiver.seen_at("/instead").len(), receiver.seen_at("/after").len()), (1, 1));
    first["fallback"] = json!([call("instead", &receiver.url("/worse"))]);
    home.trigger(on("falls-hard", "falls.hard", json!([first]))).await;
    assert_eq!(home.event_ended("falls.hard", json!({})).await["status"], "failed");
}
