//! The services, on the host in memory.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use triggerd_sdk::testing::{Emitted, Logged, Published, TestHost, invocation};
use triggerd_sdk::{ActionError, Context, Entry, Level, Message, Response, ServiceError};

/// Calls a piece of guest code.
fn with<T>(host: &TestHost, code: impl FnOnce(&Context) -> Result<T, ActionError>) -> Result<T, ActionError> {
    host.call(|cx: Context| code(&cx), invocation())
}

#[test]
fn state_is_kept_over_calls_with_versions() {
    let host = TestHost::new();
    let first = with(&host, |cx| Ok(cx.state().set("k", "a", None)?)).unwrap();
    let entry = with(&host, |cx| Ok(cx.state().get::<String>("k")?)).unwrap();
    assert_eq!(entry, Some(Entry { value: "a".into(), version: first }));
    assert!(with(&host, |cx| Ok(cx.state().delete("k")?)).unwrap());
    assert_eq!(host.state("k"), None);
}

#[test]
fn compare_and_set_stores_only_over_the_expected_version() {
    let host = TestHost::new();
    with(&host, |cx| {
        let state = cx.state();
        let version = state.compare_and_set("k", None, &1, None)?;
        assert!(version.is_some());
        assert_eq!(state.compare_and_set("k", None, &2, None)?, None);
        assert!(state.compare_and_set("k", version, &3, None)?.is_some());
        assert_eq!(state.compare_and_set("k", version, &4, None)?, None);
        Ok(())
    })
    .unwrap();
    assert_eq!(host.state("k"), Some(json!(3)));
}

#[test]
fn an_update_starts_again_where_somebody_was_first() {
    let host = TestHost::new().with_state("n", json!(1));
    let mut calls = 0;
    let sum = with(&host, |cx| {
        Ok(cx.state().update("n", None, |n: Option<u32>| {
            calls += 1;
            if calls == 1 {
                host.set_state("n", json!(100));
            }
            n.unwrap_or(0) + 1
        })?)
    });
    assert_eq!((sum, calls), (Ok(101), 2));
}

#[test]
fn an_update_gives_up_with_a_retryable_failure() {
    let host = TestHost::new();
    let mut others = 0;
    let error = with(&host, |cx| {
        Ok(cx.state().update("n", None, |_: Option<u32>| {
            others += 1;
            host.set_state("n", json!(others));
            0
        })?)
    })
    .unwrap_err();
    assert_eq!(error.code, "STATE_CONTENDED");
    assert!(error.is_retryable());
}

#[test]
fn a_state_of_another_shape_is_told_and_kept() {
    let host = TestHost::new().with_state("k", json!("text"));
    let error = with(&host, |cx| Ok(cx.state().get::<u32>("k")?)).unwrap_err();
    assert_eq!(error.code, "VALUE_INVALID");
    assert_eq!(host.state("k"), Some(json!("text")));
}

#[test]
fn what_has_a_time_to_live_runs_out() {
    let host = TestHost::new();
    with(&host, |cx| {
        cx.state().set("k", &1, Some(Duration::from_millis(1500)))?;
        cx.cache("redis").set("c", &2, Some(Duration::from_secs(60)))?;
        Ok(())
    })
    .unwrap();
    host.advance(Duration::from_secs(1));
    assert_eq!(host.state("k"), Some(json!(1)), "a part of a second counts as a whole one");
    host.advance(Duration::from_secs(1));
    assert_eq!((host.state("k"), host.cached("redis", "c")), (None, Some(json!(2))));
    host.advance(Duration::from_secs(60));
    assert_eq!(host.cached("redis", "c"), None);
}

#[test]
fn caches_are_apart_and_invalidated_by_glob() {
    let host = TestHost::new();
    with(&host, |cx| {
        for key in ["order:1", "order:2", "user:1"] {
            cx.cache("redis").set(key, &json!({"id": key}), None)?;
        }
        assert_eq!(cx.cache("local").get::<Value>("order:1")?, None);
        assert_eq!(cx.cache("redis").invalidate("order:*")?, 2);
        assert!(cx.cache("redis").delete("user:1")?);
        assert!(!cx.cache("redis").delete("user:1")?);
        Ok(())
    })
    .unwrap();
}

#[test]
fn messages_events_and_logs_can_be_read_afterwards() {
    let host = TestHost::new();
    with(&host, |cx| {
        let message = Message::new(json!({"id": 1}))?.key("1").header("kind", "order");
        assert_eq!(cx.broker().publish("kafka:orders", message)?, json!({"sequence": 1}));
        cx.events().emit("order.scored", &json!({"score": 3}))?;
        cx.log().field("id", 1).warn(format_args!("Slow: {} ms", 30));
        Ok(())
    })
    .unwrap();
    let published = Published {
        topic: "kafka:orders".into(),
        key: Some("1".into()),
        headers: vec![("kind".into(), "order".into())],
        body: json!({"id": 1}),
    };
    assert_eq!(host.published(), [published]);
    let emitted = Emitted { event_type: "order.scored".into(), payload: json!({"score": 3}) };
    assert_eq!(host.emitted(), [emitted]);
    let logged = Logged { level: Level::Warn, message: "Slow: 30 ms".into(), fields: json!({"id": 1}) };
    assert_eq!(host.logs(), [logged]);
}

#[test]
fn a_request_is_sent_as_it_was_built() {
    let host = TestHost::new().with_http("POST", "https://a.example/x", 201, json!({"id": 9})).with_secret("KEY", "s3");
    let id = with(&host, |cx| {
        let key = cx.secrets().get("KEY")?;
        let request = cx.http().post("https://a.example/x").bearer(&key).json(json!({"n": 1}));
        let answer = request.timeout(Duration::from_secs(2)).send()?.success()?;
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        Ok(answer.json::<Value>()?["id"].clone())
    });
    assert_eq!(id, Ok(json!(9)));
    let sent = &host.requests()[0];
    assert_eq!((sent.method.as_str(), sent.body.as_slice()), ("POST", br#"{"n":1}"#.as_slice()));
    assert!(sent.headers.contains(&("authorization".into(), "Bearer s3".into())));
    assert_eq!(with(&host, |cx| Ok(cx.secrets().get("OTHER")?)).unwrap_err().code, "SECRET_NOT_FOUND");
}

#[test]
fn statuses_fail_as_those_of_the_built_in_actions_do() {
    let answer = |status, headers: &[(&str, &str)]| Response {
        status,
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: Vec::new(),
    };
    assert!(answer(204, &[]).success().is_ok());
    assert_eq!(answer(503, &[]).success(), Err(ActionError::retryable("HTTP_503", "the answer was HTTP 503")));
    let limited = answer(429, &[("Retry-After", "7")]).success();
    let expected = ActionError::retryable_after("HTTP_429", "the answer was HTTP 429", Duration::from_secs(7));
    assert_eq!(limited, Err(expected));
    assert_eq!(
        answer(404, &[("retry-after", "7")]).success(),
        Err(ActionError::permanent("HTTP_404", "the answer was HTTP 404"))
    );
    assert!(!answer(302, &[]).success().unwrap_err().is_retryable());
}

#[test]
fn no_answer_is_a_failure_that_says_whether_to_retry() {
    let refused = ServiceError { code: "ECONNREFUSED".into(), message: "refused".into(), retryable: true };
    let host = TestHost::new().with_http_answer("GET", "https://a.example/", Err(refused)).with_http(
        "GET",
        "https://a.example/",
        200,
        json!(1),
    );
    let get = || with(&host, |cx| Ok(cx.http().get("https://a.example/").send()?.status));
    assert_eq!(get(), Err(ActionError::retryable("ECONNREFUSED", "refused")));
    assert_eq!(get(), Ok(200));
    assert_eq!(get(), Ok(200), "the last answer repeats");
}

#[test]
fn statements_have_their_values_bound_and_rows_are_read() {
    #[derive(serde::Deserialize, PartialEq, Debug)]
    struct Order {
        id: i64,
        total: f64,
    }

    let sql = "SELECT id, total FROM orders WHERE status = $1 AND id > $2";
    let host = TestHost::new().with_rows("orders-db", sql, vec![json!({"id": 5, "total": 1.5})]).with_rows(
        "orders-db",
        "DELETE FROM carts",
        vec![Value::Null, Value::Null],
    );
    let read = |cx: Context| -> Result<(Vec<Order>, u64), ActionError> {
        let orders = cx.database("orders-db").query(sql, ("paid", 4))?;
        Ok((orders, cx.database("orders-db").execute("DELETE FROM carts", ())?))
    };
    let (orders, gone) = host.call(read, invocation()).unwrap();
    assert_eq!((orders, gone), (vec![Order { id: 5, total: 1.5 }], 2));
    let asked = host.statements();
    assert_eq!((asked[0].parameters.clone(), asked[0].writes), (vec![json!("paid"), json!(4)], false));
    assert_eq!((asked[1].parameters.len(), asked[1].writes), (0, true));
    let unknown = |cx: Context| -> Result<u64, ActionError> { Ok(cx.database("other").execute("DELETE FROM x", ())?) };
    assert_eq!(host.call(unknown, invocation()).unwrap_err().code, "DB_REFUSED");
}
