//! The guard: every spelling of an inside address, every way out, and no connection.

mod ways_out;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use triggerd::actions::GuestServices;
use triggerd::wasm::{HttpRequest, ServiceContext, Services};
use triggerd_core::outcome::Outcome;

use self::ways_out::{Aimed, WAYS_OUT, firebase};
use crate::harness::http_server::HttpServer;
use crate::harness::provider::{Provider, Reply};
use crate::harness::{Bench, dead, done};

/// Hosts that lead inside, in whatever spelling; `PORT` is the receiver's.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.1",
    "017700000001",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "0x0",
    "00000000",
    "1",
    "0.0.0.1",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "LocalHost.",
    "ip6-localhost",
    "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "127\u{ff0e}0\u{ff0e}0\u{ff0e}1",
    "127\u{ff61}0\u{ff61}0\u{ff61}1",
    "\u{2460}\u{2461}\u{2466}.0.0.1",
    "loc\u{2090}lhost",
    "\u{24db}\u{24de}\u{24d2}\u{24d0}\u{24db}\u{24d7}\u{24de}\u{24e2}\u{24e3}",
    "%6c%6f%63%61%6c%68%6f%73%74",
    "%31%32%37.0.0.1",
    "127.0.0.1%2e",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:7f00:0001::1]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[::ffff:10.0.0.1]",
    "[fe80::1]",
    "[febf::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[2001:20::1]",
    "[2001:10::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[fe80::1%25lo]",
    "[::1%25lo]",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "metadata.google.internal",
    "metadata.google.internal.",
    "anything.internal",
    "printer.local",
    "x.localhost",
];

#[tokio::test]
async fn no_spelling_of_an_inside_address_opens_a_connection() {
    let bench = Bench::guarded().await;
    let server = HttpServer::with_status(200, "", "inside").await;
    let six = TcpListener::bind(("::1", server.address.port())).await.ok();
    assert!(HOSTS.len() >= 80);
    let port = server.address.port();
    let mut urls: Vec<String> = HOSTS.iter().map(|host| format!("http://{host}:{port}/")).collect();
    urls.extend(HOSTS.iter().map(|host| format!("https://{host}/")));
    let tricks = [
        format!("http://good.example@127.0.0.1:{port}/"),
        format!("http://good:80+&@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}\\@good.example/"),
        format!("http:\\\\127.0.0.1:{port}/"),
        format!("http:127.0.0.1:{port}/"),
        format!("http:/127.0.0.1:{port}/"),
        format!("http:///127.0.0.1:{port}/"),
        format!("HTTP://127.0.0.1:{port}/"),
        format!("http://user:pass@localhost:{port}/"),
        "http://1.1.1.1:22/".into(),
        "http://1.1.1.1:25/".into(),
        "http://1.1.1.1:6379/".into(),
        "http://1.1.1.1:0/".into(),
        "file:///etc/passwd".into(),
        "gopher://127.0.0.1:70/".into(),
        "ftp://127.0.0.1/".into(),
        "unix:///run/docker.sock".into(),
        "data://text/plain,x".into(),
        "http+unix://%2frun%2fdocker.sock/".into(),
        "ws://127.0.0.1/".into(),
    ];
    urls.extend(tricks);
    for url in urls {
        let failure = dead(bench.run("http.get", json!({ "url": url })).await);
        assert_eq!(failure.code, "EGRESS_DENIED", "{url}: {}", failure.message);
        assert!(failure.message.ends_with("destination not allowed"), "{url}: {}", failure.message);
    }
    assert_eq!(server.connections(), 0);
    if let Some(six) = six {
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(50), six.accept()).await;
        assert!(quiet.is_err(), "a connection over IPv6");
    }
}

/// A port that listens on every address of this machine, and how often it was connected to.
async fn trap() -> (u16, Arc<AtomicUsize>) {
    let counted = Arc::new(AtomicUsize::new(0));
    let four = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = four.local_addr().unwrap().port();
    let six = tokio::net::TcpSocket::new_v6().ok().and_then(|socket| {
        socket.bind(SocketAddr::from(([0; 8], port))).ok()?;
        socket.listen(64).ok()
    });
    for listener in std::iter::once(four).chain(six) {
        let counted = counted.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    (port, counted)
}

#[tokio::test]
async fn every_way_out_refuses_every_spelling_in_the_same_words_and_opens_no_connection() {
    let bench = Bench::guarded().await;
    let (port, connections) = trap().await;
    let guest = GuestServices::of(&bench.context());
    for (way, aim) in WAYS_OUT {
        let mut refused_when_written = 0;
        for host in HOSTS {
            let Aimed { resource, action, config, by_recipient } = aim(host, port);
            if let Some((kind, settings)) = &resource {
                let put = bench.services.resources.put(&bench.tenant(), kind, "inside", settings.clone()).await;
                if put.is_err() {
                    // It is no address in this client's URLs: nothing can be aimed there at all.
                    refused_when_written += 1;
                    continue;
                }
                let check = bench.services.resources.check(&bench.tenant(), kind, "inside", "").await.unwrap();
                let told = !check.ok && check.detail.ends_with("destination not allowed");
                assert!(told || by_recipient, "{way} {host}: {}", check.detail);
            }
            let failure = dead(bench.run(action, config).await);
            let code = if by_recipient { "PUSH_TOKEN_INVALID" } else { "EGRESS_DENIED" };
            assert_eq!(failure.code, code, "{way} {host}: {}", failure.message);
            assert!(failure.message.contains("destination not allowed"), "{way} {host}: {}", failure.message);
        }
        assert!(refused_when_written < HOSTS.len() / 4, "{way}: too few reach the guard: -{refused_when_written}");
    }
    for host in HOSTS {
        let request = HttpRequest {
            method: "GET".into(),
            url: format!("http://{host}:{port}/"),
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(5),
            max_response_bytes: 100,
        };
        let error = guest.http(&guest_context(), request).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.retryable), ("EGRESS_DENIED", false), "guest {host}: {}", error.message);
        assert!(bench.services.egress.connect_tcp(host, port).await.is_err(), "{host}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn no_redirect_is_followed_from_an_allowed_address_to_another() {
    let bench = Bench::with(vec![triggerd::config::Net::parse("127.0.0.1/32").unwrap()], false).await;
    let (port, connections) = trap().await;
    for status in [301, 302, 303, 307, 308] {
        for target in
            [format!("http://127.0.0.2:{port}/"), format!("http://[::1]:{port}/"), format!("//127.0.0.2:{port}/")]
        {
            let server = HttpServer::with_status(status, &format!("location: {target}\r\n"), "").await;
            // A receiver without TLS has nothing to redirect a client that wants it with.
            let plain = |way: &str| (way.starts_with("http.") || way.starts_with("bucket")) && !way.contains("TLS");
            for (way, aim) in WAYS_OUT.iter().filter(|(way, _)| plain(way)) {
                let Aimed { resource, action, config, .. } = aim("127.0.0.1", server.address.port());
                if let Some((kind, settings)) = resource {
                    bench.put(kind, "inside", settings).await;
                }
                let outcome = bench.run(action, config).await;
                assert!(!matches!(outcome, Outcome::Done(_)), "{way} {status} {target}: {outcome:?}");
            }
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_token_from_an_allowed_address_opens_no_way_to_another() {
    let bench = Bench::with(vec![triggerd::config::Net::parse("127.0.0.1/32").unwrap()], false).await;
    let tokens = Provider::start(|_| Reply::new(200, json!({"access_token": "t", "expires_in": 3599}))).await;
    let (port, connections) = trap().await;
    for host in ["127.0.0.2", "[::1]", "2130706434", "127.0.0.2.", "metadata.google.internal"] {
        let messages = format!("http://{host}:{port}");
        let (settings, push) = firebase(&messages, &tokens.url("/token"));
        bench.put("notifications", "inside", settings).await;
        assert_eq!(dead(bench.run("notification.push", push).await).code, "EGRESS_DENIED", "{host}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

fn guest_context() -> ServiceContext {
    ServiceContext {
        tenant: "acme".into(),
        component: "c".into(),
        event_id: "e".into(),
        delivery_id: "d".into(),
        trigger: "t".into(),
        env: "default".into(),
        traceparent: None,
    }
}

#[tokio::test]
async fn an_allowed_net_opens_what_it_names_and_no_more() {
    let allowed = Bench::with(vec![triggerd::config::Net::parse("127.0.0.1/32").unwrap()], false).await;
    let server = HttpServer::with_status(200, "", "ok").await;
    let port = server.address.port();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "0x7f000001"] {
        done(allowed.run("http.get", json!({"url": format!("http://{host}:{port}/")})).await);
    }
    for host in ["127.0.0.2", "[::1]", "10.0.0.1"] {
        assert_eq!(
            dead(allowed.run("http.get", json!({"url": format!("http://{host}:{port}/")})).await).code,
            "EGRESS_DENIED"
        );
    }
}

#[tokio::test]
async fn the_environment_s_proxies_are_not_used() {
    // Read by most HTTP clients when they are made; ours must not.
    let proxy = HttpServer::with_status(200, "", "proxied").await;
    let server = HttpServer::with_status(200, "", "direct").await;
    // SAFETY: this process reads the environment only through the client under test, made right below.
    unsafe { std::env::set_var("http_proxy", proxy.url("/")) };
    let bench = Bench::local().await;
    unsafe { std::env::remove_var("http_proxy") };
    assert_eq!(done(bench.run("http.get", json!({ "url": server.url("/") })).await)["body"], "direct");
    assert_eq!(proxy.connections(), 0);
}
