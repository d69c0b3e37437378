//! Definitions are stored, read, changed, listed and brought back; what is wrong in one is said all at once.

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Reply, after_insert, call, change, home, on};

fn note(tag: &str) -> Value {
    on(tag, "note.me", json!([{"name": "note", "type": "log.info", "config": {"message": "v1"}}]))
}

async fn versions(home: &Home, tag: &str) -> Vec<u64> {
    let listed = home.get(&format!("/api/v1/triggers/{tag}/versions")).await.expect(200);
    listed["versions"].as_array().unwrap().iter().map(|version| version["version"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_trigger_is_created_read_replaced_merged_and_deleted() {
    let home = home().await;
    let made = home.post("/api/v1/triggers", note("life")).await.expect(201);
    assert_eq!((&made["tag"], &made["version"]), (&json!("life"), &json!(1)));
    home.post("/api/v1/triggers", note("life")).await.problem(409);
    let shown = home.get("/api/v1/triggers/life").await.expect(200);
    assert_eq!(shown["actions"][0]["config"]["message"], "v1");
    home.put("/api/v1/triggers/new", note("new")).await.expect(201);
    let mut changed = note("life");
    changed["priority"] = json!(5);
    assert_eq!(home.put("/api/v1/triggers/life", changed).await.expect(200)["version"], 2);
    let merged =
        home.patch("/api/v1/triggers/life", json!({"priority": null, "description": "merged"})).await.expect(200);
    assert_eq!(
        (&merged["version"], &merged["description"], &merged["priority"]),
        (&json!(3), &json!("merged"), &Value::Null)
    );
    home.delete("/api/v1/triggers/life").await.expect(204);
    home.get("/api/v1/triggers/life").await.problem(404);
    home.delete("/api/v1/triggers/life").await.problem(404);
    home.patch("/api/v1/triggers/life", json!({"priority": 1})).await.problem(404);
    assert_eq!(home.event_ended("note.me", json!({})).await["runs"].as_array().unwrap().len(), 1, "only `new` is left");
}

#[tokio::test]
async fn a_tag_that_contradicts_the_path_is_422() {
    let home = home().await;
    let problem = home.put("/api/v1/triggers/one", note("two")).await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/tag");
    // Without a tag, the path's is meant.
    let mut untagged = note("x");
    untagged.as_object_mut().unwrap().remove("tag");
    assert_eq!(home.put("/api/v1/triggers/one", untagged).await.expect(201)["tag"], "one");
}

#[tokio::test]
async fn storing_the_same_again_makes_no_version() {
    let home = home().await;
    home.trigger(note("same")).await;
    assert_eq!(home.trigger(note("same")).await["version"], 1);
    assert_eq!(versions(&home, "same").await, [1]);
}

#[tokio::test]
async fn earlier_versions_are_read_and_restored() {
    let home = home().await;
    home.trigger(note("back")).await;
    let mut second = note("back");
    second["actions"][0]["config"]["message"] = json!("v2");
    home.trigger(second).await;
    assert_eq!(versions(&home, "back").await, [2, 1]);
    let restored = home.post("/api/v1/triggers/back/versions/1/restore", json!({})).await.expect(200);
    assert_eq!((&restored["version"], &restored["actions"][0]["config"]["message"]), (&json!(3), &json!("v1")));
    home.post("/api/v1/triggers/back/versions/9/restore", json!({})).await.problem(404);
    home.get("/api/v1/triggers/back/versions/x").await.problem(404);
}

#[tokio::test]
async fn all_mistakes_come_at_once_with_places_and_nearest_names() {
    let home = home().await;
    let wrong = json!({
        "tag": "Wrong Tag", "events": [], "priorty": 1, "tables": "orders",
        "condition": {"and": [{"field": "record.a", "operator": "EQUALSS", "value": 1}, {"field": "record.b", "operator": "MATCHES", "value": "("}]},
        "actions": [
            {"name": "a", "type": "http.pots", "config": {}},
            {"name": "b", "type": "http.post", "config": {"ur1": "https://example.com"}},
            {"name": "c", "type": "log.info", "config": {"message": "{{#if x}}"}},
            {"name": "d", "type": "custom", "config": {"component": "nobody-uploaded-me"}},
            {"name": "e", "type": "log.info", "timing": "later", "config": {"message": "x"}}
        ]
    });
    let checked = home.post("/api/v1/triggers/validate", wrong.clone()).await.expect(200);
    assert_eq!(checked["valid"], false);
    let errors = checked["errors"].as_array().unwrap();
    let at = |pointer: &str| {
        let found = errors.iter().find(|error| error["pointer"].as_str().unwrap().starts_with(pointer));
        found.unwrap_or_else(|| panic!("no mistake at {pointer}: {checked:#}"))["detail"].as_str().unwrap()
    };
    for pointer in ["/tag", "/events", "/tables", "/condition/and/1", "/actions/2/config/message", "/actions/4/timing"]
    {
        at(pointer);
    }
    for (pointer, nearest) in [
        ("/priorty", "priority"),
        ("/condition/and/0/operator", "EQUALS"),
        ("/actions/0/type", "http.post"),
        ("/actions/1/config/ur1", "url"),
    ] {
        assert!(at(pointer).contains(&format!("`{nearest}`")), "{pointer}: {}", at(pointer));
    }
    let problem = home.post("/api/v1/triggers", wrong).await.problem(422);
    assert_eq!(problem["errors"], checked["errors"]);
    assert_eq!(home.get("/api/v1/triggers").await.expect(200)["total"], 0, "nothing was stored");
    let right = home.post("/api/v1/triggers/validate", note("right")).await.expect(200);
    assert_eq!(right, json!({"valid": true, "errors": []}));
    assert_eq!(home.get("/api/v1/triggers").await.expect(200)["total"], 0, "validating stores nothing");
}

#[tokio::test]
async fn a_definition_that_cannot_be_read_is_400() {
    let home = home().await;
    for body in ["{", "", r#"{"tag":"a","tag":"b"}"#] {
        let answer = home.post_raw("/api/v1/triggers", "application/json", body.to_owned()).await;
        assert!(answer.status == 400 || answer.status == 422, "{answer:#?}");
    }
    home.post_raw("/api/v1/triggers", "text/plain", "x").await.problem(415);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let home = home().await;
    for n in 0..5 {
        let mut trigger = after_insert(
            &format!("t{n}"),
            if n == 0 { "leads" } else { "orders" },
            json!([{"type": "log.info", "config": {"message": "x"}}]),
        );
        trigger["enabled"] = json!(n != 4);
        trigger["database"] = json!("crm");
        home.trigger(trigger).await;
    }
    home.trigger(note("typed")).await;
    let tags = async |query: &str| -> Vec<String> {
        let page = home.get(&format!("/api/v1/triggers?{query}")).await.expect(200);
        page["triggers"].as_array().unwrap().iter().map(|t| t["tag"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(tags("").await.len(), 6);
    assert_eq!(tags("table=leads&event=afterInsert").await, ["t0"]);
    assert_eq!(tags("event=note.me").await, ["typed"]);
    assert_eq!(tags("enabled=false").await, ["t4"]);
    assert_eq!(tags("database=other&event=afterInsert").await, Vec::<String>::new());
    let page = home.get("/api/v1/triggers?limit=4").await.expect(200);
    assert_eq!((&page["total"], &page["has_more"]), (&json!(6), &json!(true)));
    assert_eq!(tags(&format!("limit=4&cursor={}", page["cursor"].as_str().unwrap())).await, ["t4", "typed"]);
}

#[tokio::test]
async fn a_table_s_triggers_are_listed_in_the_order_in_which_they_run() {
    let home = home().await;
    let receiver = Receiver::start().await;
    for (tag, priority) in [("b-last", 20), ("z-first", 1), ("a-tie", 20)] {
        let mut action = call("c", &receiver.url(&format!("/{tag}")));
        action["timing"] = json!("sync");
        let definition = json!({"priority": priority, "events": ["afterInsert"], "actions": [action]});
        let path = format!("/api/v1/databases/db/tables/orders/triggers/{tag}");
        let stored = home.put(&path, definition).await.expect(201);
        assert_eq!((&stored["database"], &stored["tables"]), (&json!("db"), &json!(["orders"])));
    }
    let mut wildcard = after_insert("any-order", "order*", json!([{"type": "log.info", "config": {"message": "x"}}]));
    wildcard["priority"] = json!(10);
    home.trigger(wildcard).await;
    let listed = home.get("/api/v1/databases/db/tables/orders/triggers?event=afterInsert").await.expect(200);
    let tags: Vec<&str> = listed["triggers"].as_array().unwrap().iter().map(|t| t["tag"].as_str().unwrap()).collect();
    assert_eq!(tags, ["z-first", "any-order", "a-tie", "b-last"]);
    let none = home.get("/api/v1/databases/db/tables/orders/triggers?event=afterDelete").await.expect(200);
    assert_eq!(none["triggers"], json!([]));
    home.accept(change("insert", "orders", json!({}), Value::Null)).await;
    receiver.wait_until("one request of each", |seen| seen.len() == 3).await;
}

#[tokio::test]
async fn an_event_runs_with_the_version_in_force_when_it_was_accepted() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/gate", [Reply::status(200).held(), Reply::status(200)]);
    let definition = |path: &str| {
        on("moving", "moving", json!([call("gate", &receiver.url("/gate")), call("then", &receiver.url(path))]))
    };
    home.trigger(definition("/old")).await;
    let first = home.event("moving", json!({})).await;
    receiver.wait_for("/gate", 1).await;
    home.trigger(definition("/new")).await;
    let second = home.event_ended("moving", json!({})).await;
    receiver.release(1);
    let first = home.ended(&first).await;
    assert_eq!((&first["runs"][0]["version"], &second["runs"][0]["version"]), (&json!(1), &json!(2)));
    assert_eq!((receiver.seen_at("/old").len(), receiver.seen_at("/new").len()), (1, 1));
}

#[tokio::test]
async fn a_deleted_trigger_s_runs_go_on_to_their_end() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/gate", [Reply::status(503), Reply::status(200).held()]);
    home.trigger(on(
        "gone",
        "gone",
        json!([call("gate", &receiver.url("/gate")), call("then", &receiver.url("/then"))]),
    ))
    .await;
    let id = home.event("gone", json!({})).await;
    receiver.wait_for("/gate", 1).await;
    home.delete("/api/v1/triggers/gone").await.expect(204);
    receiver.release(1);
    receiver.wait_for("/then", 1).await;
    assert_eq!(home.ended(&id).await["status"], "delivered");
}

#[tokio::test]
async fn a_disabled_trigger_and_one_of_another_environment_do_not_match() {
    let home = home().await;
    let mut disabled = note("disabled");
    disabled["enabled"] = json!(false);
    home.trigger(disabled).await;
    let mut production = note("production");
    production["env"] = json!("prd");
    home.trigger(production).await;
    assert_eq!(home.event_ended("note.me", json!({})).await["status"], "unmatched");
    let id = home.accept(json!({"type": "note.me", "env": "prd", "payload": {}})).await;
    let event = home.ended(&id).await;
    assert_eq!(event["runs"].as_array().unwrap().len(), 1);
    assert_eq!(event["runs"][0]["trigger"], "production");
}
