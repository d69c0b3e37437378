//! Servers that are away, hang, cut connections, refuse, or are slow.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::Place;
use crate::harness::sql_server::{Engine, PASSWORD};
use crate::harness::{Bench, dead, done, free_port, retried};

fn insert() -> Value {
    json!({"database": "db", "table": "t", "values": {"id": 1}})
}

/// A port on which nobody says anything, or everybody is sent away after the first bytes.
async fn silent(cuts: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if cuts {
                let _ = stream.read(&mut [0; 8]).await;
            } else {
                held.push(stream);
            }
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_tried_again() {
    let bench = Bench::local().await;
    let refused = free_port();
    for scheme in ["postgres", "mysql"] {
        for port in [refused, silent(true).await] {
            let url = format!("{scheme}://u:{PASSWORD}@127.0.0.1:{port}/d");
            bench.put("databases", "db", json!({ "url": url })).await;
            // MySQL's client waits to be greeted: it is cut off by its own timeout alone.
            if scheme == "mysql" && port != refused {
                continue;
            }
            let failure = retried(bench.run("database.insert", insert()).await);
            assert_eq!(failure.code, "DB_UNAVAILABLE", "{failure:?}");
            assert!(!failure.message.contains(PASSWORD));
        }
    }
    assert_eq!(
        dead(bench.run("database.insert", json!({"database": "no", "table": "t", "values": {}})).await).code,
        "RESOURCE_NOT_FOUND"
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_holds_an_attempt_no_longer_than_its_timeout() {
    let bench = Bench::local().await;
    for scheme in ["postgres", "mysql"] {
        bench
            .put("databases", "db", json!({"url": format!("{scheme}://u:p@127.0.0.1:{}/d", silent(false).await)}))
            .await;
        let began = Instant::now();
        let attempt = tokio::time::timeout(Duration::from_millis(300), bench.run("database.insert", insert())).await;
        assert!(attempt.is_err() && began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn addresses_that_the_guard_refuses_are_not_connected_to() {
    let bench = Bench::guarded().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for scheme in ["postgres", "mysql"] {
        for host in ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254"] {
            let port = listener.local_addr().unwrap().port();
            bench.put("databases", "db", json!({"url": format!("{scheme}://u:p@{host}:{port}/d")})).await;
            assert_eq!(dead(bench.run("database.insert", insert()).await).code, "EGRESS_DENIED", "{host}");
            let check = bench.services.resources.check(&bench.tenant(), "databases", "db", "").await.unwrap();
            assert!(!check.ok && check.detail.contains("not allowed"), "{check:?}");
        }
    }
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "nothing was sent there");
    bench.put("databases", "db", json!({"url": "sqlite:a.db"})).await;
    assert_eq!(dead(bench.run("database.insert", insert()).await).code, "DB_DENIED", "no directory is allowed");
}

async fn comes_and_goes(engine: Engine) {
    let mut place = Place::on(engine).await;
    place.db.run("CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    done(place.insert("t", json!({"id": 1})).await);
    // Wrong credentials are for good, and not shown.
    let url = place.db.url_of("owner", "wrong-password");
    place.bench.put("databases", "other", json!({ "url": url })).await;
    let failure =
        dead(place.bench.run("database.insert", json!({"database": "other", "table": "t", "values": {"id": 2}})).await);
    assert_eq!(failure.code, "DB_DENIED", "{failure:?}");
    assert!(!failure.message.contains("wrong-password"));

    place.db.stop();
    let config = json!({"database": "db", "table": "t", "values": {"id": 2}});
    for _ in 0..2 {
        assert_eq!(retried(place.bench.run("database.insert", config.clone()).await).code, "DB_UNAVAILABLE");
    }
    place.db.start().await;
    // Connections from before are dead, and nobody notices.
    done(place.bench.run("database.insert", config).await);
    assert_eq!(place.db.count("t").await, 2);
    let idle: Vec<_> = (10..14).map(|id| place.insert("t", json!({ "id": id }))).collect();
    for ended in futures_util::future::join_all(idle).await {
        done(ended);
    }
    place.db.stop();
    place.db.start().await;
    let config = json!({"database": "db", "table": "t", "values": {"id": 3}});
    done(place.bench.run("database.insert", config).await);
}

#[tokio::test]
async fn a_postgresql_server_that_comes_back_is_used_again() {
    comes_and_goes(Engine::Postgres).await;
}

#[tokio::test]
async fn a_mariadb_server_that_comes_back_is_used_again() {
    comes_and_goes(Engine::MariaDb).await;
}

async fn slow(engine: Engine) {
    let place = Place::on(engine).await;
    place.db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT); INSERT INTO t VALUES (1, 0), (2, 0)").await;
    let mut settings = place.db.settings();
    settings["statementTimeout"] = json!(300);
    settings["maxConnections"] = json!(2);
    place.bench.put("databases", "db", settings).await;
    let update = |id: u64| json!({"database": "db", "table": "t", "values": {"n": {"$INC": 1}}, "where": {"id": id}});
    done(place.bench.run("database.update", update(1)).await);
    // A row that somebody else has locked.
    let lock = place.db.locked("UPDATE t SET n = n WHERE id = 1").await;
    let began = Instant::now();
    // MariaDB waits for locks by the second.
    let most = if engine == Engine::MariaDb { 2500 } else { 1500 };
    assert_eq!(retried(place.bench.run("database.update", update(1)).await).code, "DB_UNAVAILABLE");
    assert!(began.elapsed() < Duration::from_millis(most), "{:?}", began.elapsed());
    drop(lock);
    // More attempts than connections wait for one another.
    let many: Vec<_> = (0..12).map(|_| place.act("database.update", update(2))).collect();
    for ended in futures_util::future::join_all(many).await {
        done(ended);
    }
    assert_eq!(place.db.text("n", "FROM t WHERE id = 2").await.unwrap(), "12");
    assert_eq!(
        place.db.text("n", "FROM t WHERE id = 1").await.unwrap(),
        "1",
        "nothing came of the attempt that was given up"
    );
}

#[tokio::test]
async fn a_lock_is_waited_for_no_longer_than_the_statement_timeout_on_postgresql() {
    slow(Engine::Postgres).await;
}

#[tokio::test]
async fn a_lock_is_waited_for_no_longer_than_the_statement_timeout_on_mariadb() {
    slow(Engine::MariaDb).await;
}

#[tokio::test]
async fn a_lock_is_waited_for_no_longer_than_the_statement_timeout_on_sqlite() {
    slow(Engine::Sqlite).await;
}

/// Passes everything on until told to hold back what the server says.
async fn between(port: u16, held: tokio::sync::watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let mut held = held.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let ((mut from, mut to), (mut back, mut home)) = (client.into_split(), server.into_split());
                let there = tokio::spawn(async move { tokio::io::copy(&mut from, &mut home).await });
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = back.read(&mut buffer).await {
                    if *held.borrow() {
                        break;
                    }
                    if tokio::io::AsyncWriteExt::write_all(&mut to, &buffer[..n]).await.is_err() {
                        break;
                    }
                }
                if *held.borrow() {
                    // The answer is kept back for good; the connection is cut once the test is over.
                    let _ = held.wait_for(|held| !*held).await;
                }
                there.abort();
            });
        }
    });
    own
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_takes_effect_once() {
    let place = Place::on(Engine::Postgres).await;
    // The commit itself waits for this, so that the test can cut between the commit and its answer.
    place
        .db
        .run(
            "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO t VALUES (1); CREATE TABLE slow (id int); \
             CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END'; \
             CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()",
        )
        .await;
    let (hold, held) = tokio::sync::watch::channel(false);
    let url =
        place.db.url().replace(&format!(":{}/", place.db.port), &format!(":{}/", between(place.db.port, held).await));
    place.bench.put("databases", "db", json!({"url": url, "statementTimeout": 1000})).await;
    let cx = place.bench.context();
    let config = json!({"database": "db", "table": "t", "values": {"n": {"$INC": 1}}, "where": {"id": 1}});
    let first = {
        let (cx, config) = (cx.clone(), config.clone());
        tokio::spawn(async move { crate::harness::run(&cx, "database.update", config).await })
    };
    // The statement has been answered and the commit waits: from here on nothing comes back.
    while place.db.count("pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'").await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    hold.send(true).unwrap();
    assert_eq!(retried(first.await.unwrap()).code, "DB_UNAVAILABLE");
    assert_eq!(place.db.text("n", "FROM t").await.unwrap(), "1", "it was committed all the same");
    hold.send(false).unwrap();
    let again = done(crate::harness::run(&cx, "database.update", config).await);
    assert_eq!(again["returning"][0]["n"], 1, "the first result: {again}");
    assert_eq!(place.db.text("n", "FROM t").await.unwrap(), "1");
}
