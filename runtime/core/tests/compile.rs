//! Definitions, compiled: defaults, limits, and mistakes that need more than a case folder to show.
#![allow(clippy::unwrap_used)]

mod catalog;

use proptest::prelude::*;
use serde_json::{Value, json};
use triggerd_core::compile::{MAX_ACTIONS, MAX_FALLBACKS, compile};
use triggerd_core::definition::{NamePattern, Timing, Trigger};
use triggerd_core::retry::Jitter;

fn good(source: &Value) -> Trigger {
    compile(source, 3, &catalog::Few).unwrap()
}

fn told(source: &Value) -> Vec<String> {
    compile(source, 1, &catalog::Few).unwrap_err().iter().map(ToString::to_string).collect()
}

fn with(field: &str, value: Value) -> Value {
    let mut source = json!({
        "tag": "t", "events": ["afterInsert"], "actions": [{"type": "log.info", "config": {"message": "m"}}],
    });
    source[field] = value;
    source
}

fn with_action(field: &str, value: Value) -> Value {
    let mut source = with("tag", "t".into());
    source["actions"][0][field] = value;
    source
}

#[test]
fn what_is_left_out_has_its_default() {
    let source = with("tag", "t".into());
    let trigger = good(&source);
    assert_eq!((&*trigger.tag, trigger.name.as_str(), trigger.version), ("t", "t", 3));
    assert_eq!((trigger.enabled, trigger.priority, trigger.source.read()), (true, 100, source.clone()));
    assert!(
        trigger.env.is_none() && trigger.database.is_none() && trigger.tables.is_empty() && trigger.condition.is_none()
    );
    assert!(trigger.ordering_key.is_none() && trigger.max_concurrency.is_none() && trigger.rate_limit.is_none());
    let action = &trigger.actions[0];
    assert_eq!((action.name.as_str(), action.kind, &action.timing), ("log.info-0", "log.info", &Timing::Async));
    assert_eq!((action.timeout_ms, action.continue_on_error, action.strict), (30_000, false, false));
    assert_eq!(
        (action.retry.max_attempts, action.retry.initial_delay_ms, action.retry.max_delay_ms),
        (5, 2_000, 86_400_000)
    );
    assert_eq!((action.retry.jitter, &action.retry.retry_on), (Jitter::Full, &None));
    assert!(action.fallback.is_empty() && action.quota.is_none() && action.condition.is_none());
}

#[test]
fn everything_can_be_said() {
    let trigger = good(&json!({
        "tag": "t", "name": "T", "description": "d", "enabled": false, "priority": -5, "env": "prd", "database": "db",
        "tables": ["orders", "order_*", "*"], "events": ["BEFORE_WRITE", "order.*"],
        "condition": {"field": "record.a", "operator": "equals", "value": 1},
        "ordering": {"key": "{{record.id}}"}, "maxConcurrency": 2, "rateLimit": {"count": 100, "perSeconds": 0.5},
        "actions": [{
            "name": "a", "type": "CUSTOM_HTTP", "config": {"method": "POST", "url": "https://x.example/{{record.id}}"},
            "timing": "queued", "queue": "slow", "timeout": 3_600_000, "continueOnError": true, "strict": true,
            "condition": {"field": "record.b", "operator": "IS_NULL"},
            "retry": {
                "maxAttempts": 100, "initialDelay": 0, "maxDelay": 5, "backoffMultiplier": 1.5, "jitter": "none",
                "retryOn": ["ETIMEDOUT", "HTTP_5XX", "HTTP_404"],
            },
            "quota": {"key": "{{record.tenant}}", "limit": 100, "window": "1d"},
            "fallback": [{"type": "log.info", "config": {"message": "failed"}}],
        }],
    }));
    assert_eq!((trigger.description.as_deref(), trigger.enabled, trigger.priority), (Some("d"), false, -5));
    assert_eq!(
        trigger.tables,
        [NamePattern::Exact("orders".into()), NamePattern::Prefix("order_".into()), NamePattern::Any]
    );
    assert_eq!((trigger.events.len(), trigger.max_concurrency, trigger.rate_limit.unwrap().count), (2, Some(2), 100));
    let action = &trigger.actions[0];
    assert_eq!((action.kind, &action.timing), ("http.post", &Timing::Queued("slow".into())));
    assert_eq!((action.timeout_ms, action.quota.as_ref().unwrap().window_ms), (3_600_000, 86_400_000));
    assert_eq!((action.retry.max_attempts, action.retry.backoff_multiplier), (100, 1.5));
    assert_eq!(action.retry.retry_on.as_ref().unwrap().len(), 3);
    assert_eq!(action.fallback[0].name, "log.info-0");
}

#[test]
fn actions_of_a_trigger_on_before_events_alone_are_sync() {
    let timing = |events: Value| good(&with("events", events)).actions[0].timing.clone();
    assert_eq!(timing(json!(["beforeInsert", "BEFORE_DELETE"])), Timing::Sync);
    assert_eq!(timing(json!(["beforeInsert", "afterInsert"])), Timing::Async);
    assert_eq!(timing(json!(["order.created"])), Timing::Async);
}

#[test]
fn kinds_for_before_events_are_refused_elsewhere_and_have_to_be_sync() {
    let set = |events: Value, timing: Value| json!({"tag": "t", "events": events, "actions": [{"type": "record.set", "timing": timing, "config": {"fields": {}}}]});
    assert_eq!(good(&set(json!(["beforeInsert"]), Value::Null)).actions[0].timing, Timing::Sync);
    assert!(
        told(&set(json!(["beforeInsert", "afterInsert"]), Value::Null))[0]
            .starts_with("/actions/0/type: `record.set` works on")
    );
    assert!(told(&set(json!(["beforeInsert"]), "async".into()))[0].starts_with("/actions/0/timing: "));
    // Where the events are faulty only they are told.
    let faulty = told(&set(json!(["beforeInsret"]), Value::Null));
    assert_eq!(faulty.len(), 1);
}

#[test]
fn wrong_values_are_told_with_their_place() {
    for (field, value, wanted) in [
        ("tag", json!("Bad Tag"), "/tag: a tag has 1 to 128"),
        ("tag", Value::Null, "/tag: `tag` is required"),
        ("tag", json!(5), "/tag: must be a string, not a number"),
        ("priority", json!(1.5), "/priority: must be a whole number"),
        ("enabled", json!("yes"), "/enabled: must be true or false, not a string"),
        ("tables", json!("orders"), "/tables: must be an array, not a string"),
        ("tables", json!([1]), "/tables/0: must be a string"),
        ("tables", json!(["a*b"]), "/tables/0: `a*b`: only a last `*`"),
        ("database", json!(""), "/database: a database's name cannot be empty"),
        ("env", json!(""), "/env: an environment's name"),
        ("events", json!([]), "/events: a trigger needs at least one event"),
        ("events", json!("afterInsert"), "/events: must be an array"),
        (
            "events",
            json!(["afterInsret"]),
            "/events/0: unknown change event `afterInsret`, did you mean `afterInsert`?",
        ),
        ("events", json!([1]), "/events/0: must be a string"),
        ("actions", json!([]), "/actions: a trigger needs at least one action"),
        ("actions", json!({}), "/actions: must be an array, not an object"),
        ("actions", json!([1]), "/actions/0: must be an object, not a number"),
        ("ordering", json!({}), "/ordering/key: `key` is required"),
        ("ordering", json!({"key": "{{record.a"}), "/ordering/key: template: "),
        ("ordering", json!({"kee": "a"}), "/ordering/kee: unknown field `kee`, did you mean `key`?"),
        ("maxConcurrency", json!(0), "/maxConcurrency: must be a whole number from 1 to 4294967295, not 0"),
        ("rateLimit", json!({"count": 1}), "/rateLimit/perSeconds: `perSeconds` is required"),
        ("rateLimit", json!({"count": 1, "perSeconds": 0}), "/rateLimit/perSeconds: must be a number above 0, not 0"),
        ("actoins", json!([]), "/actoins: unknown field `actoins`, did you mean `actions`?"),
    ] {
        let told = told(&with(field, value.clone()));
        assert!(told.iter().any(|mistake| mistake.starts_with(wanted)), "{field} = {value}: {told:?}");
    }
}

#[test]
fn wrong_values_of_actions_are_told_with_their_place() {
    for (field, value, wanted) in [
        ("type", Value::Null, "/actions/0/type: `type` is required"),
        ("type", json!("htp.post"), "/actions/0/type: unknown action type `htp.post`, did you mean `http.post`?"),
        ("name", json!("a/b"), "/actions/0/name: an action's name"),
        ("timing", json!("later"), "/actions/0/timing: unknown timing `later`; known are `sync`, `async`, `queued`"),
        ("queue", json!("q"), "/actions/0/queue: `queue` goes with"),
        ("timeout", json!(0), "/actions/0/timeout: must be a whole number from 1 to 3600000, not 0"),
        ("timeout", json!(3_600_001), "/actions/0/timeout: "),
        ("continueOnError", json!(1), "/actions/0/continueOnError: must be true or false"),
        ("config", json!([]), "/actions/0/config: must be an object, not an array"),
        ("config", json!({"mesage": "x"}), "/actions/0/config/mesage: unknown field `mesage`, did you mean `message`?"),
        ("config", json!({"message": "{{record.a"}), "/actions/0/config/message: template: "),
        ("condition", json!({"field": "record.a", "operator": "EQALS", "value": 1}), "/actions/0/condition/operator: "),
        (
            "retry",
            json!({"maxAttempts": 0}),
            "/actions/0/retry/maxAttempts: must be a whole number from 1 to 100, not 0",
        ),
        ("retry", json!({"maxAttempts": 101}), "/actions/0/retry/maxAttempts: "),
        (
            "retry",
            json!({"backoffMultiplier": 0.5}),
            "/actions/0/retry/backoffMultiplier: must be a number from 1 to 1000",
        ),
        ("retry", json!({"jitter": "ful"}), "/actions/0/retry/jitter: unknown jitter `ful`, did you mean `full`?"),
        (
            "retry",
            json!({"retryOn": ["ETIMEOUT", "HTTP_4XX"]}),
            "/actions/0/retry/retryOn/0: unknown error code `ETIMEOUT`, did you mean `ETIMEDOUT`?",
        ),
        ("retry", json!({"retryOn": "ETIMEDOUT"}), "/actions/0/retry/retryOn: must be an array"),
        ("retry", json!({"delay": 1}), "/actions/0/retry/delay: unknown field `delay`"),
        (
            "quota",
            json!({"key": "k", "limit": 0, "window": "1d"}),
            "/actions/0/quota/limit: must be a whole number of at least 1, not 0",
        ),
        ("quota", json!({"key": "k", "limit": 1, "window": "1 day"}), "/actions/0/quota/window: `1 day` is no window"),
        ("quota", json!({"limit": 1, "window": "1d"}), "/actions/0/quota/key: `key` is required"),
        (
            "url",
            json!("https://x"),
            "/actions/0/url: unknown field `url`: an action's settings stand under `config`, so write it as /actions/0/config/url",
        ),
        ("timout", json!(1), "/actions/0/timout: unknown field `timout`, did you mean `timeout`?"),
        ("fallback", json!([{"type": "nope"}]), "/actions/0/fallback/0/type: unknown action type `nope`"),
    ] {
        let told = told(&with_action(field, value.clone()));
        assert!(told.iter().any(|mistake| mistake.starts_with(wanted)), "{field} = {value}: {told:?}");
    }
}

#[test]
fn names_of_actions_are_unique() {
    let log = |name: Value| json!({"name": name, "type": "log.info", "config": {"message": "m"}});
    let taken = told(&with("actions", json!([log("a".into()), log("a".into())])));
    assert_eq!(taken, ["/actions/1/name: another action of this trigger is named `a` already"]);
    let default = told(&with("actions", json!([log("log.info-1".into()), log(Value::Null)])));
    assert_eq!(default, ["/actions/1/name: another action of this trigger is named `log.info-1` already"]);
    let mut outer = log("a".into());
    outer["fallback"] = json!([log("a".into())]);
    assert_eq!(told(&with("actions", json!([outer]))).len(), 1);
}

#[test]
fn limits_hold() {
    let log = json!({"type": "log.info", "config": {"message": "m"}});
    assert_eq!(good(&with("actions", vec![log.clone(); MAX_ACTIONS].into())).actions.len(), MAX_ACTIONS);
    let many = told(&with("actions", vec![log.clone(); MAX_ACTIONS + 1].into()));
    assert_eq!(many, ["/actions: a trigger has at most 64 actions, fallbacks included"]);
    let large = told(&with("description", "x".repeat(256 * 1024).into()));
    assert!(large[0].starts_with("/: a definition has at most 262144 bytes"), "{large:?}");
    let nested = |depth: usize| {
        (0..depth).fold(log.clone(), |inner, _| {
            let mut outer = log.clone();
            outer["fallback"] = json!([inner]);
            outer
        })
    };
    good(&with("actions", json!([nested(MAX_FALLBACKS)])));
    assert_eq!(told(&with("actions", json!([nested(MAX_FALLBACKS + 1)]))).len(), 1);
}

#[test]
fn what_is_no_object_is_told_so() {
    assert_eq!(told(&json!([])), ["/: must be an object, not an array"]);
    assert_eq!(
        told(&json!({})),
        ["/tag: `tag` is required", "/events: `events` is required", "/actions: `actions` is required"]
    );
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "t",
            "afterInsert",
            "order.*",
            "log.info",
            "http.post",
            "{{record.a}}",
            "{{#if",
            "1d",
            "EQUALS"
        ])
        .prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "tag",
        "name",
        "events",
        "tables",
        "actions",
        "type",
        "config",
        "retry",
        "quota",
        "condition",
        "field",
        "operator",
        "value",
        "and",
        "fallback",
        "key",
        "limit",
        "window",
        "message",
        "url",
        "ordering",
        "timing",
        "queue",
        "nobody",
    ]);
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

#[test]
fn settings_that_are_left_out_altogether_are_one_mistake_at_their_place() {
    let source = with("actions", json!([{"type": "log.info"}]));
    let mistakes = compile(&source, 1, &catalog::Few).unwrap_err();
    let told: Vec<(&str, &str)> = mistakes.iter().map(|m| (m.pointer.as_str(), m.detail.as_str())).collect();
    assert_eq!(told, [("/actions/0/config", "`config` is missing: `message` is required")]);
}

proptest! {
    #[test]
    fn every_definition_ends_in_a_trigger_or_in_mistakes_that_point_into_it(source in anything(), actions in anything()) {
        let mut framed = with("actions", json!([actions]));
        if let Some(fields) = source.as_object() {
            for (name, value) in fields {
                framed[name] = value.clone();
            }
        }
        for source in [source, framed] {
            let Err(mistakes) = compile(&source, 1, &catalog::Few) else { continue };
            prop_assert!(!mistakes.is_empty());
            for mistake in mistakes {
                let parent = mistake.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                prop_assert!(source.pointer(parent).is_some(), "{} in {}", mistake, source);
            }
        }
    }
}
