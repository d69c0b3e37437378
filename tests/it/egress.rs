//! Nothing inside is reached from outside: in production, no action connects to this machine or a private network.

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::{Receiver, Server, Settings, call, free_port, on};

#[tokio::test]
async fn in_production_private_addresses_are_refused_in_every_spelling() {
    let server = Server::with(Settings::default().set("ENVIRONMENT", "production"));
    let api = server.api();
    let receiver = Receiver::start().await;
    let port = receiver.port();
    let six = Receiver::at(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))).await.ok();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "localhost",
        "localhost.",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "１２７.０.０.１",
        "127。0。0。1",
        "good.example@127.0.0.1",
    ];
    for (n, host) in hosts.into_iter().enumerate() {
        // The host as a part of the definition: what is rendered into a URL would be percent-encoded.
        let tag = format!("reach-{n}");
        let definition = on(&tag, &tag, json!([call("c", &format!("http://{host}:{port}/x"))]));
        let answer = api.put(&format!("/api/v1/triggers/{tag}"), definition).await;
        if answer.status == 422 {
            continue;
        }
        let event = api.event_ended(&tag, json!({})).await;
        assert_eq!(event["status"], "failed", "{host}: {event:#}");
        let code = event["runs"][0]["error_code"].as_str().unwrap();
        assert!(code == "EGRESS_DENIED" || code == "URL_INVALID", "{host}: {event:#}");
        let attempts = event["runs"][0]["actions"][0]["attempts"].as_array().unwrap().len();
        assert_eq!(attempts, 1, "{host}: trying again cannot help");
    }
    assert_eq!(receiver.connections(), 0);
    assert_eq!(six.map_or(0, |six| six.connections()), 0);
}

#[tokio::test]
async fn a_closed_port_and_an_open_one_are_refused_in_the_same_words() {
    let server = Server::with(Settings::default().set("ENVIRONMENT", "production"));
    let api = server.api();
    let receiver = Receiver::start().await;
    let mut words = Vec::new();
    for (tag, url) in [("open", receiver.url("/x")), ("closed", format!("http://127.0.0.1:{}/x", free_port()))] {
        api.trigger(on(tag, tag, json!([call("c", &url)]))).await;
        words.push(api.event_ended(tag, json!({})).await["runs"][0]["error"].clone());
    }
    assert_eq!(words[0], words[1]);
}

#[tokio::test]
async fn what_the_operator_allows_is_reached_in_production_too() {
    let settings = Settings::default().set("ENVIRONMENT", "production").set("ALLOW_NETS", "127.0.0.2/32");
    let server = Server::with(settings);
    let api = server.api();
    let allowed = Receiver::at(SocketAddr::from(([127, 0, 0, 2], 0))).await.unwrap();
    let denied = Receiver::start().await;
    api.trigger(on("allowed", "allowed", json!([call("c", &allowed.url("/x"))]))).await;
    api.trigger(on("denied", "denied", json!([call("c", &denied.url("/x"))]))).await;
    assert_eq!(api.event_ended("allowed", json!({})).await["status"], "delivered");
    assert_eq!(api.event_ended("denied", json!({})).await["runs"][0]["error_code"], "EGRESS_DENIED");
    assert_eq!((allowed.connections(), denied.connections()), (1, 0));
}

#[tokio::test]
async fn production_has_none_of_the_routes_for_tests() {
    let server = Server::with(Settings::default().set("ENVIRONMENT", "production"));
    let api = server.api();
    assert_eq!(api.with_key(None).get("/health").await.expect(200)["environment"], "production");
    api.post("/admin/test-customer", json!({})).await.problem(404);
    api.get("/api/v1/mailbox").await.problem(404);
}
