//! Syncs: two tables come to be equal, whoever writes them, and nothing that is lost is lost without a word.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::sql_server::{Database, Engine};
use crate::harness::{Api, Home, Receiver, Server, Settings, eventually, guest, home};

pub const TABLE: &str =
    "CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(50), price DECIMAL(10,2), updated_at VARCHAR(40))";

/// SQLite's file lies where the server may open it.
pub fn file(home: &Home) -> Database {
    let files = home.server().data_dir().join("databases");
    std::fs::create_dir_all(&files).unwrap();
    Database::file(&files)
}

pub async fn rows(db: &Database, table: &str, columns: &[&str]) -> Vec<String> {
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
pub async fn both_hold(a: &Database, b: &Database, table: &str, columns: &[&str], wanted: &[&str]) {
    eventually(|| async {
        let (left, right) = (rows(a, table, columns).await, rows(b, table, columns).await);
        if left == wanted && right == wanted { Ok(()) } else { Err(format!("{left:?}\n{right:?}\nwanted {wanted:?}")) }
    })
    .await;
}

pub async fn two_way(home: &Home, a: &Database, b: &Database, more: Value) {
    a.run(TABLE).await;
    b.run(TABLE).await;
    home.resource("databases", "a", a.settings()).await;
    home.resource("databases", "b", b.settings()).await;
    let mut settings =
        json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    home.resource("syncs", "items", settings).await;
}

pub async fn conflicts(api: &Api, tag: &str) -> Vec<Value> {
    let list = api.get(&format!("/api/v1/syncs/{tag}/conflicts")).await.expect(200);
    list["conflicts"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_changes_on_either_side_goes_to_the_other_and_never_comes_back() {
    let own = home().await;
    let log = Database::postgres_with_log(&[]).await;
    let pairs = [
        (Database::postgres().await, Database::mariadb().await, "outbox"),
        (file(&own), Database::postgres().await, "outbox"),
        (log, file(&own), "log"),
    ];
    for (a, b, from) in pairs {
        let home = home().await;
        two_way(&home, &a, &b, json!({})).await;
        if from == "log" {
            // The mark is said in the log too.
            let settings = json!({"url": a.url(), "capture": {"from": from}});
            home.resource("databases", "a", settings).await;
        }
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
            // Three inserted, one updated, one deleted, one row of another key: seven rows written by the sync, two of them
            // on the side that the log would tell of; what no trigger wants is not kept from there.
            let wanted = if from == "log" { 5 } else { 7 };
            if pending == 0 && marked == wanted { Ok(()) } else { Err(format!("{pending} pending, {marked} marked")) }
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

#[tokio::test]
async fn the_newest_of_two_changes_wins_and_the_other_can_be_put_back() {
    let home = home().await;
    let (a, b) = (Database::postgres().await, file(&home));
    // Both were written before anybody kept them equal.
    a.run(TABLE).await;
    b.run(TABLE).await;
    a.run("INSERT INTO items VALUES (1, 'old', 1, '2025-12-22T10:00:00Z'), (2, 'alike', 2, '2025-12-22T10:00:00Z')")
        .await;
    b.run("INSERT INTO items VALUES (1, 'new', 1, '2025-12-22T10:00:01Z'), (2, 'alike', 2, '2025-12-22T10:00:00Z'), (3, 'only', 3, NULL)").await;
    home.resource("databases", "a", a.settings()).await;
    home.resource("databases", "b", b.settings()).await;
    let settings = json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"},
        "conflict": {"policy": "newest", "by": "updated_at"}});
    home.resource("syncs", "items", settings).await;
    let verify = async |repair: bool| {
        home.post(&format!("/api/v1/syncs/items/verify?repair={repair}"), json!({})).await.expect(200)
    };
    let found = verify(false).await;
    assert_eq!(
        (&found["compared"], &found["same"], &found["differing"], &found["only_target"], &found["repaired"]),
        (&json!(3), &json!(1), &json!(1), &json!(1), &json!(0)),
        "{found:#}"
    );
    assert_eq!(rows(&a, "items", &["id", "name"]).await, ["1|old", "2|alike"], "looking changes nothing");
    assert_eq!(verify(true).await["repaired"], 2);
    both_hold(&a, &b, "items", &["id", "name"], &["1|new", "2|alike", "3|only"]).await;
    assert_eq!(verify(false).await["same"], 3);
    // What lost is kept, and can be put back.
    let lost = conflicts(&home, "items").await;
    assert_eq!(lost.len(), 1, "{lost:#?}");
    assert_eq!(
        (&lost[0]["winner"], &lost[0]["lost"]["name"], &lost[0]["won"]["name"]),
        (&json!("target"), &json!("old"), &json!("new"))
    );
    let path = format!("/api/v1/syncs/items/conflicts/{}", lost[0]["id"].as_str().unwrap());
    assert_eq!(home.post(&format!("{path}/restore"), json!({})).await.expect(200)["resolved"], "restored");
    both_hold(&a, &b, "items", &["id", "name"], &["1|old", "2|alike", "3|only"]).await;
    // A change that is older than what it replaces is undone, and told.
    b.run("UPDATE items SET name = 'stale', updated_at = '2025-12-22T09:00:00Z' WHERE id = 2").await;
    eventually(|| async {
        let lost = conflicts(&home, "items").await;
        if lost.len() == 2 { Ok(()) } else { Err(format!("{lost:#?}")) }
    })
    .await;
    let lost = conflicts(&home, "items").await;
    assert_eq!((&lost[0]["reason"], &lost[0]["lost"]["name"]), (&json!("stale"), &json!("stale")));
    both_hold(&a, &b, "items", &["id", "name"], &["1|old", "2|alike", "3|only"]).await;
    home.delete(&path).await.expect(204);
    home.delete(&path).await.problem(404);
    let status = home.get("/api/v1/syncs/items/status").await.expect(200);
    assert_eq!((&status["conflicts"], &status["conflicts_last_hour"]), (&json!(1), &json!(1)), "{status:#}");
}

#[tokio::test]
async fn appended_rows_are_never_changed_or_deleted() {
    let home = home().await;
    let (a, b) = (file(&home), Database::postgres().await);
    two_way(&home, &a, &b, json!({"mode": "append"})).await;
    a.run("INSERT INTO items VALUES (1, 'first', 1, NULL), (2, 'second', 2, NULL)").await;
    both_hold(&a, &b, "items", &["id", "name"], &["1|first", "2|second"]).await;
    a.run("UPDATE items SET name = 'changed' WHERE id = 1; DELETE FROM items WHERE id = 2").await;
    b.run("INSERT INTO items VALUES (8, 'its own', 8, NULL)").await;
    a.run("INSERT INTO items VALUES (3, 'third', 3, NULL)").await;
    eventually(|| async {
        let held = rows(&b, "items", &["id", "name"]).await;
        if held == ["1|first", "2|second", "3|third", "8|its own"] { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
    assert_eq!(rows(&a, "items", &["id", "name"]).await, ["1|changed", "3|third"], "the source is never written");
    let verified = home.post("/api/v1/syncs/items/verify?repair=true", json!({})).await.expect(200);
    assert_eq!((&verified["only_source"], &verified["repaired"]), (&json!(0), &json!(0)), "{verified:#}");
}

#[tokio::test]
async fn an_http_api_is_told_of_rows_once_each() {
    let home = home().await;
    let a = Database::postgres().await;
    let receiver = Receiver::start().await;
    a.run(TABLE).await;
    home.resource("databases", "a", a.settings()).await;
    home.put("/api/v1/secrets/CRM", json!({"value": "s3cr3t"})).await;
    let http = json!({
        "url": format!("{}/{{{{record.id}}}}", receiver.url("/rows")), "method": "PUT",
        "headers": {"apikey": "{{secrets.CRM}}"}, "delete": {"url": format!("{}/{{{{record.id}}}}", receiver.url("/gone"))},
    });
    let settings = json!({"source": {"database": "a", "table": "items"}, "target": {"http": http},
        "columns": {"id": "id", "name": "title"}});
    home.resource("syncs", "items", settings).await;
    a.run("INSERT INTO items VALUES (1, 'one', 1, NULL)").await;
    let seen = receiver.wait_for("/rows/1", 1).await;
    assert_eq!((seen[0].method.as_str(), seen[0].json()), ("PUT", json!({"id": 1, "title": "one"})));
    assert_eq!(seen[0].header("apikey"), "s3cr3t");
    a.run("UPDATE items SET price = 7 WHERE id = 1").await;
    a.run("UPDATE items SET name = 'eins' WHERE id = 1").await;
    let seen = receiver.wait_for("/rows/1", 2).await;
    assert_eq!(seen[1].json()["title"], "eins", "what is not kept equal is not told");
    a.run("DELETE FROM items WHERE id = 1").await;
    assert_eq!(receiver.wait_for("/gone/1", 1).await[0].method, "DELETE");
    // What was there before is told by a comparison.
    home.patch("/api/v1/syncs/items", json!({"enabled": false})).await.expect(200);
    a.run("INSERT INTO items VALUES (5, 'five', 5, NULL)").await;
    home.patch("/api/v1/syncs/items", json!({"enabled": true})).await.expect(200);
    let verified = home.post("/api/v1/syncs/items/verify?repair=true", json!({})).await.expect(200);
    assert_eq!((&verified["only_source"], &verified["repaired"]), (&json!(1), &json!(1)), "{verified:#}");
    assert_eq!(receiver.wait_for("/rows/5", 1).await[0].json()["title"], "five");
}

#[tokio::test]
async fn columns_are_named_and_written_otherwise_on_the_other_side() {
    let home = home().await;
    let (a, b) = (file(&home), Database::postgres().await);
    a.run("CREATE TABLE jobs (id TEXT PRIMARY KEY, parameters TEXT, tags TEXT, started TEXT, who TEXT)").await;
    b.run(
        "CREATE TABLE agent_jobs (id text PRIMARY KEY, params jsonb, tags text[], started_at timestamptz, actor text)",
    )
    .await;
    home.resource("databases", "a", a.settings()).await;
    home.resource("databases", "b", b.settings()).await;
    let settings = json!({"source": {"database": "a", "table": "jobs"}, "target": {"database": "b", "table": "agent_jobs"},
    "columns": {
        "id": "id", "parameters": {"column": "params", "as": "json"}, "tags": {"as": "list"},
        "started": {"column": "started_at", "as": "timestamp"},
        "who": {"column": "actor", "toTarget": "{{upper record.who}}", "toSource": "{{lower record.actor}}"},
    }});
    home.resource("syncs", "jobs", settings).await;
    a.run("INSERT INTO jobs VALUES ('j1', '{\"metro\": \"Austin\", \"radius\": 15}', 'pii, eu', '2025-12-22 10:00:00', 'zap')").await;
    eventually(|| async {
        let held = rows(&b, "agent_jobs", &["id", "params->>'metro'", "tags[2]", "started_at", "actor"]).await;
        if held == ["j1|Austin|eu|2025-12-22 10:00:00+00|ZAP"] { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
    b.run("UPDATE agent_jobs SET params = '{\"metro\": \"Dallas\"}', tags = '{x,y}', actor = 'CLAUDE'").await;
    eventually(|| async {
        let held = rows(&a, "jobs", &["id", "parameters", "tags", "started", "who"]).await;
        let wanted = ["j1|{\"metro\":\"Dallas\"}|x,y|2025-12-22T10:00:00Z|claude"];
        if held == wanted { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
    let verified = home.post("/api/v1/syncs/jobs/verify", json!({})).await.expect(200);
    assert_eq!((&verified["same"], &verified["compared"]), (&json!(1), &json!(1)), "{verified:#}");
    // What cannot be converted fails, says which column, and waits as a dead letter.
    a.run("INSERT INTO jobs VALUES ('j2', '{broken', NULL, NULL, NULL)").await;
    eventually(|| async {
        let letters = home.get("/api/v1/dead-letters").await.expect(200);
        let error = letters["dead_letters"][0]["error"].as_str().unwrap_or_default().to_owned();
        if error.contains("`parameters`") && letters["dead_letters"][0]["error_code"] == "SYNC_VALUE" {
            Ok(())
        } else {
            Err(format!("{letters:#}"))
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_sync_is_told() {
    let home = home().await;
    let (a, b) = (file(&home), Database::postgres().await);
    a.run("CREATE TABLE items (id INTEGER, name TEXT)").await;
    b.run("CREATE TABLE items (id bigint PRIMARY KEY, title text)").await;
    home.resource("databases", "a", a.settings()).await;
    home.resource("databases", "b", b.settings()).await;
    let settings =
        json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"}});
    home.resource("syncs", "items", settings).await;
    let problem = async || home.get("/api/v1/syncs/items/status").await.expect(200)["problems"][0].to_string();
    assert!(problem().await.contains("no primary key"), "{}", problem().await);
    home.patch("/api/v1/syncs/items", json!({"keys": ["id"], "columns": ["id", "name"]})).await.expect(200);
    assert!(problem().await.contains("no column `name`"), "{}", problem().await);
    let check = home.post("/api/v1/syncs/items/check", json!({})).await.expect(200);
    assert_eq!(check["ok"], false, "{check:#}");
    let verified = home.post("/api/v1/syncs/items/verify", json!({})).await.problem(409);
    assert!(verified["detail"].as_str().unwrap().contains("SYNC_INVALID"), "{verified:#}");
    home.patch("/api/v1/syncs/items", json!({"columns": {"id": "id", "name": "title"}})).await.expect(200);
    assert!(problem().await.contains("no primary key"), "still: {}", problem().await);
    home.get("/api/v1/syncs/none/status").await.problem(404);
}

#[tokio::test]
async fn guests_turn_rows_into_the_other_side_s_and_merge_what_both_have_changed() {
    let home = home().await;
    let (a, b) = (file(&home), Database::postgres().await);
    a.run("CREATE TABLE contacts (id INTEGER PRIMARY KEY, first TEXT, last TEXT, notes TEXT)").await;
    b.run("CREATE TABLE contacts (id bigint PRIMARY KEY, name text, notes text)").await;
    home.resource("databases", "a", a.settings()).await;
    home.resource("databases", "b", b.settings()).await;
    home.component("row-merge", guest("row-merge")).await;
    // Columns are paired by name only where they are alike; a guest makes the rest.
    let settings = json!({"source": {"database": "a", "table": "contacts"}, "target": {"database": "b", "table": "contacts"},
        "columns": {"id": "id", "first": "name", "last": "name", "notes": "notes"},
        "transform": {"component": "row-merge"}, "conflict": {"component": "row-merge"}});
    home.resource("syncs", "contacts", settings).await;
    a.run("INSERT INTO contacts VALUES (1, 'Ada', 'Lovelace', 'a'), (2, NULL, NULL, 'nobody')").await;
    let held = async |db: &Database, columns: &[&str], wanted: &[&str]| {
        eventually(|| async {
            let held = rows(db, "contacts", columns).await;
            if held == wanted { Ok(()) } else { Err(format!("{held:?}, wanted {wanted:?}")) }
        })
        .await;
    };
    held(&b, &["id", "name", "notes"], &["1|Ada Lovelace|a"]).await;
    b.run("UPDATE contacts SET name = 'Ada King'").await;
    held(&a, &["id", "first", "last"], &["1|Ada|King", "2|-|-"]).await;
    // Both change while nobody looks.
    home.patch("/api/v1/syncs/contacts", json!({"enabled": false})).await.expect(200);
    a.run("UPDATE contacts SET notes = 'a,left' WHERE id = 1").await;
    b.run("UPDATE contacts SET notes = 'a,right'").await;
    home.patch("/api/v1/syncs/contacts", json!({"enabled": true})).await.expect(200);
    let verified = home.post("/api/v1/syncs/contacts/verify?repair=true", json!({})).await.expect(200);
    assert_eq!(verified["failed"], 0, "{verified:#}");
    held(&b, &["id", "name", "notes"], &["1|Ada King|a,left,right"]).await;
    held(&a, &["id", "last", "notes"], &["1|King|a,left,right", "2|-|nobody"]).await;
    let lost = conflicts(&home, "contacts").await;
    assert_eq!((lost.len(), &lost[0]["winner"]), (2, &json!("merged")), "{lost:#?}");
}

#[tokio::test]
async fn a_kill_between_the_other_side_s_commit_and_our_own_makes_no_conflict_and_no_second_entry() {
    let (a, b) = (Database::postgres().await, Database::mariadb().await);
    let mut server = Server::with(Settings::default().set("TEST_FAULT", "hang-after-sync-commit"));
    let entries = "CREATE TABLE entries (action VARCHAR(50), direction VARCHAR(50))";
    for db in [&a, &b] {
        db.run(TABLE).await;
        db.run(entries).await;
    }
    let api = server.api();
    api.resource("databases", "a", a.settings()).await;
    api.resource("databases", "b", b.settings()).await;
    let columns = json!({"action": "{{metadata.action}}", "direction": "{{metadata.sync_direction}}"});
    let settings = json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"},
        "conflict": {"policy": "target-wins"}, "audit": {"database": "a", "table": "entries", "columns": columns}});
    api.resource("syncs", "items", settings).await;
    a.run("INSERT INTO items VALUES (1, 'first', 1, NULL)").await;
    eventually(|| async { if b.count("items").await == 1 { Ok(()) } else { Err("not there".to_owned()) } }).await;
    server.kill();
    // Changed once more before anybody looks: what the target holds is the sync's own doing, and no rival.
    a.run("UPDATE items SET name = 'second' WHERE id = 1").await;
    server.set("TEST_FAULT", "");
    server.up();
    both_hold(&a, &b, "items", &["id", "name"], &["1|second"]).await;
    eventually(|| async {
        let made = rows(&a, "entries", &["action", "direction"]).await;
        if made == ["items_synced|a_to_b", "items_synced|a_to_b"] { Ok(()) } else { Err(format!("{made:?}")) }
    })
    .await;
    assert_eq!(conflicts(&server.api(), "items").await, Vec::<Value>::new());
}
