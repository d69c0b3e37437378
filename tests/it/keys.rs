//! Keys: made, shown once, expiring, revoked; and the rate that a tenant has.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Home, Server, Settings, eventually, home};

async fn key(home: &Home, body: Value) -> (String, String) {
    let made = home.post("/api/v1/keys", body).await.expect(201);
    (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_key_is_shown_once_and_acts_in_its_tenant() {
    let home = home().await;
    let (id, secret) = key(&home, json!({"name": "app", "scopes": ["events:write", "events:read"]})).await;
    let listed = home.get("/api/v1/keys").await.expect(200);
    assert_eq!((&listed["keys"][0]["id"], &listed["keys"][0]["name"]), (&json!(id), &json!("app")));
    assert!(!listed.to_string().contains(&secret));
    let app = home.with_key(Some(&secret));
    let event = app.event("mine", json!({})).await;
    assert_eq!(home.detail(&event).await["customer_id"], home.tenant);
    // The header that lets the operator choose a tenant gives nobody else another one.
    let answer = app.in_tenant("default").get(&format!("/api/v1/events/{event}")).await;
    assert!(answer.status == 200 || answer.status == 403 || answer.status == 401, "{answer:#?}");
    home.post("/api/v1/keys", json!({"name": "x", "scopes": ["everything"]})).await.problem(422);
    home.post("/api/v1/keys", json!({"name": "x"})).await.problem(422);
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_from_that_moment_on() {
    let home = home().await;
    let (id, secret) = key(&home, json!({"scopes": ["events:read"]})).await;
    let app = home.with_key(Some(&secret));
    app.get("/api/v1/inbox").await.expect(200);
    home.delete(&format!("/api/v1/keys/{id}")).await.expect(204);
    app.get("/api/v1/inbox").await.problem(401);
    home.delete(&format!("/api/v1/keys/{id}")).await.problem(404);
}

#[tokio::test]
async fn an_expired_key_opens_nothing() {
    let home = home().await;
    let soon = jiff::Timestamp::now() + std::time::Duration::from_millis(1500);
    let (_, secret) = key(&home, json!({"scopes": ["events:read"], "expires_at": soon.to_string()})).await;
    let app = home.with_key(Some(&secret));
    app.get("/api/v1/inbox").await.expect(200);
    eventually(|| async {
        let status = app.get("/api/v1/inbox").await.status;
        if status == 401 { Ok(()) } else { Err(format!("the key still opens: {status}")) }
    })
    .await;
    assert!(jiff::Timestamp::now() >= soon);
    home.post("/api/v1/keys", json!({"scopes": ["events:read"], "expires_at": "2020-01-01T00:00:00Z"}))
        .await
        .problem(422);
}

#[tokio::test]
async fn a_rotated_key_stays_good_for_the_overlap_and_its_successor_may_do_the_same() {
    let home = home().await;
    let wanted = json!({"name": "app", "scopes": ["events:read"], "rate_limit": 500});
    let (id, secret) = key(&home, wanted).await;
    let rotate = async |id: &str, body: Value| home.post(&format!("/api/v1/keys/{id}/rotate"), body).await;
    let made = rotate(&id, json!({"overlap": "1h"})).await.expect(201);
    assert_eq!(
        (&made["name"], &made["scopes"], &made["rate_limit"]),
        (&json!("app"), &json!(["events:read"]), &json!(500))
    );
    let (old, new) = (home.with_key(Some(&secret)), home.with_key(made["key"].as_str()));
    for app in [&old, &new] {
        app.get("/api/v1/inbox").await.expect(200);
        app.post("/events", json!({"type": "x", "payload": {}})).await.problem(403);
    }
    let listed = home.get("/api/v1/keys").await.expect(200);
    assert_eq!((&listed["keys"][0]["id"], &listed["keys"][0]["replaced_by"]), (&json!(id), &made["id"]), "{listed:#}");
    let ends: jiff::Timestamp = listed["keys"][0]["expires_at"].as_str().unwrap().parse().unwrap();
    let left = ends.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((3500..=3600).contains(&left), "{left} s");
    rotate(&id, json!({})).await.problem(409);
    rotate("0011223344556677", json!({})).await.problem(404);
    let third = rotate(made["id"].as_str().unwrap(), json!({"overlap": "0s"})).await.expect(201);
    new.get("/api/v1/inbox").await.problem(401);
    home.with_key(third["key"].as_str()).get("/api/v1/inbox").await.expect(200);
    old.get("/api/v1/inbox").await.expect(200);
}

#[tokio::test]
async fn whoever_takes_the_new_key_in_time_is_never_refused() {
    let home = home().await;
    let (mut id, secret) = key(&home, json!({"scopes": ["events:read"]})).await;
    let (told, current) = tokio::sync::watch::channel(home.with_key(Some(&secret)));
    let callers = (0..4).map(|_| {
        let current = current.clone();
        tokio::spawn(async move {
            let mut asked = 0_u32;
            while current.has_changed().is_ok() {
                let app = current.borrow().clone();
                app.get("/api/v1/inbox?limit=1").await.expect(200);
                asked += 1;
            }
            asked
        })
    });
    let callers: Vec<_> = callers.collect();
    for _ in 0..50 {
        let made = home.post(&format!("/api/v1/keys/{id}/rotate"), json!({"overlap": "5s"})).await.expect(201);
        id = made["id"].as_str().unwrap().to_owned();
        told.send(home.with_key(made["key"].as_str())).unwrap();
    }
    drop(told);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn bad_keys_are_counted_for_the_caller_that_a_trusted_proxy_names() {
    let ask = async |server: &Server, key: &str, callers: &str| {
        let api = server.api().with_key(Some(key));
        api.send(api.request(Method::GET, "/api/v1/inbox").header("x-forwarded-for", callers)).await
    };
    let behind = Server::with(Settings::default().set("TRUSTED_PROXIES", "127.0.0.0/8"));
    for _ in 0..10 {
        ask(&behind, "trg_nonsense", "192.0.2.1").await.problem(401);
    }
    let refused = ask(&behind, "trg_nonsense", "192.0.2.1").await;
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1, "{refused:#?}");
    refused.problem(429);
    ask(&behind, "trg_nonsense", "198.51.100.7, 192.0.2.1").await.problem(429);
    ask(&behind, "trg_nonsense", "192.0.2.2").await.problem(401);
    ask(&behind, ADMIN_KEY, "192.0.2.1").await.expect(200);
    // Nobody is believed without: whatever the header says, it is this machine that asks.
    let alone = Server::start();
    for _ in 0..12 {
        ask(&alone, "trg_nonsense", "192.0.2.1").await.problem(401);
    }
}

#[tokio::test]
async fn a_wrong_key_is_401_whatever_is_wrong_with_it() {
    let home = home().await;
    let (_, secret) = key(&home, json!({"scopes": ["events:read"]})).await;
    let mut altered = secret.clone();
    let last = altered.pop().unwrap();
    altered.push(if last == 'a' { 'b' } else { 'a' });
    for wrong in ["", "x", "trg_", &altered, &secret[..secret.len() - 1], &secret.to_uppercase()] {
        home.with_key(Some(wrong)).get("/api/v1/inbox").await.problem(401);
    }
}

#[tokio::test]
async fn over_its_rate_a_tenant_is_answered_429_and_others_are_not() {
    let (home, other) = (home().await, home().await);
    let operator = home.server().api();
    operator.patch(&format!("/api/v1/tenants/{}", home.tenant), json!({"rate_limit": 3})).await.expect(200);
    let app = home.with_scopes(&["events:write"]).await;
    let mut refused = None;
    for _ in 0..40 {
        let answer = app.post("/events", json!({"type": "x", "payload": {}})).await;
        assert!(!answer.header("ratelimit").is_empty() && !answer.header("ratelimit-policy").is_empty(), "{answer:#?}");
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect(202);
    }
    let refused = refused.expect("40 at once are more than 3 a second");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1, "{refused:#?}");
    refused.problem(429);
    other.event("x", json!({})).await;
    eventually(|| async {
        let status = app.post("/events", json!({"type": "x", "payload": {}})).await.status;
        if status == 202 { Ok(()) } else { Err(format!("still {status}")) }
    })
    .await;
}

#[tokio::test]
async fn the_operator_acts_in_the_tenant_that_the_header_names() {
    let home = home().await;
    let operator = home.server().api();
    let event = home.event("theirs", json!({})).await;
    operator.get(&format!("/api/v1/events/{event}")).await.problem(404);
    operator.in_tenant(&home.tenant).get(&format!("/api/v1/events/{event}")).await.expect(200);
    let nobody = operator.in_tenant("nobody-made-this-one").get("/api/v1/inbox").await;
    assert!(nobody.status == 404 || nobody.status == 401 || nobody.status == 403, "{nobody:#?}");
    operator.post("/api/v1/tenants", json!({"id": home.tenant})).await.problem(409);
}
