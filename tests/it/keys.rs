//! Keys: made, shown once, expiring, revoked; and the rate that a tenant has.

use serde_json::{Value, json};

use crate::harness::{Home, eventually, home};

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
