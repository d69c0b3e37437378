//! Every route of the list, asked by everybody: with no key and with every kind of key, for what is there, for what is another
//! tenant's, and for what is nobody's.
//!
//! Nothing here names a route that could be forgotten: the list is the server's own, and a route of which `things.rs` does not know
//! what its path names, or what it is asked with, fails.

mod things;

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use triggerd::access::Scope;
use triggerd::api::routes::{Need, ROUTES, Route};

use self::things::{Asked, Things, all};
use crate::harness::{Api, Server, Settings, eventually, store};

/// Where paths begin, the scope that writes there, and one that may do nothing there.
const RULES: &[(&str, &str, &str)] = &[
    ("/events", "events:write", "resources:write"),
    ("/api/v1/events/erase", "admin", "events:write"),
    ("/api/v1/events", "events:write", "resources:write"),
    ("/api/v1/replay", "events:write", "resources:write"),
    ("/api/v1/inbox", "events:write", "resources:write"),
    ("/api/v1/dead-letters", "events:write", "resources:write"),
    ("/api/v1/mailbox", "events:write", "components:write"),
    ("/api/v1/execute", "events:write", "resources:write"),
    ("/api/v1/triggers", "triggers:write", "components:write"),
    ("/api/v1/databases/{db}/tables/{table}/records", "events:write", "resources:write"),
    ("/api/v1/databases/{db}/tables/{table}/triggers", "triggers:write", "components:write"),
    ("/api/v1/components", "components:write", "resources:write"),
    ("/api/v1/subscriptions", "resources:write", "components:write"),
    ("/api/v1/keys", "admin", "events:write"),
    ("/api/v1/audit", "admin", "events:write"),
    ("/api/v1/tenants", "operator", "admin"),
    ("/api/v1/master-key", "operator", "admin"),
    ("/admin/", "operator", "admin"),
    ("/api/v1/", "resources:write", "components:write"),
];

/// Posts that only look: whoever may read may ask them.
const LOOKING: &[&str] = &["/backtest", "/validate", "/triggers/{tag}/test", "/preview"];

/// Open to everybody, or to every key.
const OPEN: &[&str] = &["/health", "/ready", "/metrics", "/api/v1/openapi.json", "/hooks/{token}"];

fn takes(need: Need, scope: &str) -> bool {
    match need {
        Need::Any(scopes) => scopes.iter().any(|known| known.as_str() == scope),
        Need::Operator => scope == "operator",
        Need::Nothing | Need::Absent => false,
    }
}

#[test]
fn what_a_route_needs_follows_from_where_its_path_begins() {
    for Route { method, path, need, .. } in ROUTES {
        if OPEN.contains(path) {
            continue;
        }
        let found = RULES.iter().find(|(prefix, ..)| path.starts_with(prefix));
        let (_, writes, never) =
            found.unwrap_or_else(|| panic!("{path} is a new kind of path: say in RULES who may do what there"));
        assert!(!takes(*need, never), "{method} {path} is open to {never}");
        let looks = method == Method::GET || LOOKING.iter().any(|end| path.ends_with(end));
        let wanted = if looks && !matches!(*writes, "admin" | "operator") { "events:read" } else { writes };
        assert!(takes(*need, wanted), "{method} {path} is not open to {wanted}");
        // Who may only look may change nothing.
        assert!(looks || !takes(*need, "events:read"), "{method} {path} is open to events:read");
    }
}

fn server() -> Server {
    Server::with(Settings::default().set("RATE_LIMIT", "0").set("MASTER_KEY", store::MASTER_KEY))
}

async fn tenant(server: &Server, id: &str) -> Api {
    server.api().post("/api/v1/tenants", json!({"id": id})).await.expect(201);
    server.api().in_tenant(id)
}

async fn with_scopes(tenant: &Api, scopes: &[&str]) -> Api {
    let made = tenant.post("/api/v1/keys", json!({"scopes": scopes})).await.expect(201);
    tenant.with_key(made["key"].as_str())
}

/// An answer as far as it may tell one who asks what is there.
#[derive(PartialEq, Debug)]
struct Told {
    status: u16,
    content_type: String,
    body: String,
}

/// Sends a request. A stream has no end, so that it is not read.
async fn send(request: RequestBuilder) -> Told {
    let response = request.send().await.expect("an answer comes");
    let status = response.status().as_u16();
    let content_type =
        response.headers().get("content-type").map_or(String::new(), |kind| kind.to_str().unwrap().to_owned());
    let body = if content_type == "text/event-stream" {
        String::new()
    } else {
        response.text().await.expect("its body comes")
    };
    Told { status, content_type, body }
}

/// A request that gets no further than to whether its key lets it in.
fn at_the_door(api: &Api, asked: &Asked) -> RequestBuilder {
    let mut path = asked.path.clone();
    while let Some((from, to)) = path.find('{').zip(path.find('}')) {
        path.replace_range(from..=to, "x");
    }
    let request = api.request(asked.route.method.clone(), &path);
    if asked.route.method == Method::GET { request } else { request.json(&json!({})) }
}

#[tokio::test]
async fn every_route_opens_to_the_right_keys_and_to_no_others() {
    let server = server();
    let home = tenant(&server, "home").await;
    let soon = jiff::Timestamp::now() + Duration::from_millis(300);
    let made =
        home.post("/api/v1/keys", json!({"scopes": ["admin"], "expires_at": soon.to_string()})).await.expect(201);
    let expired = home.with_key(made["key"].as_str());
    let made = home.post("/api/v1/keys", json!({"scopes": ["admin"]})).await.expect(201);
    let revoked = home.with_key(made["key"].as_str());
    home.delete(&format!("/api/v1/keys/{}", made["id"].as_str().unwrap())).await.expect(204);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let nobody = [("no key", home.with_key(None)), ("a wrong key", home.with_key(Some("trg_nonsense")))];
    let nobody: Vec<_> = nobody.into_iter().chain([("an expired key", expired), ("a revoked key", revoked)]).collect();
    let mut by_scope = Vec::new();
    for scope in Scope::ALL {
        by_scope.push((scope, with_scopes(&home, &[scope.as_str()]).await));
    }
    for asked in all() {
        let Route { method, path, need, .. } = asked.route;
        let is_open = *need == Need::Nothing;
        for (who, api) in &nobody {
            let Told { status, body, .. } = send(at_the_door(api, &asked)).await;
            let wanted = match (is_open, path.contains('{')) {
                (true, false) => 200,
                // What its path names is all that it asks for, and nobody has that.
                (true, true) => 404,
                (false, _) => 401,
            };
            assert_eq!(status, wanted, "{method} {path} with {who}: {body}");
        }
        for (scope, api) in &by_scope {
            let may = match need {
                Need::Any(scopes) => *scope == Scope::Admin || scopes.contains(scope),
                Need::Nothing => true,
                Need::Operator | Need::Absent => false,
            };
            let Told { status, body, .. } = send(at_the_door(api, &asked)).await;
            let is_right = if may { status != 401 && status != 403 } else { status == 403 };
            assert!(is_right && status < 500, "{method} {path} with {scope}: {status} {body}");
        }
        let Told { status, body, .. } = send(at_the_door(&home, &asked)).await;
        assert!(status != 401 && status != 403 && status < 500, "{method} {path} with the admin key: {status} {body}");
    }
}

/// Routes that answer 200 to whoever asks for a name that nobody has: with an empty list, or with what is the same for everybody.
const OF_ANY_NAME: &[&str] = &[
    "/api/v1/brokers/{tag}/topics",
    "/api/v1/brokers/{tag}/topics/{topic}/messages",
    "/api/v1/databases/{db}/tables/{table}/triggers",
    "/api/v1/schemas/actions/{type}",
    "/api/v1/schemas/resources/{kind}",
];

async fn newest_entry(api: &Api) -> serde_json::Value {
    api.get("/api/v1/audit?limit=1").await.expect(200)["entries"][0].clone()
}

/// Routes that change nothing, or that take events and rows in.
const UNAUDITED: &[&str] = &[
    "/api/v1/databases/{db}/tables/{table}/records",
    "/api/v1/events",
    "/api/v1/events/batch",
    "/api/v1/execute",
    "/api/v1/notifications/{tag}/messages/{name}/preview",
    "/api/v1/triggers/validate",
    "/api/v1/triggers/{tag}/backtest",
    "/api/v1/triggers/{tag}/test",
    "/events",
    "/hooks/{token}",
];

#[test]
fn every_route_that_may_change_something_is_audited() {
    for route in ROUTES {
        let changes = route.method != Method::GET && !UNAUDITED.contains(&route.path);
        assert_eq!(route.is_audited, changes, "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn what_another_tenant_has_is_answered_byte_for_byte_as_what_nobody_has() {
    let (full, empty) = (server(), server());
    let owner = tenant(&full, "owner").await;
    let things = Things::of(&full, "owner").await;
    let stranger = with_scopes(&tenant(&full, "stranger").await, &["admin"]).await;
    let alone = with_scopes(&tenant(&empty, "stranger").await, &["admin"]).await;
    let routes = all();
    let is_a_tenant_s = |need| !matches!(need, Need::Operator | Need::Nothing);
    let named = routes.iter().filter(|asked| asked.path.contains('{') && is_a_tenant_s(asked.route.need));
    // Who puts something under a name has it: that comes after all that asks for it.
    let (puts, others): (Vec<&Asked>, Vec<&Asked>) = named.partition(|asked| asked.route.method == Method::PUT);
    assert!(others.len() > 50, "{} routes name a thing", others.len());
    for asked in others {
        let (method, path) = (&asked.route.method, things.fill(&asked.path));
        let theirs = send(things.ask(&stranger, asked, &path)).await;
        let nobody_s = send(things.ask(&alone, asked, &path)).await;
        assert_eq!(theirs, nobody_s, "{method} {path}");
        let wanted = if OF_ANY_NAME.contains(&asked.path.as_str()) { 200 } else { 404 };
        assert_eq!(theirs.status, wanted, "{method} {path}: {}", theirs.body);
    }
    for asked in puts {
        let path = things.fill(&asked.path);
        let Told { status, body, .. } = send(things.ask(&stranger, asked, &path)).await;
        assert!(matches!(status, 200 | 201 | 422), "PUT {path}: {status} {body}");
    }
    // Nothing of it was changed: the owner finds it all. Everything that was asked for is there for the right key, and what it
    // changes is told of.
    for asked in &routes {
        let path = things.fill(&asked.path);
        let key = match asked.route.need {
            Need::Any(scopes) => with_scopes(&owner, &[scopes[0].as_str()]).await,
            _ => owner.clone(),
        };
        let before = newest_entry(&owner).await;
        let what = eventually(|| async {
            let Told { status, body, .. } = send(things.ask(&key, asked, &path)).await;
            let what = format!("{} {path}: {status} {body}", asked.route.method);
            if (200..300).contains(&status) { Ok(what) } else { Err(what) }
        })
        .await;
        let entry = newest_entry(&owner).await;
        if !asked.route.is_audited {
            assert_eq!(entry["id"], before["id"], "{what}");
            continue;
        }
        assert_ne!(entry["id"], before["id"], "it leaves no entry in the audit log: {what}");
        let told =
            [&entry["method"], &entry["route"], &entry["path"], &entry["outcome"], &entry["peer"], &entry["tenant"]];
        let method = asked.route.method.as_str();
        assert_eq!(told, [method, asked.route.path, &path, "done", "127.0.0.1", "owner"], "{what}: {entry:#}");
        assert_eq!(entry["key"] == "admin", asked.route.need == Need::Operator, "{entry:#}");
    }
}
