//! What is left of attempts that were cut, given up on, or never answered: the pool's connections, and nothing else.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use lapin::types::FieldTable;
use serde_json::{Value, json};
use tokio::time::timeout;
use triggerd_core::outcome::Outcome;

use crate::harness::http_server::HttpServer;
use crate::harness::mosquitto::Mosquitto;
use crate::harness::nats_server::NatsServer;
use crate::harness::proxy::{Cut, Proxy};
use crate::harness::rabbitmq::RabbitMq;
use crate::harness::redis_server::RedisServer;
use crate::harness::smtp_server::{Script, SmtpServer};
use crate::harness::sockets::open_to;
use crate::harness::sql_server::{Database, PASSWORD};
use crate::harness::{Bench, done};

/// Attempts at once.
const AT_ONCE: u64 = 8;
const ROUNDS: u64 = 25;
/// Of which the last ones meet silence.
const SILENT: u64 = 5;
/// How long it may take until what was given up is gone.
const SETTLE: Duration = Duration::from_secs(10);

/// The system's own part.
struct Worn {
    kind: &'static str,
    action: &'static str,
    config: Value,
    /// Connections that may stay.
    bound: usize,
}

/// Makes two hundred attempts through a proxy to `upstream`, many of which come to nothing, and looks what is left.
async fn wear(upstream: u16, worn: Worn, settings: impl Fn(u16) -> Value) {
    let Worn { kind, action, config, bound } = worn;
    let (bench, proxy) = (Bench::local().await, Proxy::start(upstream).await);
    bench.put(kind, "worn", settings(proxy.port)).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (mut delivered, mut failed, mut given_up) = (0, 0, 0);
    for round in 0..ROUNDS {
        let is_silent = round >= ROUNDS - SILENT;
        match round % 4 {
            _ if is_silent => proxy.cut_next(Cut::Never),
            0 => proxy.cut_next(Cut::Before),
            1 | 2 => proxy.cut_next(Cut::After(Duration::from_micros(round * 100))),
            _ => {}
        }
        let attempts = (0..AT_ONCE).map(|n| {
            let patience = if is_silent { Duration::from_millis(100) } else { Duration::from_secs(20) };
            // In the middle of whatever it does: connecting, logging in, waiting for the answer.
            let polls = match n {
                3 => 1,
                7 => 1 + round,
                _ => u64::MAX,
            };
            timeout(patience, for_polls(polls, bench.run(action, config.clone())))
        });
        for ended in futures_util::future::join_all(attempts).await {
            match ended.ok().flatten() {
                Some(Outcome::Done(_)) => delivered += 1,
                Some(Outcome::Retry { .. }) => failed += 1,
                Some(Outcome::Dead(failure)) => panic!("a cut is for now: {failure:?}"),
                None => given_up += 1,
            }
        }
    }
    let told = format!("{delivered} delivered, {failed} failed, {given_up} given up");
    assert!(delivered >= 10 && failed + given_up >= 20, "{told}");
    // Each open connection has a task here at most, one in the proxy, and one in a server that is part of this test;
    // one more may look after a pool.
    let settled = || open_to(proxy.port) <= bound && tasks() <= before + 3 * open_to(proxy.port) + 1;
    let is_settled = holds(settled).await;
    let (open, tasks) = (open_to(proxy.port), tasks());
    assert!(is_settled, "{told}; {open} sockets of at most {bound}, {tasks} tasks after {before}");
}

/// What `attempt` comes to, if that takes no more polls; dropped where it then stands otherwise. Counted in polls, since
/// on a fast machine no time is short enough to be certain to cut it.
async fn for_polls<T>(mut polls: u64, attempt: impl Future<Output = T>) -> Option<T> {
    let mut attempt = Box::pin(attempt);
    poll_fn(move |context| match attempt.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if polls == 1 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Whether it is so before long.
async fn holds(is_so: impl Fn() -> bool) -> bool {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SETTLE, waiting).await.is_ok()
}

fn broker(bound: usize) -> Worn {
    Worn { kind: "brokers", action: "broker.publish", config: json!({"broker": "worn:leaks", "message": 1}), bound }
}

#[tokio::test]
async fn nothing_is_left_of_redis_connections() {
    let server = RedisServer::start().await;
    wear(server.port, broker(1), |port| json!({"url": format!("redis://127.0.0.1:{port}")})).await;
}

#[tokio::test]
async fn nothing_is_left_of_nats_connections() {
    let server = NatsServer::start().await;
    wear(server.port, broker(1), |port| json!({"url": format!("nats://127.0.0.1:{port}")})).await;
}

#[tokio::test]
async fn nothing_is_left_of_rabbitmq_connections() {
    let rabbit = RabbitMq::shared().await;
    rabbit.consumer().await.declare("leaks", FieldTable::default()).await;
    wear(rabbit.port, broker(1), |port| json!({"url": format!("amqp://127.0.0.1:{port}")})).await;
}

#[tokio::test]
async fn nothing_is_left_of_mqtt_connections() {
    let server = Mosquitto::start().await;
    wear(server.port, broker(1), |port| json!({"url": format!("mqtt://127.0.0.1:{port}")})).await;
}

#[tokio::test]
async fn nothing_is_left_of_postgres_connections() {
    let database = Database::postgres().await;
    database.run("CREATE TABLE t (id bigint)").await;
    let config = json!({"database": "worn", "table": "t", "values": {"id": 1}});
    let worn = Worn { kind: "databases", action: "database.insert", config, bound: 4 };
    let settings = |port| {
        let url = format!("postgres://owner:{PASSWORD}@127.0.0.1:{port}/postgres");
        json!({"url": url, "maxConnections": 4, "ledger": false})
    };
    wear(database.port, worn, settings).await;
}

#[tokio::test]
async fn nothing_is_left_of_http_connections() {
    let server = HttpServer::with_status(200, "", "ok").await;
    let worn = Worn {
        kind: "notifications",
        action: "notification.callback",
        config: json!({"notification": "worn", "callback": {"body": {"n": 1}}}),
        bound: AT_ONCE as usize,
    };
    let settings = |port| json!({"callback": {"url": format!("http://127.0.0.1:{port}/")}});
    wear(server.address.port(), worn, settings).await;
}

#[tokio::test]
async fn nothing_is_left_of_mail_connections() {
    let server = SmtpServer::start(Script::default()).await;
    let worn = Worn {
        kind: "notifications",
        action: "notification.email",
        config: json!({"notification": "worn", "recipients": "b@example.com", "subject": "s", "body": "b"}),
        bound: 8,
    };
    let settings = |port| json!({"smtp": {"host": "127.0.0.1", "port": port, "tls": "none"}, "from": "a@example.com"});
    wear(server.address.port(), worn, settings).await;
}

#[tokio::test]
async fn a_redis_connection_that_has_gone_silent_is_replaced_by_the_next_attempt() {
    let server = RedisServer::start().await;
    let (bench, proxy) = (Bench::local().await, Proxy::start(server.port).await);
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    bench.put("brokers", "worn", json!({ "url": url })).await;
    let publish = || bench.run("broker.publish", json!({"broker": "worn:t", "message": 1}));
    done(publish().await);
    proxy.cut_next(Cut::Never);
    assert!(timeout(Duration::from_millis(200), publish()).await.is_err());
    done(timeout(Duration::from_secs(5), publish()).await.expect("the connection is another one"));
    assert!(holds(|| open_to(proxy.port) == 1).await, "{} are open", open_to(proxy.port));
}
