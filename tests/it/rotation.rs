//! The master key is replaced while events go on; nothing that was sealed is lost, also over a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::harness::{ADMIN_KEY, Api, Cli, Receiver, Server, Settings, call, on};

const SECRETS: usize = 250;

async fn prepare(api: &Api, receiver: &Receiver) {
    for i in 0..SECRETS {
        api.resource("secrets", &format!("S{i}"), json!({"value": format!("value-{i}-0123456789")})).await;
    }
    api.resource("caches", "sealed", json!({"kind": "redis", "url": "redis://:inline-password@127.0.0.1:1"})).await;
    let mut action = call("c", &receiver.url("/x"));
    action["config"]["auth"] = json!({"bearer": "{{secrets.S0}}"});
    action["config"]["headers"] = json!({"x-last": format!("{{{{secrets.S{}}}}}", SECRETS - 1)});
    api.trigger(on("uses", "uses", json!([action]))).await;
}

async fn works(server: &Server, receiver: &Receiver) {
    let event = server.api().event_ended("uses", json!({})).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    let seen = receiver.seen_at("/x").pop().unwrap();
    assert_eq!(seen.header("authorization"), "Bearer value-0-0123456789");
    assert_eq!(seen.header("x-last"), format!("value-{}-0123456789", SECRETS - 1));
}

fn cli(server: &Server) -> Cli {
    Cli { url: server.url(), key: ADMIN_KEY.into(), tenant: None, data_dir: None }
}

#[tokio::test]
async fn the_data_directory_s_key_is_replaced_under_load_and_no_event_fails() {
    let mut server = Server::with(Settings::default().embedded());
    let receiver = Receiver::start().await;
    prepare(&server.api(), &receiver).await;
    let key_file = server.data_dir().join("master.key");
    let before = std::fs::read_to_string(&key_file).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (api, stop) = (server.api(), stop.clone());
        async move {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let event = api.event_ended("uses", json!({})).await;
                assert_eq!(event["status"], "delivered", "{event:#}");
                // Written in the middle of it all: sealed with the key that is current then.
                api.resource("secrets", "S1", json!({"value": format!("again-{sent}-0123456789")})).await;
                sent += 1;
            }
            sent
        }
    });
    let mut names = vec![server.api().get("/api/v1/master-key").await.expect(200)["key"].clone()];
    for _ in 0..3 {
        let done = cli(&server).run(&["--json", "key", "rotate-master"]).await.json();
        assert!(done["resealed"].as_u64().unwrap() >= SECRETS as u64, "{done}");
        assert_eq!(done["unreadable"], json!([]));
        assert!(!names.contains(&done["key"]), "every rotation brings a key of its own");
        names.push(done["key"].clone());
    }
    stop.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 0);
    let state = server.api().get("/api/v1/master-key").await.expect(200);
    assert_eq!((&state["previous"], &state["outdated"]), (&json!([]), &json!(0)));
    assert_ne!(std::fs::read_to_string(&key_file).unwrap(), before);
    assert!(!server.data_dir().join("master.key.previous").exists());
    // A rotation is no change of what the resources say.
    assert_eq!(server.api().get("/api/v1/secrets/S0").await.expect(200)["version"], 1);
    server.crash_and_restart();
    works(&server, &receiver).await;
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_goes_on_after_a_restart() {
    let mut server = Server::with(Settings::default().embedded());
    let receiver = Receiver::start().await;
    prepare(&server.api(), &receiver).await;
    // Killed while it is under way, as far as that can be hit: both keys are on disk from its beginning.
    let api = server.api();
    let rotating =
        tokio::spawn(
            async move { api.try_send(api.request(reqwest::Method::POST, "/api/v1/master-key/rotate")).await },
        );
    let previous = server.data_dir().join("master.key.previous");
    let began = std::time::Instant::now();
    while !previous.exists() && !rotating.is_finished() && began.elapsed().as_secs() < 10 {
        std::thread::yield_now();
    }
    server.crash_and_restart();
    let _ = rotating.await;
    works(&server, &receiver).await;
    let done = server.api().post("/api/v1/master-key/rotate", json!({})).await.expect(200);
    assert_eq!(done["unreadable"], json!([]));
    assert_eq!(server.api().get("/api/v1/master-key").await.expect(200)["outdated"], 0);
    assert!(!previous.exists());
    works(&server, &receiver).await;
}

#[tokio::test]
async fn a_configured_key_takes_over_while_the_one_before_it_still_opens() {
    let mut server = Server::with(Settings::default().embedded());
    let receiver = Receiver::start().await;
    prepare(&server.api(), &receiver).await;
    let file = server.data_dir().join("master.key");
    let first = std::fs::read_to_string(&file).unwrap();
    // From the file's key to a configured one, and from that to another.
    for (key, previous) in
        [(hex::encode([1; 32]), first.trim().to_owned()), (hex::encode([2; 32]), hex::encode([1; 32]))]
    {
        assert!(server.stop().success());
        let _ = std::fs::remove_file(&file);
        server.set("MASTER_KEY", &key);
        server.set("MASTER_KEY_PREVIOUS", &previous);
        server.up();
        works(&server, &receiver).await;
        assert_eq!(server.api().get("/api/v1/master-key").await.expect(200)["outdated"], SECRETS + 1);
        cli(&server).run(&["key", "rotate-master"]).await.ok();
        assert!(server.stop().success());
        server.set("MASTER_KEY_PREVIOUS", "");
        server.up();
        works(&server, &receiver).await;
    }
    // Without any key that opens them it says so, and loses nothing.
    assert!(server.stop().success());
    server.set("MASTER_KEY", &hex::encode([3; 32]));
    server.up();
    let event = server.api().event_ended("uses", json!({})).await;
    assert_eq!(event["status"], "failed");
    let ran = cli(&server).run(&["key", "rotate-master"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("default/secrets/S0"), "{}", ran.stderr);
    assert!(server.stop().success());
    server.set("MASTER_KEY", &hex::encode([2; 32]));
    server.up();
    works(&server, &receiver).await;
}
