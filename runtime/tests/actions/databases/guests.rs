//! What guests ask of databases: bound values, reads that cannot write, one statement, bounded answers.

use serde_json::{Value, json};
use triggerd::databases::{Name, Question};

use super::Place;
use crate::harness::sql_server::Engine;

fn question(sql: &str, parameters: Value) -> Question {
    Question { sql: sql.into(), parameters: parameters.as_array().unwrap().clone() }
}

async fn asked(engine: Engine) {
    let place = Place::on(engine).await;
    place
        .db
        .run(
            "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(20), price DECIMAL(20,4)); \
             INSERT INTO t VALUES (1, 'ann', 1.5), (2, 'ben', 2.25), (9007199254740993, 'big', 3)",
        )
        .await;
    let tenant = place.bench.tenant();
    let name = Name { tenant: &tenant, env: "", tag: "db" };
    let databases = &place.bench.services.databases;
    let (one, two) = if engine == Engine::Postgres { ("$1", "$2") } else { ("?", "?") };

    let by_name = format!("SELECT id, name FROM t WHERE name = {one} OR id = {two} ORDER BY id; -- all");
    let rows =
        databases.query(name, &question(&by_name, json!(["ann' OR '1'='1", 9007199254740993_i64]))).await.unwrap();
    assert_eq!(rows, [json!({"id": 9007199254740993_i64, "name": "big"})]);
    let rows = databases.query(name, &question("SELECT price FROM t WHERE id = 2", json!([]))).await.unwrap();
    assert_eq!(rows[0]["price"].as_f64(), Some(2.25), "{rows:?}");
    let with = "WITH x AS (SELECT id FROM t) SELECT COUNT(*) AS n FROM x";
    assert_eq!(databases.query(name, &question(with, json!([]))).await.unwrap(), [json!({"n": 3})]);

    let update = format!("UPDATE t SET name = {one} WHERE id = {two}");
    assert_eq!(databases.execute(name, &question(&update, json!(["eve", 1]))).await.unwrap(), 1);
    assert_eq!(place.db.text("name", "FROM t WHERE id = 1").await.unwrap(), "eve");

    let mut refused = vec![
        "DELETE FROM t",
        "SELECT 1; DELETE FROM t",
        "DROP TABLE t",
        "SELECT id FROM t) x; DELETE FROM t; SELECT * FROM (SELECT 1",
        "SET search_path = x",
        "PRAGMA query_only = OFF",
        "ATTACH DATABASE 'x.db' AS x",
        "COMMIT",
        "",
        "-- nothing",
        "SELECT 'unended",
        "VACUUM INTO '/tmp/x'",
        "TABLE t; TABLE t",
        "SELECT nope FROM t",
        "SELECT id FROM nope",
    ];
    match engine {
        Engine::Postgres => refused.extend([
            "WITH gone AS (DELETE FROM t RETURNING id) SELECT id FROM gone",
            "SELECT set_config('transaction_read_only', 'off', false)",
        ]),
        Engine::MariaDb => refused.extend(["SELECT 1 INTO OUTFILE '/tmp/x'", "SELECT id FROM t FOR UPDATE /*! ; */"]),
        Engine::Sqlite => {}
    }
    for sql in &refused {
        let answer = databases.query(name, &question(sql, json!([]))).await;
        assert!(answer.is_err(), "{sql}: {answer:?}");
        let code = answer.unwrap_err().failure.code;
        assert!(code.starts_with("DB_"), "{sql}: {code}");
    }
    for sql in
        ["DROP TABLE t", "UPDATE t SET id = 5; DROP TABLE t", "CREATE TABLE x (id INT)", "SET x = 1", "COMMIT", ""]
    {
        assert_eq!(
            databases.execute(name, &question(sql, json!([]))).await.unwrap_err().failure.code,
            "DB_REFUSED",
            "{sql}"
        );
    }
    assert_eq!(place.db.count("t").await, 3);
    // A read after all of this still reads, and still cannot write.
    assert_eq!(databases.query(name, &question("SELECT 1 AS one", json!([]))).await.unwrap(), [json!({"one": 1})]);

    let values = (100..1200).map(|id| format!("({id}, 'x', 0)")).collect::<Vec<_>>().join(", ");
    place.db.run(&format!("INSERT INTO t VALUES {values}")).await;
    let failed = databases.query(name, &question("SELECT id FROM t", json!([]))).await.unwrap_err();
    assert_eq!(failed.failure.code, "DB_RESULT_TOO_LARGE");
    let thousand =
        databases.query(name, &question("SELECT id FROM t ORDER BY id LIMIT 1000", json!([]))).await.unwrap();
    assert_eq!(thousand.len(), 1000);
}

#[tokio::test]
async fn guests_read_and_write_within_bounds_on_postgresql() {
    asked(Engine::Postgres).await;
}

#[tokio::test]
async fn guests_read_and_write_within_bounds_on_mariadb() {
    asked(Engine::MariaDb).await;
}

#[tokio::test]
async fn guests_read_and_write_within_bounds_on_sqlite() {
    asked(Engine::Sqlite).await;
}

#[tokio::test]
async fn values_have_the_types_that_postgresql_takes_them_for() {
    let place = Place::on(Engine::Postgres).await;
    let tenant = place.bench.tenant();
    let name = Name { tenant: &tenant, env: "", tag: "db" };
    let sql = "SELECT $1::int + 1 AS i, $2::numeric AS n, $3::uuid AS u, $4::timestamptz AS at, $5::jsonb -> 'a' AS j, \
               $6::text[] AS tags, $7::bytea AS raw, $8::boolean AS b, $9::text AS t, $9 || '!' AS twice";
    let id = "018f0000-0000-7000-8000-000000000001";
    let values = json!([41, super::exact("1.50"), id, "2026-01-31T12:00:00+02:00", {"a": [1]}, ["x", null], "AP8=", true, "it's"]);
    let rows = place.bench.services.databases.query(name, &question(sql, values)).await.unwrap();
    let expected = json!({
        "i": 42, "n": super::exact("1.50"), "u": id, "at": "2026-01-31T10:00:00+00:00", "j": [1], "tags": ["x", null], "raw": "AP8=",
        "b": true, "t": "it's", "twice": "it's!",
    });
    assert_eq!(rows, [expected]);
    let failed =
        place.bench.services.databases.query(name, &question("SELECT $1::int", json!(["x"]))).await.unwrap_err();
    assert_eq!(failed.failure.code, "DB_VALUE");
}
