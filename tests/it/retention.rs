//! Events are let go when their tenant says so, and dead letters when somebody has dealt with them.

use serde_json::{Value, json};

use crate::harness::{Api, Receiver, Reply, Server, Settings, call, eventually, fast, home, on};

async fn is_there(api: &Api, id: &str) -> bool {
    api.get(&format!("/api/v1/events/{id}")).await.status == 200
}

/// Waits until the look for old events that follows the start is over.
async fn gone(api: &Api, id: &str) {
    eventually(|| async { if is_there(api, id).await { Err(format!("{id} is still there")) } else { Ok(()) } }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tenant_s_events_go_by_what_became_of_them_and_dead_letters_stay() {
    let mut server = Server::with(Settings::default().set("RETENTION", "90d"));
    let receiver = Receiver::start().await;
    receiver.script("/bad", [Reply::status(400)]);
    for tenant in ["short", "long"] {
        server.api().post("/api/v1/tenants", json!({"id": tenant})).await.expect(201);
    }
    let mut ids = Vec::new();
    for tenant in ["short", "long"] {
        let api = server.api().in_tenant(tenant);
        let mut bad = call("c", &receiver.url("/bad"));
        bad["retry"] = fast(1);
        api.trigger(on("bad", "r.bad", json!([bad]))).await;
        api.trigger(on("good", "r.good", json!([call("c", &receiver.url("/good"))]))).await;
        let mut of_tenant = Vec::new();
        for event_type in ["r.bad", "r.good"] {
            of_tenant.push(api.event_ended(event_type, json!({})).await["event_id"].as_str().unwrap().to_owned());
        }
        of_tenant.push(api.event("r.none", json!({})).await);
        ids.push(of_tenant);
    }
    let tenant = "/api/v1/tenants/short";
    let kept = server.api().patch(tenant, json!({"retention": {"unmatched": "1ms"}})).await.expect(200);
    assert_eq!(kept["retention"], json!({"delivered": "90d", "unmatched": "1ms", "failed": "never"}));
    let restart = |server: &mut Server| {
        tokio::task::block_in_place(|| {
            server.stop();
            server.up();
        });
    };
    restart(&mut server);
    let (short, long) = (server.api().in_tenant("short"), server.api().in_tenant("long"));
    gone(&short, &ids[0][2]).await;
    assert!(is_there(&short, &ids[0][1]).await, "what was delivered is kept for longer");

    server.api().patch(tenant, json!({"retention": "1ms"})).await.expect(200);
    restart(&mut server);
    let short = server.api().in_tenant("short");
    gone(&short, &ids[0][1]).await;
    assert!(is_there(&short, &ids[0][0]).await, "nobody has dealt with the dead letter");
    assert_eq!(short.get("/api/v1/dead-letters").await.expect(200)["total"], 1);

    let letter = short.get("/api/v1/dead-letters").await.expect(200);
    let run = letter["dead_letters"][0]["run_id"].as_str().unwrap().to_owned();
    assert_eq!(short.delete(&format!("/api/v1/dead-letters/{run}")).await.status, 204);
    restart(&mut server);
    gone(&server.api().in_tenant("short"), &ids[0][0]).await;
    for id in &ids[1] {
        assert!(is_there(&long, id).await, "another tenant's are kept");
    }
}

#[tokio::test]
async fn what_is_no_time_is_refused_with_its_place() {
    let home = home().await;
    let path = format!("/api/v1/tenants/{}", home.tenant);
    let admin = home.server().api();
    for (wrong, pointer) in [
        (json!("soon"), "/retention"),
        (json!({"pending": "1d"}), "/retention/pending"),
        (json!({"failed": "1 year"}), "/retention/failed"),
    ] {
        let problem = admin.patch(&path, json!({"retention": wrong})).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem:#}");
    }
    let shown = |answer: Value| answer["retention"]["failed"].clone();
    let set = admin.patch(&path, json!({"retention": {"failed": "30d"}})).await.expect(200);
    assert_eq!(shown(set), "30d");
    assert_eq!(shown(admin.get(&path).await.expect(200)), "30d");
    assert_eq!(shown(admin.patch(&path, json!({"retention": null})).await.expect(200)), "never");
}
