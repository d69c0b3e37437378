//! `POST /admin/test-customer`: in development one call makes somebody to try things with.

use serde_json::{Value, json};

use crate::harness::{Api, home};

#[tokio::test]
async fn a_test_customer_has_a_tenant_and_a_key_to_it() {
    let home = home().await;
    let operator = home.server().api();
    let sent = json!({"name": "Test Customer", "email": "test@example.com"});
    let made = operator.post("/admin/test-customer", sent).await.expect(201);
    let names: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(names, ["customer_id", "api_key", "name", "email", "status"]);
    assert_eq!(
        (&made["name"], &made["email"], &made["status"]),
        (&json!("Test Customer"), &json!("test@example.com"), &json!("active"))
    );
    let customer = Api::new(operator.base(), made["api_key"].as_str());
    customer.event("order.created", json!({"order_id": "12345"})).await;
    let inbox = customer.get("/api/v1/inbox").await.expect(200);
    assert_eq!((&inbox["total"], &inbox["events"][0]["customer_id"]), (&json!(1), &made["customer_id"]));
    // A name that is fit for it is the id, and taken once.
    let named = operator.post("/admin/test-customer", json!({"name": home.tenant.replace('t', "c")})).await.expect(201);
    assert_eq!((&named["customer_id"], &named["email"]), (&named["name"], &Value::Null));
    let again = operator.post("/admin/test-customer", json!({"name": named["name"]})).await.expect(201);
    assert_ne!(again["customer_id"], named["customer_id"]);
    operator.post("/admin/test-customer", json!({})).await.expect(201);
    // Not for everybody.
    customer.post("/admin/test-customer", json!({})).await.problem(403);
    customer.with_key(None).post("/admin/test-customer", json!({})).await.problem(401);
}

#[tokio::test]
async fn what_a_test_customer_cannot_be_is_told_at_its_place() {
    let operator = home().await.server().api();
    let sent = json!({"name": 5, "email": "nobody", "emial": "a@b.example"});
    let problem = operator.post("/admin/test-customer", sent).await.problem(422);
    let places: Vec<&Value> = problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(places, ["/emial", "/name", "/email"]);
}
