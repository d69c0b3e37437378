//! Values of every type, there and back.

use serde_json::{Value, json};

use super::{Place, exact};
use crate::harness::sql_server::Engine;
use crate::harness::{dead, done};

const DIGITS: &str = "12345678901234567890.1234567890";

#[tokio::test]
async fn values_of_every_type_arrive_whole_in_postgresql() {
    let place = Place::on(Engine::Postgres).await;
    place
        .db
        .run(
            "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE >= 0); \
             CREATE TABLE t (id uuid PRIMARY KEY, big bigint, n numeric(30,10), f double precision, b boolean, s varchar(5), \
             c char(3), at timestamptz, naive timestamp, d date, tm time, j jsonb, tags text[], ids integer[], raw bytea, m mood, \
             p percent, ip inet, span interval, docs jsonb[])",
        )
        .await;
    let id = "018f0000-0000-7000-8000-000000000001";
    let row = json!({
        "id": id, "big": i64::MAX, "n": exact(DIGITS), "f": 1.5, "b": true, "s": "héé", "c": "ab",
        "at": "2026-01-31T12:00:00.123456+02:00", "naive": "2026-01-31T12:00:00+02:00", "d": "2026-01-31", "tm": "12:30:00",
        "j": {"a": [1, null], "big": exact("9007199254740993")}, "tags": ["a\"b", "c,d", null], "ids": [[1, 2], [3, 4]],
        "raw": "AP8=", "m": "ok", "p": 12.5, "ip": "10.0.0.1", "span": "2 days", "docs": [{"x": 1}, [2]],
    });
    let output = done(place.insert("t", row).await);
    let back = &output["returning"][0];
    let expected = [
        ("big", json!(i64::MAX)),
        ("n", exact(DIGITS)),
        ("f", json!(1.5)),
        ("b", json!(true)),
        ("s", json!("héé")),
        ("at", json!("2026-01-31T10:00:00.123456+00:00")),
        ("naive", json!("2026-01-31T10:00:00")),
        ("d", json!("2026-01-31")),
        ("j", json!({"a": [1, null], "big": 9007199254740993_i64})),
        ("tags", json!(["a\"b", "c,d", null])),
        ("ids", json!([[1, 2], [3, 4]])),
        ("raw", json!("AP8=")),
        ("m", json!("ok")),
        ("p", exact("12.50")),
        ("ip", json!("10.0.0.1")),
        ("docs", json!([{"x": 1}, [2]])),
        ("id", json!(id)),
    ];
    for (column, value) in expected {
        assert_eq!(back[column], value, "{column}");
    }
    let misfits = [
        ("big", exact("9223372036854775808")),
        ("big", json!(1.5)),
        ("n", exact("123456789012345678901")),
        ("b", json!("maybe")),
        ("s", json!("too long")),
        ("at", json!("not a time")),
        ("d", json!("2026-02-30")),
        ("raw", json!("%%")),
        ("m", json!("angry")),
        ("tags", json!("x")),
        ("ids", json!(["x"])),
        ("ip", json!("10.0.0.256")),
        ("s", json!("a\u{0}b")),
    ];
    for (column, value) in misfits {
        let failure = dead(place.update("t", json!({ column: value.clone() }), json!({ "id": id })).await);
        assert_eq!(failure.code, "DB_VALUE", "{column} {value}: {}", failure.message);
        assert!(failure.message.contains(&format!("`{column}`")), "{column} {value}: {}", failure.message);
    }
    assert_eq!(dead(place.update("t", json!({"p": -1}), json!({ "id": id })).await).code, "DB_CONSTRAINT");
    done(place.update("t", json!({"at": {"$NOW": true}, "big": {"$NOW": true}}), json!({ "id": id })).await);
    assert_eq!(place.db.count("t WHERE at > now() - interval '1 minute' AND big > 1700000000").await, 1);
    // Schemas, odd names, generated keys, an empty row.
    place.db.run("CREATE SCHEMA \"My\"; CREATE TABLE \"My\".\"odd \"\"t\" (\"a b\" int DEFAULT 3)").await;
    let output = done(place.insert("My.odd \"t", json!({})).await);
    assert_eq!(output["returning"], json!([{"a b": 3}]));
    let many: Vec<Value> = (0..250).map(|i| json!({ "a b": i })).collect();
    let output = done(place.insert("My.odd \"t", json!(many)).await);
    assert_eq!((&output["rowsAffected"], &output["returningTruncated"]), (&json!(250), &json!(true)));
    assert_eq!(output["returning"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn values_of_every_type_arrive_whole_in_mariadb() {
    let place = Place::on(Engine::MariaDb).await;
    place
        .db
        .run(
            "CREATE TABLE t (id INT PRIMARY KEY, big BIGINT UNSIGNED, n DECIMAL(40,10), f DOUBLE, b BOOLEAN, s VARCHAR(5), \
             at TIMESTAMP(6) NULL, naive DATETIME(3), d DATE, tm TIME, j JSON, raw BLOB, m ENUM('sad','ok'))",
        )
        .await;
    let row = json!({
        "id": 1, "big": u64::MAX, "n": exact(DIGITS), "f": 1.5, "b": true, "s": "héé", "at": "2026-01-31T12:00:00.123456+02:00",
        "naive": "2026-01-31T12:00:00.5Z", "d": "2026-01-31", "tm": "12:30:00", "j": {"a": [1, "x"]}, "raw": "AP8=", "m": "ok",
    });
    let output = done(place.insert("t", row).await);
    let back = &output["returning"][0];
    let expected = [
        ("big", json!(u64::MAX)),
        ("n", exact(DIGITS)),
        ("f", json!(1.5)),
        ("b", json!(true)),
        ("s", json!("héé")),
        ("at", json!("2026-01-31T10:00:00.123456Z")),
        ("naive", json!("2026-01-31T12:00:00.500000Z")),
        ("d", json!("2026-01-31")),
        ("tm", json!("12:30:00")),
        ("j", json!({"a": [1, "x"]})),
        ("raw", json!("AP8=")),
        ("m", json!("ok")),
    ];
    for (column, value) in expected {
        assert_eq!(back[column], value, "{column}: {output}");
    }
    let misfits = [
        ("big", json!(-1)),
        ("id", exact("2147483648")),
        ("n", json!("x")),
        ("b", json!("maybe")),
        ("s", json!("too long")),
        ("at", json!("soon")),
        ("d", json!("2026-02-30")),
        ("raw", json!("%%")),
        ("m", json!("angry")),
    ];
    for (column, value) in misfits {
        let failure = dead(place.update("t", json!({ column: value.clone() }), json!({"id": 1})).await);
        assert_eq!(failure.code, "DB_VALUE", "{column} {value}: {}", failure.message);
        assert!(failure.message.contains(column), "{column} {value}: {}", failure.message);
    }
    done(place.update("t", json!({"at": {"$NOW": true}, "big": {"$NOW": true}}), json!({"id": 1})).await);
    assert_eq!(place.db.count("t WHERE at > NOW() - INTERVAL 1 DAY AND big > 1700000000").await, 1);
    // Large numbers are compared as numbers.
    done(place.update("t", json!({"big": u64::MAX}), json!({"id": 1})).await);
    assert_eq!(done(place.delete("t", json!({"big": u64::MAX - 1})).await)["rowsAffected"], 0);
    assert_eq!(done(place.delete("t", json!({"big": u64::MAX})).await)["rowsAffected"], 1);
}

#[tokio::test]
async fn values_of_every_type_arrive_whole_in_sqlite() {
    let place = Place::on(Engine::Sqlite).await;
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, big BIGINT, n DECIMAL(10,2), f REAL, b BOOLEAN, s TEXT, \
                 at TIMESTAMP, d DATE, j JSON, raw BLOB, anything)";
    place.db.run(table).await;
    let row = json!({
        "id": 1, "big": i64::MAX, "n": exact("12.25"), "f": 1.5, "b": true, "s": exact(DIGITS), "at": "2026-01-31T12:00:00+02:00",
        "d": "2026-01-31", "j": {"a": [1, "x"]}, "raw": "AP8=", "anything": [1],
    });
    let output = done(place.insert("t", row).await);
    let expected = json!({
        "id": 1, "big": i64::MAX, "n": 12.25, "f": 1.5, "b": true, "s": DIGITS, "at": "2026-01-31T10:00:00.000000Z",
        "d": "2026-01-31", "j": {"a": [1, "x"]}, "raw": "AP8=", "anything": "[1]",
    });
    assert_eq!(output, json!({"rowsAffected": 1, "returning": [expected]}));
    let misfits = [
        ("big", exact("9223372036854775808")),
        ("big", json!("x")),
        ("f", json!("x")),
        ("b", json!(7)),
        ("at", json!("soon")),
    ];
    for (column, value) in misfits {
        let failure = dead(place.update("t", json!({ column: value.clone() }), json!({"id": 1})).await);
        assert_eq!(failure.code, "DB_VALUE", "{column} {value}");
        assert!(failure.message.contains(column), "{}", failure.message);
    }
    done(place.update("t", json!({"at": {"$NOW": true}, "big": {"$NOW": true}}), json!({"id": 1})).await);
    assert_eq!(place.db.count("t WHERE julianday(at) > julianday('now') - 1 AND big > 1700000000").await, 1);
}
