//! TRUNCATE of a table that is kept equal: the rows that both sides were agreed on go on the other side too, and no others.

use serde_json::{Value, json};

use crate::harness::sql_server::{Database, Engine};
use crate::harness::{Api, Receiver, eventually, home};
use crate::sync::{both_hold, conflicts, file, rows, two_way};

async fn count_becomes(db: &Database, wanted: u64) {
    eventually(|| async {
        let count = db.count("items").await;
        if count == wanted { Ok(()) } else { Err(format!("{count} rows, wanted {wanted}")) }
    })
    .await;
}

/// Waits until every change has been looked after, and says that none failed.
async fn at_rest(api: &Api) {
    eventually(|| async {
        let total = async |status: &str| -> Value {
            let found = api.get(&format!("/api/v1/inbox?table=items&limit=1&status={status}")).await;
            found.expect(200)["total"].clone()
        };
        let (pending, failed) = (total("pending").await, total("failed").await);
        if pending == 0 && failed == 0 { Ok(()) } else { Err(format!("{pending} pending, {failed} failed")) }
    })
    .await;
}

async fn enable(api: &Api, enabled: bool) {
    api.patch("/api/v1/syncs/items", json!({"enabled": enabled})).await.expect(200);
}

#[tokio::test]
async fn an_emptied_table_empties_the_other_one_of_what_both_had_and_of_nothing_else() {
    let own = home().await;
    // More rows than are looked at in one page; a key that the other side writes in another way.
    for (a, b, how) in [
        (Database::postgres().await, Database::mariadb().await, json!({})),
        (Database::postgres_with_log(&[]).await, file(&own), json!({"from": "log"})),
    ] {
        let home = home().await;
        two_way(&home, &a, &b, json!({})).await;
        home.resource("databases", "a", json!({"url": a.url(), "capture": how})).await;
        // Only one side has it, and nobody was told.
        enable(&home, false).await;
        b.run("INSERT INTO items VALUES (9000, 'its own', 0, NULL)").await;
        enable(&home, true).await;
        a.run("INSERT INTO items SELECT n, 'row', 1, NULL FROM generate_series(1, 300) AS n").await;
        count_becomes(&b, 301).await;
        at_rest(&home).await;
        a.run("BEGIN; TRUNCATE items; INSERT INTO items VALUES (7, 'again', 2, NULL); COMMIT").await;
        eventually(|| async {
            let held = rows(&b, "items", &["id", "name"]).await;
            if held == ["7|again", "9000|its own"] { Ok(()) } else { Err(format!("{} rows", held.len())) }
        })
        .await;
        at_rest(&home).await;
        // What was deleted there did not come back, nor did it go round.
        assert_eq!(rows(&a, "items", &["id", "name"]).await, ["7|again"]);
        assert_eq!(conflicts(&home, "items").await, Vec::<Value>::new());
        let status = home.get("/api/v1/syncs/items/status").await.expect(200);
        assert_eq!((&status["rows"], &status["outcomes"]["deleted"]), (&json!(1), &json!(299)), "{status:#}");
        // A row that comes back is a new one.
        a.run("INSERT INTO items VALUES (1, 'row', 1, NULL)").await;
        count_becomes(&b, 3).await;
        at_rest(&home).await;
        assert_eq!(a.count("items").await, 2);
    }
}

#[tokio::test]
async fn what_the_other_side_had_changed_is_a_conflict_as_with_rows_that_are_deleted_one_by_one() {
    let own = home().await;
    // The emptied side first: as source, and as target.
    for (emptied, policy, kept) in [
        ("a", json!({"policy": "newest", "by": "updated_at"}), true),
        ("a", json!({"policy": "source-wins"}), false),
        ("b", json!({"policy": "source-wins"}), true),
    ] {
        let home = home().await;
        let (a, b) = match emptied {
            "a" => (Database::postgres().await, file(&own)),
            _ => (file(&own), Database::postgres().await),
        };
        two_way(&home, &a, &b, json!({"conflict": policy})).await;
        a.run("INSERT INTO items VALUES (1, 'one', 1, '2025-01-01T00:00:00Z'), (2, 'two', 2, '2025-01-01T00:00:00Z')")
            .await;
        both_hold(&a, &b, "items", &["id", "name"], &["1|one", "2|two"]).await;
        at_rest(&home).await;
        let (gone, other) = if emptied == "a" { (&a, &b) } else { (&b, &a) };
        assert_eq!(gone.engine, Engine::Postgres);
        // Changed while nobody looks.
        enable(&home, false).await;
        other.run("UPDATE items SET name = 'eins', updated_at = '2999-01-01T00:00:00Z' WHERE id = 1").await;
        enable(&home, true).await;
        gone.run("TRUNCATE items").await;
        let wanted: &[&str] = if kept { &["1|eins"] } else { &[] };
        both_hold(&a, &b, "items", &["id", "name"], wanted).await;
        at_rest(&home).await;
        let listed = conflicts(&home, "items").await;
        assert_eq!(listed.len(), 1, "{emptied}: {listed:#?}");
        let lost = if kept { Value::Null } else { json!("eins") };
        assert_eq!((&listed[0]["lost"]["name"], &listed[0]["key"]), (&lost, &json!("[\"1\"]")), "{listed:#?}");
    }
}

#[tokio::test]
async fn one_way_syncs_carry_it_over_where_they_carry_deletions_over() {
    let home = home().await;
    let (a, b) = (Database::postgres().await, file(&home));
    let receiver = Receiver::start().await;
    two_way(&home, &a, &b, json!({"direction": "one-way"})).await;
    b.run(
        "CREATE TABLE kept (id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE log (id INTEGER PRIMARY KEY, name TEXT)",
    )
    .await;
    let other = |table: &str, more: Value| {
        let mut settings =
            json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": table}});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    };
    home.resource("syncs", "kept", other("kept", json!({"deletes": false, "direction": "one-way"}))).await;
    home.resource("syncs", "log", other("log", json!({"mode": "append"}))).await;
    let gone = json!({"url": format!("{}/{{{{record.id}}}}", receiver.url("/gone"))});
    let http = json!({"url": receiver.url("/rows"), "delete": gone});
    let settings = json!({"source": {"database": "a", "table": "items"}, "target": {"http": http}});
    home.resource("syncs", "api", settings).await;
    a.run("INSERT INTO items VALUES (1, 'one', 1, NULL), (2, 'two', 2, NULL)").await;
    both_hold(&a, &b, "items", &["id", "name"], &["1|one", "2|two"]).await;
    both_hold(&b, &b, "kept", &["id", "name"], &["1|one", "2|two"]).await;
    both_hold(&b, &b, "log", &["id", "name"], &["1|one", "2|two"]).await;
    receiver.wait_for("/rows", 2).await;
    at_rest(&home).await;
    a.run("TRUNCATE items").await;
    count_becomes(&b, 0).await;
    for id in [1, 2] {
        let told = receiver.wait_for(&format!("/gone/{id}"), 1).await;
        assert_eq!(told[0].method, "DELETE");
    }
    at_rest(&home).await;
    for table in ["kept", "log"] {
        assert_eq!(rows(&b, table, &["id", "name"]).await, ["1|one", "2|two"], "{table}");
    }
    assert_eq!(a.count("items").await, 0);
}
