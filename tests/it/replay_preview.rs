//! A replay by filter says beforehand what it would do, and does just that.

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Reply, call, eventually, home, on};

async fn preview(home: &Home, filter: Value) -> Value {
    let mut body = filter;
    body["dry_run"] = json!(true);
    let preview = home.post("/api/v1/replay", body).await.expect(200);
    assert_eq!((&preview["dry_run"], &preview["is_complete"]), (&json!(true), &json!(true)), "{preview:#}");
    preview
}

#[tokio::test]
async fn a_preview_names_the_events_triggers_and_actions_and_does_nothing() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/second", [Reply::status(400), Reply::status(200)]);
    let actions = json!([call("first", &receiver.url("/first")), call("second", &receiver.url("/second"))]);
    home.trigger(on("two", "preview.two", actions)).await;
    home.trigger(on("one", "preview.one", json!([call("only", &receiver.url("/only"))]))).await;
    let dead = home.event_ended("preview.two", json!({})).await;
    let done = home.event_ended("preview.one", json!({})).await;
    home.event("preview.none", json!({})).await;
    let seen = receiver.seen().len();

    let failed = preview(&home, json!({"status": "failed"})).await;
    assert_eq!((&failed["events"], &failed["runs"]), (&json!(1), &json!(1)));
    let only_second = json!([{"trigger": "two", "name": "second", "type": "http.post", "count": 1}]);
    assert_eq!(failed["actions"], only_second, "a dead letter goes on where it failed: {failed:#}");
    let sample = &failed["samples"][0];
    assert_eq!((&sample["event_id"], &sample["status"]), (&dead["event_id"], &json!("failed")));
    assert_eq!(sample["runs"][0]["run_id"], dead["runs"][0]["run_id"]);

    let all = preview(&home, json!({})).await;
    assert_eq!((&all["events"], &all["triggers"]), (&json!(2), &json!({"one": 1, "two": 1})), "{all:#}");
    assert_eq!(all["samples"][0]["event_id"], done["event_id"], "newest first");
    let of_one = preview(&home, json!({"trigger": "one"})).await;
    assert_eq!((&of_one["runs"], &of_one["triggers"]), (&json!(1), &json!({"one": 1})));

    // What matched nothing when it came is matched by what is in force now.
    assert_eq!(preview(&home, json!({"event_type": "preview.none"})).await["runs"], 0);
    home.trigger(on("late", "preview.none", json!([call("late", &receiver.url("/late"))]))).await;
    let none = preview(&home, json!({"event_type": "preview.none"})).await;
    assert_eq!((&none["runs"], &none["samples"][0]["runs"][0]["run_id"]), (&json!(1), &Value::Null), "{none:#}");

    assert_eq!(receiver.seen().len(), seen, "nothing was done");
    assert_eq!(home.detail(dead["event_id"].as_str().unwrap()).await["status"], "failed");
    let answer = home.post("/api/v1/replay?status=failed&dry_run=true", json!({})).await.expect(200);
    assert_eq!(answer["runs"], 1, "in the query as well");
    home.post("/api/v1/replay", json!({"dry_run": "perhaps"})).await.problem(400);

    let replayed = home.post("/api/v1/replay", json!({"status": "failed"})).await.expect(202);
    assert_eq!(replayed["runs"], failed["runs"], "as it was said");
    eventually(|| async {
        let event = home.detail(dead["event_id"].as_str().unwrap()).await;
        if event["status"] == "delivered" { Ok(()) } else { Err(format!("{event:#}")) }
    })
    .await;
    assert_eq!(receiver.seen_at("/first").len(), 1);
    assert_eq!(receiver.seen_at("/second").len(), 2);
}
