//! Syncs: two tables come to be equal, whoever writes them, and nothing that is lost is lost without a word.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::sql_server::{Database, Engine};
use crate::harness::{Api, Home, Receiver, eventually, home};

const TABLE: &str =
    "CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(50), price DECIMAL(10,2), updated_at VARCHAR(40))";

/// SQLite's file lies where the server may open it.
fn file(home: &Home) -> Database {
    let files = home.server().data_dir().join("databases");
    std::fs::create_dir_all(&files).unwrap();
    Database::file(&files)
}

async fn rows(db: &Database, table: &str, columns: &[&str]) -> Vec<String> {
    let kind = if db.engine == Engine::MariaDb { "CHAR" } else { "TEXT" };
    let cells = columns.iter().map(|column| format!("COALESCE(CAST({column} AS {kind}), '-')")).collect::<Vec<_>>();
    let row = match db.engine {
        Engine::MariaDb => format!("CONCAT_WS('|', {})", cells.join(", ")),
        _ => cells.join(" || '|' || "),
    };
    let all = match db.engine {
        Engine::Postgres => format!("string_agg({row}, ';' ORDER BY {})", columns[0]),
        Engine::MariaDb => format!("GROUP_CONCAT({row} ORDER BY {} SEPARATOR ';')", columns[0]),
        Engine::Sqlite => format!("group_concat({row}, ';')"),
    };
    let text = db.text(&all, &format!("FROM (SELECT * FROM {table} ORDER BY {} LIMIT 1000000) AS t", columns[0])).await;
    let mut rows: Vec<String> =
        text.unwrap_or_default().split(';').filter(|row| !row.is_empty()).map(str::to_owned).collect();
    rows.sort();
    rows
}

/// Waits until both tables hold `wanted`.
async fn both_hold(a: &Database, b: &Database, table: &str, columns: &[&str], wanted: &[&str]) {
    eventually(|| async {
        let (left, right) = (rows(a, table, columns).await, rows(b, table, columns).await);
        if left == wanted && right == wanted { Ok(()) } else { Err(format!("{left:?}\n{right:?}\nwanted {wanted:?}")) }
    })
    .await;
}

async fn two_way(home: &Home, a: &Database, b: &Database, more: Value) {
    a.run(TABLE).await;
    b.run(TABLE).await;
    home.resource("databases", "a", a.settings()).await;
    home.resource("databases", "b", b.settings()).await;
    let mut settings =
        json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    home.resource("syncs", "items", settings).await;
}

async fn conflicts(api: &Api, tag: &str) -> Vec<Value> {
    let list = api.get(&format!("/api/v1/syncs/{tag}/conflicts")).await.expect(200);
    list["conflicts"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_changes_on_either_side_goes_to_the_other_and_never_comes_back() {
    let pairs =
        [(Database::postgres().await, Database::mariadb().await), (file(&home().await), Database::postgres().await)];
    for (a, b) in pairs {
        let home = home().await;
        two_way(&home, &a, &b, json!({})).await;
        let columns = ["id", "name", "price"];
        a.run("INSERT INTO items VALUES (1, 'one', 1.50, NULL), (2, 'two', 2.25, NULL)").await;
        b.run("INSERT INTO items VALUES (3, 'three', 3.75, NULL)").await;
        both_hold(&a, &b, "items", &["id", "name"], &["1|one", "2|two", "3|three"]).await;
        b.run("UPDATE items SET name = 'eins', price = 9.99 WHERE id = 1").await;
        a.run("DELETE FROM items WHERE id = 2").await;
        a.run("UPDATE items SET id = 4 WHERE id = 3").await;
        both_hold(&a, &b, "items", &columns, &["1|eins|9.99", "4|three|3.75"]).await;
        // What the sync wrote was told with its mark, and not followed.
        eventually(|| async {
            let inbox = home.get("/api/v1/inbox?table=items&limit=1000").await.expect(200);
            let events = inbox["events"].as_array().unwrap().clone();
            let pending = events.iter().filter(|event| event["status"] == "pending").count();
            let marked = events.iter().filter(|event| event["status"] == "unmatched").count();
            // Three inserted, one updated, one deleted, one row of another key: seven rows written by the sync.
            if pending == 0 && marked == 7 { Ok(()) } else { Err(format!("{pending} pending, {marked} marked")) }
        })
        .await;
        let status = home.get("/api/v1/syncs/items/status").await.expect(200);
        assert_eq!((&status["problems"], &status["conflicts"]), (&json!([]), &json!(0)), "{status:#}");
        assert_eq!(
            (&status["outcomes"]["synced"], &status["outcomes"]["deleted"]),
            (&json!(5), &json!(2)),
            "{status:#}"
        );
        let verified = home.post("/api/v1/syncs/items/verify", json!({})).await.expect(200);
        assert_eq!((&verified["same"], &verified["differing"]), (&json!(2), &json!(0)), "{verified:#}");
        // Nobody sees the triggers that it is made of, and its databases are in use.
        assert_eq!(home.get("/api/v1/triggers").await.expect(200)["total"], 0);
        let problem = home.delete("/api/v1/databases/b").await.problem(409);
        assert!(problem["detail"].as_str().unwrap().contains("syncs/items"), "{problem:#}");
        home.delete("/api/v1/syncs/items").await.expect(204);
        a.run("INSERT INTO items VALUES (9, 'alone', 0, NULL)").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(b.count("items WHERE id = 9").await, 0);
        home.delete("/api/v1/databases/a").await.expect(204);
        home.delete("/api/v1/databases/b").await.expect(204);
    }
}
