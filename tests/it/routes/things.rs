//! A tenant that has one of everything that a path can name, and what the routes are asked with.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use triggerd::api::routes::{ROUTES, Route};
use triggerd::resources::KINDS;

use crate::harness::sql_server::Database;
use crate::harness::{Api, Server, call, fast, free_port, guest, on};

/// What everything is called that its owner gives a name.
pub const THING: &str = "orchid";

/// A route to be asked: one of the list, and where its path takes any kind of resource, one for each kind.
pub struct Asked {
    /// The route of the list.
    pub route: &'static Route,
    /// Its path, with the kind in it.
    pub path: String,
}

/// Every route of the list. Those that take away come last, what uses others before what is used.
pub fn all() -> Vec<Asked> {
    let mut all: Vec<Asked> = ROUTES.iter().flat_map(of_each_kind).collect();
    all.sort_by_key(|asked| {
        let takes_away = asked.route.method == Method::DELETE;
        let is_used = asked.path.starts_with("/api/v1/databases/{tag}");
        (takes_away, takes_away && is_used, if takes_away { usize::MAX - asked.path.matches('/').count() } else { 0 })
    });
    all
}

fn of_each_kind(route: &'static Route) -> Vec<Asked> {
    if !route.path.starts_with("/api/v1/{kind}") {
        return vec![Asked { route, path: route.path.to_owned() }];
    }
    let shared = KINDS.iter().filter(|kind| !kind.own_routes);
    shared.map(|kind| Asked { route, path: route.path.replace("{kind}", kind.name) }).collect()
}

/// What a tenant has.
pub struct Things {
    /// By what a path names it by.
    ids: Value,
    /// Settings of each kind of resource.
    settings: Value,
    _databases: [Database; 2],
}

const TABLE: &str = "CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(50), updated_at VARCHAR(40))";

impl Things {
    /// Makes one of everything for a tenant.
    pub async fn of(server: &Server, tenant: &str) -> Self {
        let api = server.api().in_tenant(tenant);
        let files = server.data_dir().join("databases");
        std::fs::create_dir_all(&files).unwrap();
        let databases = [Database::file(&files), Database::file(&files)];
        let settings = json!({
            "brokers": {"kind": "embedded"},
            "caches": {"kind": "memory"},
            "hooks": {"verify": {"type": "none"}},
            "databases": databases[0].settings(),
            "notifications": {"from": "a@example.com", "messages": {THING: {"subject": "s", "text": "t"}}},
            "secrets": {"value": "v"},
            "storages": {"kind": "memory"},
            "syncs": {"source": {"database": THING, "table": "items"}, "target": {"database": "other", "table": "items"},
                "conflict": {"policy": "newest", "by": "updated_at"}},
        });
        let conflict = Self::conflict(&api, &databases, &settings).await;
        for kind in ["brokers", "caches", "hooks", "notifications", "secrets", "storages"] {
            api.resource(kind, THING, settings[kind].clone()).await;
        }
        api.component(THING, guest("lead-score")).await;
        api.trigger(captured()).await;
        api.post(&format!("/api/v1/triggers/{THING}/backfill"), json!({})).await.expect(202);
        let event = Self::event(&api).await;
        let mail = &api.get("/api/v1/mailbox").await.expect(200)["messages"][0]["id"];
        let key = api.post("/api/v1/keys", json!({"scopes": ["events:read"]})).await.expect(201);
        let subscription = api.post("/api/v1/subscriptions", subscription()).await.expect(201);
        let hook = api.get(&format!("/api/v1/hooks/{THING}")).await.expect(200);
        let ids = json!({
            "/hooks/{token}": hook["token"],
            "/api/v1/events/{id}": event["event_id"],
            "/api/v1/dead-letters/{run_id}": event["runs"][0]["run_id"],
            "/api/v1/keys/{id}": key["id"],
            "/api/v1/mailbox/{id}": mail,
            "/api/v1/subscriptions/{id}": subscription["id"],
            "/api/v1/syncs/{tag}/conflicts/{id}": conflict,
            "/api/v1/tenants/{id}": tenant,
        });
        Self { ids, settings, _databases: databases }
    }

    /// Two databases, a sync of theirs, and what it found different.
    async fn conflict(api: &Api, databases: &[Database; 2], settings: &Value) -> Value {
        for (database, tag, name, second) in [(&databases[0], THING, "old", 0), (&databases[1], "other", "new", 1)] {
            database.run(TABLE).await;
            database.run(&format!("INSERT INTO items VALUES (1, '{name}', '2025-12-22T10:00:0{second}Z')")).await;
            api.resource("databases", tag, database.settings()).await;
        }
        api.resource("syncs", THING, settings["syncs"].clone()).await;
        let path = format!("/api/v1/syncs/{THING}");
        api.post(&format!("{path}/verify?repair=true"), json!({})).await.expect(200);
        api.get(&format!("{path}/conflicts")).await.expect(200)["conflicts"][0]["id"].clone()
    }

    /// An event that left a message in a topic, an entry in a cache, an e-mail in the mailbox, and is a dead letter.
    async fn event(api: &Api) -> Value {
        let act = |kind: &str, config: Value| json!({"name": kind, "type": kind, "config": config});
        let mut failing = call("fail", &format!("http://127.0.0.1:{}/", free_port()));
        failing["retry"] = fast(1);
        let actions = json!([
            act("broker.publish", json!({"broker": format!("{THING}:{THING}"), "message": 1})),
            act("cache.set", json!({"cache": THING, "key": THING, "value": 1})),
            act(
                "notification.email",
                json!({"notification": format!("{THING}:{THING}"), "recipients": ["b@example.com"]})
            ),
            failing,
        ]);
        api.trigger(on("leaves-traces", THING, actions)).await;
        let event = api.event_ended(THING, json!({})).await;
        // Nothing is to use what may be deleted; the run goes on with the version that it began with.
        api.delete("/api/v1/triggers/leaves-traces").await.expect(204);
        event
    }

    /// The path with what the tenant has in every place.
    pub fn fill(&self, path: &str) -> String {
        let mut filled = String::new();
        let (mut at, mut rest) = (0, path);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, end) = after.split_once('}').unwrap();
            at += before.len() + name.len() + 2;
            filled.push_str(before);
            filled.push_str(self.named(name, &path[..at]));
            rest = end;
        }
        filled + rest
    }

    fn named(&self, name: &str, place: &str) -> &str {
        match name {
            "tag" | "name" | "db" | "topic" | "key" => THING,
            "table" => "items",
            "version" => "1",
            "kind" => "brokers",
            "type" => "http.post",
            _ => self.ids[place].as_str().unwrap_or_else(|| {
                panic!("{place} names a new kind of thing: have `Things::of` make one, and say here what it is called")
            }),
        }
    }

    /// The request with the body that a route of that path wants.
    pub fn ask(&self, api: &Api, asked: &Asked, path: &str) -> RequestBuilder {
        let (method, place) = (&asked.route.method, asked.path.as_str());
        let request = api.request(method.clone(), path);
        let kind = place.strip_prefix("/api/v1/").and_then(|rest| rest.strip_suffix("/{tag}")).unwrap_or_default();
        let row = json!({"id": 7, "name": "n"});
        let body = match (method.as_str(), place) {
            ("GET", _) => return request,
            ("DELETE", "/api/v1/databases/{db}/tables/{table}/records") => json!({"where": {"id": 7}}),
            ("DELETE", _) => return request,
            ("PUT", "/api/v1/components/{name}") => {
                return request.header("content-type", "application/wasm").body(guest("lead-score"));
            }
            ("PUT" | "POST", "/api/v1/triggers/{tag}" | "/api/v1/triggers/validate") => captured(),
            ("PUT", "/api/v1/databases/{db}/tables/{table}/triggers/{tag}") => captured(),
            ("PUT", _) if self.settings.get(kind).is_some() => self.settings[kind].clone(),
            ("PATCH", "/api/v1/databases/{db}/tables/{table}/records") => {
                json!({"where": {"id": 7}, "values": {"name": "m"}})
            }
            ("PATCH", _) if self.settings.get(kind).is_some() => json!({}),
            ("PATCH", "/api/v1/triggers/{tag}" | "/api/v1/subscriptions/{id}") => json!({"description": "d"}),
            ("PATCH", "/api/v1/components/{name}" | "/api/v1/tenants/{id}") => json!({}),
            ("POST", "/events" | "/api/v1/events" | "/api/v1/triggers/{tag}/test") => {
                json!({"type": "t", "payload": {}})
            }
            ("POST", "/hooks/{token}") => json!({"n": 1}),
            ("POST", "/api/v1/events/erase") => json!({"user": "nobody"}),
            ("POST", "/api/v1/events/batch") => json!([{"type": "t", "payload": {}}]),
            ("POST", "/api/v1/execute") => {
                json!({"event": "beforeInsert", "context": {"database": THING, "table": "items", "record": row}})
            }
            ("POST", "/api/v1/databases/{db}/tables/{table}/records") => row,
            ("POST", "/api/v1/triggers") => {
                on("second", "t", json!([{"type": "log.debug", "config": {"message": "m"}}]))
            }
            ("POST", "/api/v1/subscriptions") => subscription(),
            ("POST", "/api/v1/tenants") => json!({"id": format!("t-{}", uuid::Uuid::now_v7())}),
            ("POST", "/api/v1/keys") => json!({"scopes": ["events:read"]}),
            ("POST", "/admin/test-subscription") => {
                let mut wanted = subscription();
                wanted["customer_id"] = self.ids["/api/v1/tenants/{id}"].clone();
                wanted
            }
            ("POST", _) if ROUTES_WITHOUT_BODY.contains(&place) || place.ends_with("/{tag}/check") => json!({}),
            _ => panic!("{method} {place} is a new route: say here what it is asked with"),
        };
        request.json(&body)
    }
}

/// What is asked for by the path alone.
const ROUTES_WITHOUT_BODY: &[&str] = &[
    "/admin/test-customer",
    "/api/v1/components/{name}/invoke",
    "/api/v1/dead-letters/{run_id}/replay",
    "/api/v1/events/{id}/replay",
    "/api/v1/master-key/rotate",
    "/api/v1/hooks/{tag}/rotate-token",
    "/api/v1/keys/{id}/rotate",
    "/api/v1/notifications/{tag}/messages/{name}/preview",
    "/api/v1/replay",
    "/api/v1/subscriptions/{id}/rotate-secret",
    "/api/v1/subscriptions/{id}/test",
    "/api/v1/syncs/{tag}/conflicts/{id}/restore",
    "/api/v1/syncs/{tag}/verify",
    "/api/v1/triggers/{tag}/backfill",
    "/api/v1/triggers/{tag}/backfill/pause",
    "/api/v1/triggers/{tag}/backfill/resume",
    "/api/v1/triggers/{tag}/backtest",
    "/api/v1/triggers/{tag}/versions/{version}/restore",
];

fn captured() -> Value {
    json!({"tag": THING, "database": THING, "tables": ["items"], "events": ["afterInsert"],
        "actions": [{"type": "log.debug", "config": {"message": "m"}}]})
}

fn subscription() -> Value {
    json!({"event_selector": {"type": "event_type", "value": "nothing.of.the.kind"}, "webhook_url": "http://127.0.0.1:2/"})
}
