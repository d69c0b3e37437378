//! Every route with what a caller needs for it. A route that is not listed here is refused to everybody.

use std::collections::HashMap;

use http::Method;

use crate::access::Scope::{self, Admin, ComponentsWrite, EventsRead, EventsWrite, ResourcesWrite, TriggersWrite};
use crate::config::Config;

/// What a caller needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Nothing: no key is looked at.
    Nothing,
    /// A key with one of these scopes.
    Any(&'static [Scope]),
    /// The admin key.
    Operator,
    /// It is switched off: nobody gets in, and nobody can tell that it exists.
    Absent,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, as the router and the OpenAPI document write it.
    pub path: &'static str,
    /// What a caller needs.
    pub need: Need,
    /// It exists in development alone.
    pub development: bool,
    /// It neither sends data nor only looks: what is asked for is told in the audit log.
    pub is_audited: bool,
}

const WRITE_EVENTS: Need = Need::Any(&[EventsWrite]);
const READ_EVENTS: Need = Need::Any(&[EventsRead]);
const ADMIN: Need = Need::Any(&[Admin]);
const READ_TRIGGERS: Need = Need::Any(&[EventsRead, TriggersWrite]);
const WRITE_TRIGGERS: Need = Need::Any(&[TriggersWrite]);
const READ_COMPONENTS: Need = Need::Any(&[EventsRead, ComponentsWrite, TriggersWrite]);
const READ_RESOURCES: Need = Need::Any(&[EventsRead, ResourcesWrite, TriggersWrite]);
const WRITE_RESOURCES: Need = Need::Any(&[ResourcesWrite]);
const WRITE_SUBSCRIPTIONS: Need = Need::Any(&[TriggersWrite, ResourcesWrite]);
const WRITE_COMPONENTS: Need = Need::Any(&[ComponentsWrite]);

/// The list.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    open("/health"),
    open("/ready"),
    open("/metrics"),
    get("/api/v1/openapi.json", Need::Any(&Scope::ALL)),

    data(Method::POST, "/events", WRITE_EVENTS),
    data(Method::POST, "/api/v1/events", WRITE_EVENTS),
    data(Method::POST, "/api/v1/events/batch", WRITE_EVENTS),
    get("/api/v1/events/stream", READ_EVENTS),
    get("/api/v1/events/export", READ_EVENTS),
    post("/api/v1/events/erase", ADMIN),
    get("/api/v1/events/{id}", READ_EVENTS),
    post("/api/v1/events/{id}/replay", WRITE_EVENTS),
    post("/api/v1/replay", WRITE_EVENTS),
    get("/api/v1/inbox", READ_EVENTS),
    get("/api/v1/dead-letters", READ_EVENTS),
    get("/api/v1/dead-letters/{run_id}", READ_EVENTS),
    post("/api/v1/dead-letters/{run_id}/replay", WRITE_EVENTS),
    delete("/api/v1/dead-letters/{run_id}", WRITE_EVENTS),

    get("/api/v1/schemas", READ_RESOURCES),
    get("/api/v1/schemas/resources/{kind}", READ_RESOURCES),
    get("/api/v1/schemas/actions/{type}", READ_RESOURCES),
    get("/api/v1/destinations", READ_EVENTS),

    get("/api/v1/{kind}", READ_RESOURCES),
    get("/api/v1/{kind}/{tag}", READ_RESOURCES),
    put("/api/v1/{kind}/{tag}", WRITE_RESOURCES),
    patch("/api/v1/{kind}/{tag}", WRITE_RESOURCES),
    delete("/api/v1/{kind}/{tag}", WRITE_RESOURCES),
    post("/api/v1/{kind}/{tag}/check", WRITE_RESOURCES),
    data(Method::POST, "/hooks/{token}", Need::Nothing),
    post("/api/v1/hooks/{tag}/rotate-token", WRITE_RESOURCES),
    look("/api/v1/notifications/{tag}/messages/{name}/preview", READ_RESOURCES),

    get("/api/v1/syncs/{tag}/status", READ_RESOURCES),
    post("/api/v1/syncs/{tag}/verify", WRITE_RESOURCES),
    get("/api/v1/syncs/{tag}/conflicts", READ_EVENTS),
    delete("/api/v1/syncs/{tag}/conflicts/{id}", WRITE_RESOURCES),
    post("/api/v1/syncs/{tag}/conflicts/{id}/restore", WRITE_RESOURCES),

    get("/api/v1/brokers/{tag}/topics", READ_EVENTS),
    get("/api/v1/brokers/{tag}/topics/{topic}/messages", READ_EVENTS),
    get("/api/v1/caches/{tag}/entries/{key}", READ_EVENTS),
    development(Method::GET, "/api/v1/mailbox", READ_EVENTS),
    development(Method::GET, "/api/v1/mailbox/{id}", READ_EVENTS),
    development(Method::GET, "/api/v1/mailbox/{id}/source", READ_EVENTS),

    get("/api/v1/triggers", READ_TRIGGERS),
    post("/api/v1/triggers", WRITE_TRIGGERS),
    look("/api/v1/triggers/validate", READ_TRIGGERS),
    get("/api/v1/triggers/{tag}", READ_TRIGGERS),
    put("/api/v1/triggers/{tag}", WRITE_TRIGGERS),
    patch("/api/v1/triggers/{tag}", WRITE_TRIGGERS),
    delete("/api/v1/triggers/{tag}", WRITE_TRIGGERS),
    look("/api/v1/triggers/{tag}/test", READ_TRIGGERS),
    look("/api/v1/triggers/{tag}/backtest", READ_EVENTS),
    get("/api/v1/triggers/{tag}/backfill", READ_TRIGGERS),
    post("/api/v1/triggers/{tag}/backfill", WRITE_TRIGGERS),
    delete("/api/v1/triggers/{tag}/backfill", WRITE_TRIGGERS),
    post("/api/v1/triggers/{tag}/backfill/pause", WRITE_TRIGGERS),
    post("/api/v1/triggers/{tag}/backfill/resume", WRITE_TRIGGERS),
    get("/api/v1/triggers/{tag}/versions", READ_TRIGGERS),
    get("/api/v1/triggers/{tag}/versions/{version}", READ_TRIGGERS),
    post("/api/v1/triggers/{tag}/versions/{version}/restore", WRITE_TRIGGERS),
    get("/api/v1/databases/{tag}/capture", READ_RESOURCES),
    get("/api/v1/databases/{db}/tables/{table}/triggers", READ_TRIGGERS),
    put("/api/v1/databases/{db}/tables/{table}/triggers/{tag}", WRITE_TRIGGERS),
    data(Method::POST, "/api/v1/execute", WRITE_EVENTS),
    get("/api/v1/databases/{db}/tables/{table}/records", READ_EVENTS),
    data(Method::POST, "/api/v1/databases/{db}/tables/{table}/records", WRITE_EVENTS),
    data(Method::PATCH, "/api/v1/databases/{db}/tables/{table}/records", WRITE_EVENTS),
    data(Method::DELETE, "/api/v1/databases/{db}/tables/{table}/records", WRITE_EVENTS),

    get("/api/v1/components", READ_COMPONENTS),
    get("/api/v1/components/{name}", READ_COMPONENTS),
    put("/api/v1/components/{name}", WRITE_COMPONENTS),
    patch("/api/v1/components/{name}", WRITE_COMPONENTS),
    delete("/api/v1/components/{name}", WRITE_COMPONENTS),
    post("/api/v1/components/{name}/invoke", WRITE_COMPONENTS),

    get("/api/v1/subscriptions", READ_RESOURCES),
    post("/api/v1/subscriptions", WRITE_SUBSCRIPTIONS),
    get("/api/v1/subscriptions/{id}", READ_RESOURCES),
    patch("/api/v1/subscriptions/{id}", WRITE_SUBSCRIPTIONS),
    delete("/api/v1/subscriptions/{id}", WRITE_SUBSCRIPTIONS),
    post("/api/v1/subscriptions/{id}/rotate-secret", WRITE_SUBSCRIPTIONS),
    post("/api/v1/subscriptions/{id}/test", WRITE_SUBSCRIPTIONS),

    get("/api/v1/audit", ADMIN),

    post("/api/v1/tenants", Need::Operator),
    get("/api/v1/tenants", Need::Operator),
    get("/api/v1/tenants/{id}", Need::Operator),
    patch("/api/v1/tenants/{id}", Need::Operator),
    post("/api/v1/keys", ADMIN),
    get("/api/v1/keys", ADMIN),
    delete("/api/v1/keys/{id}", ADMIN),
    post("/api/v1/keys/{id}/rotate", ADMIN),

    get("/api/v1/master-key", Need::Operator),
    post("/api/v1/master-key/rotate", Need::Operator),

    development(Method::POST, "/admin/test-customer", Need::Operator),
    development(Method::POST, "/admin/test-subscription", Need::Operator),
];

const fn route(method: Method, path: &'static str, need: Need, is_audited: bool) -> Route {
    Route { method, path, need, development: false, is_audited }
}

const fn open(path: &'static str) -> Route {
    route(Method::GET, path, Need::Nothing, false)
}

const fn get(path: &'static str, need: Need) -> Route {
    route(Method::GET, path, need, false)
}

const fn post(path: &'static str, need: Need) -> Route {
    route(Method::POST, path, need, true)
}

const fn put(path: &'static str, need: Need) -> Route {
    route(Method::PUT, path, need, true)
}

const fn patch(path: &'static str, need: Need) -> Route {
    route(Method::PATCH, path, need, true)
}

const fn delete(path: &'static str, need: Need) -> Route {
    route(Method::DELETE, path, need, true)
}

/// A route that takes events or rows in.
const fn data(method: Method, path: &'static str, need: Need) -> Route {
    route(method, path, need, false)
}

/// A post that only looks.
const fn look(path: &'static str, need: Need) -> Route {
    route(Method::POST, path, need, false)
}

const fn development(method: Method, path: &'static str, need: Need) -> Route {
    let is_audited = matches!(need, Need::Operator);
    Route { method, path, need, development: true, is_audited }
}

/// The list, by path, as this process's configuration has it.
#[derive(Debug)]
pub struct Needs(HashMap<&'static str, Vec<(Method, Rule)>>);

/// What holds for requests of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// What a caller needs.
    pub need: Need,
    /// Whether it is told of in the audit log.
    pub is_audited: bool,
}

impl Needs {
    /// The list without what is switched off, and with `/metrics` closed where that is wanted.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut needs: HashMap<&'static str, Vec<(Method, Rule)>> = HashMap::new();
        for route in ROUTES {
            let closed = route.path == "/metrics" && config.metrics.key_required;
            let need = match route.development {
                true if !config.is_development() => Need::Absent,
                _ if closed => Need::Operator,
                _ => route.need,
            };
            let rule = Rule { need, is_audited: route.is_audited };
            needs.entry(route.path).or_default().push((route.method.clone(), rule));
        }
        Self(needs)
    }

    /// A matched path as the list has it; `None` where the list has forgotten it.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<&'static str> {
        self.0.get_key_value(path).map(|(route, _)| *route)
    }

    /// What a request of a matched path needs; `None` where the list has forgotten it. `HEAD` goes as `GET`.
    #[must_use]
    pub fn of(&self, method: &Method, path: &str) -> Option<Rule> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.0.get(path)?.iter().find(|(known, _)| known == method).map(|(_, rule)| *rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn what_is_for_development_is_not_there_in_production() {
        let mut config = Config::default();
        let need = |config: &Config| Needs::new(config).of(&Method::POST, "/admin/test-customer").map(|rule| rule.need);
        assert_eq!(need(&config), Some(Need::Operator));
        config.environment = Environment::Production;
        assert_eq!(need(&config), Some(Need::Absent));
    }

    #[test]
    fn a_forgotten_route_is_nobody_s() {
        let needs = Needs::new(&Config::default());
        assert_eq!(needs.of(&Method::GET, "/api/v1/forgotten"), None);
        assert_eq!(needs.of(&Method::DELETE, "/api/v1/inbox"), None);
        let inbox = Rule { need: READ_EVENTS, is_audited: false };
        assert_eq!(needs.of(&Method::HEAD, "/api/v1/inbox"), Some(inbox));
    }
}
