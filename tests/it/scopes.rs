//! Every route of the OpenAPI document, asked by those who may not.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, Home, call, fast, free_port, guest, home, on};

/// Where paths begin, the scope that writes there, and one that may do nothing there.
const RULES: &[(&str, &str, &str)] = &[
    ("/events", "events:write", "resources:write"),
    ("/api/v1/events", "events:write", "resources:write"),
    ("/api/v1/replay", "events:write", "resources:write"),
    ("/api/v1/inbox", "events:write", "resources:write"),
    ("/api/v1/dead-letters", "events:write", "resources:write"),
    ("/api/v1/mailbox", "events:write", "components:write"),
    ("/api/v1/execute", "events:write", "resources:write"),
    ("/api/v1/triggers", "triggers:write", "components:write"),
    ("/api/v1/databases/{db}/tables/{table}/records", "events:write", "resources:write"),
    ("/api/v1/databases", "triggers:write", "components:write"),
    ("/api/v1/components", "components:write", "resources:write"),
    ("/api/v1/subscriptions", "resources:write", "components:write"),
    ("/api/v1/keys", "admin", "events:write"),
    ("/api/v1/tenants", "operator", "admin"),
    ("/api/v1/master-key", "operator", "admin"),
    ("/admin/", "operator", "admin"),
    ("/api/v1/", "resources:write", "components:write"),
];

/// Open to everybody, or to every key.
const OPEN: &[&str] = &["/health", "/ready", "/metrics", "/api/v1/openapi.json"];

struct Route {
    method: Method,
    path: String,
}

async fn routes(api: &Api) -> Vec<Route> {
    let document = api.get("/api/v1/openapi.json").await.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| -> Vec<Route> {
        let methods = methods.as_object().unwrap().keys().filter(|name| *name != "parameters" && *name != "summary");
        let routes = methods.map(|name| (name.to_uppercase().parse::<Method>().unwrap(), path));
        routes.flat_map(|(method, path)| of_each_kind(&method, path)).collect()
    };
    paths.iter().flat_map(of_path).collect()
}

/// A path of all kinds of resources is one of each.
fn of_each_kind(method: &Method, path: &str) -> Vec<Route> {
    let kinds: &[&str] =
        if path.contains("{kind}") { &["brokers", "caches", "notifications", "secrets", "storages"] } else { &[""] };
    kinds.iter().map(|kind| Route { method: method.clone(), path: path.replace("{kind}", kind) }).collect()
}

/// The path with a value for every parameter.
fn filled(path: &str, value: impl Fn(&str) -> String) -> String {
    let mut filled = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, end) = after.split_once('}').unwrap();
        filled.push_str(before);
        filled.push_str(&value(name));
        rest = end;
    }
    filled + rest
}

async fn ask(api: &Api, route: &Route, path: &str) -> Answer {
    let request = api.request(route.method.clone(), path);
    api.send(if route.method == Method::GET { request } else { request.json(&json!({})) }).await
}

fn rule(path: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    if OPEN.contains(&path) {
        return None;
    }
    let found = RULES.iter().find(|(prefix, ..)| path.starts_with(prefix));
    Some(found.unwrap_or_else(|| panic!("{path} is a new kind of path: say in RULES who may do what there")))
}

#[tokio::test]
async fn without_a_key_every_route_is_401() {
    let home = home().await;
    let routes = routes(&home).await;
    assert!(routes.len() > 40, "the document lists the routes: {}", routes.len());
    for route in routes.iter().filter(|route| rule(&route.path).is_some()) {
        for key in [None, Some("trg_nonsense")] {
            let answer = ask(&home.with_key(key), route, &filled(&route.path, |_| "x".into())).await;
            assert_eq!(answer.status, 401, "{} {}: {}", route.method, route.path, answer.text);
        }
    }
}

#[tokio::test]
async fn a_key_of_the_wrong_scope_is_403_and_one_of_the_right_is_not() {
    let home = home().await;
    for route in routes(&home).await {
        let Some((_, writes, never)) = rule(&route.path) else { continue };
        let path = filled(&route.path, |_| "x".into());
        let refused = ask(&home.with_scopes(&[never]).await, &route, &path).await;
        assert_eq!(refused.status, 403, "{} {} with {never}: {}", route.method, route.path, refused.text);
        refused.problem(403);
        if *writes == "operator" || route.path.ends_with("/stream") {
            continue;
        }
        let scopes: &[&str] = if route.method == Method::GET { &["events:read", "admin"] } else { &[writes] };
        let let_in = ask(&home.with_scopes(scopes).await, &route, &path).await;
        // Trying and looking are reading, though they are posts.
        let reads = ["/backtest", "/validate", "/test", "/check"].iter().any(|end| route.path.ends_with(end));
        assert!(
            reads || !matches!(let_in.status, 401 | 403),
            "{} {} with {writes}: {}",
            route.method,
            route.path,
            let_in.text
        );
    }
}

/// What a thing of every kind is called: a word that no message has.
const THING: &str = "orchid";

/// One thing of every kind.
async fn furnished(home: &Home) -> Value {
    home.component(THING, guest("lead-score")).await;
    home.resource("caches", THING, json!({"kind": "memory"})).await;
    home.resource("brokers", THING, json!({"kind": "embedded"})).await;
    home.resource("notifications", THING, json!({"from": "a@example.com"})).await;
    home.resource("secrets", THING, json!({"value": "v"})).await;
    let mut failing = call("fail", &format!("http://127.0.0.1:{}/", free_port()));
    failing["retry"] = fast(1);
    let publish =
        json!({"name": "publish", "type": "broker.publish", "config": {"broker": "embedded:orchid", "message": 1}});
    home.trigger(on(THING, THING, json!([publish, failing]))).await;
    let event = home.event_ended(THING, json!({})).await;
    let key = home.post("/api/v1/keys", json!({"scopes": ["events:read"]})).await.expect(201);
    json!({"event": event["event_id"], "run": event["runs"][0]["run_id"], "key": key["id"]})
}

#[tokio::test]
async fn what_another_tenant_has_is_answered_as_what_nobody_has() {
    let (owner, other) = (home().await, home().await);
    let things = furnished(&owner).await;
    let stranger = other.with_scopes(&["admin"]).await;
    let unknown = uuid::Uuid::now_v7().to_string();
    let mut asked = 0;
    for route in routes(&owner).await {
        let operator = matches!(rule(&route.path), Some((_, "operator", _)) | None);
        if !route.path.contains('{') || operator || route.method == Method::PUT {
            continue;
        }
        let (kind, text) = match &route.path {
            path if path.contains("/keys/") => ("key", things["key"].as_str().unwrap()),
            path if path.contains("/events/{") => ("event", things["event"].as_str().unwrap()),
            path if path.contains("/dead-letters/") => ("run", things["run"].as_str().unwrap()),
            _ => ("tag", THING),
        };
        let absent = if kind == "tag" { "absent" } else { &unknown };
        let theirs = ask(&stranger, &route, &filled(&route.path, |_| text.into())).await;
        let nobody_s = ask(&stranger, &route, &filled(&route.path, |_| absent.into())).await;
        assert_eq!(theirs.status, nobody_s.status, "{} {}: {}", route.method, route.path, theirs.text);
        assert_eq!(
            theirs.text.replace(text, "X"),
            nobody_s.text.replace(absent, "X"),
            "{} {}",
            route.method,
            route.path
        );
        let lists_nothing = theirs.status == 200 && theirs.body["total"] == 0;
        let refused_before = theirs.status == 422 || theirs.status == 415;
        assert!(
            theirs.status == 404 || lists_nothing || refused_before,
            "{} {}: {}",
            route.method,
            route.path,
            theirs.text
        );
        asked += 1;
    }
    assert!(asked > 15, "{asked} routes name a thing");
    // And none of it was changed.
    owner.get("/api/v1/triggers/orchid").await.expect(200);
    owner.get("/api/v1/components/orchid").await.expect(200);
    assert_eq!(owner.get("/api/v1/dead-letters").await.expect(200)["total"], 1);
    assert_eq!(owner.get("/api/v1/brokers/embedded/topics/orchid/messages").await.expect(200)["total"], 1);
    for list in ["inbox", "dead-letters", "triggers", "components", "caches", "secrets"] {
        let page = stranger.get(&format!("/api/v1/{list}")).await.expect(200);
        assert_eq!(page["total"], 0, "{list}: {page}");
    }
}
