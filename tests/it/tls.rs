//! TLS: both versions of HTTP over it, and certificates that are replaced while requests go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Client;
use serde_json::json;
use tokio::task::block_in_place;

use crate::harness::{ADMIN_KEY, Server, Settings, eventually, signal};

/// An authority, and the files that the server reads.
pub struct Authority {
    dir: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { dir: tempfile::tempdir().unwrap(), issuer: rcgen::Issuer::new(params, key), pem }
    }

    fn cert(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// A new certificate in the files that is good until the first day of `year`.
    pub fn issue(&self, year: i32) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let made = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.cert(), made.pem()).unwrap();
        std::fs::write(self.key(), key.serialize_pem()).unwrap();
    }

    /// A server with the certificate in the files, ready.
    pub async fn server(&self) -> Server {
        let settings = Settings::default().set("TLS_CERT", self.cert().to_str().unwrap());
        let mut server = Server::prepare(settings.set("TLS_KEY", self.key().to_str().unwrap()));
        server.spawn();
        let (client, url) = (self.client(Client::builder()), url(&server));
        eventually(|| async {
            match client.get(format!("{url}/ready")).send().await {
                Ok(answer) if answer.status() == 200 => Ok(()),
                other => Err(format!("not ready: {other:?}\n{}", server.log_tail(5))),
            }
        })
        .await;
        server
    }

    /// A client that trusts this authority and no other.
    pub fn client(&self, builder: reqwest::ClientBuilder) -> Client {
        let ca = reqwest::Certificate::from_pem(self.pem.as_bytes()).unwrap();
        builder.no_proxy().tls_certs_only([ca]).timeout(Duration::from_secs(30)).build().unwrap()
    }
}

fn url(server: &Server) -> String {
    server.url().replace("http://", "https://")
}

/// The year in which the certificate in force ends, by the server's own metric.
async fn ends(server: &Server, client: &Client) -> i16 {
    let text = client.get(format!("{}/metrics", url(server))).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with("triggerd_tls_certificate_expiry_timestamp_seconds"));
    let seconds: f64 = line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
    let zone = jiff::tz::TimeZone::UTC;
    jiff::Timestamp::from_second(seconds as i64).unwrap().to_zoned(zone).year()
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_tls_and_nothing_without_it() {
    let authority = Authority::new();
    authority.issue(2100);
    let server = authority.server().await;
    for (builder, version) in
        [(Client::builder(), reqwest::Version::HTTP_2), (Client::builder().http1_only(), reqwest::Version::HTTP_11)]
    {
        let client = authority.client(builder);
        let request = client.post(format!("{}/api/v1/events", url(&server))).bearer_auth(ADMIN_KEY);
        let answer = request.json(&json!({"type": "over.tls", "payload": {}})).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (202, version));
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    }
    let plain = Client::builder().no_proxy().build().unwrap();
    assert!(plain.get(format!("{}/health", server.url())).send().await.is_err(), "nothing is said in the clear");
    let stranger = Authority::new();
    assert!(stranger.client(Client::builder()).get(format!("{}/health", url(&server))).send().await.is_err());
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_ends_the_start_with_its_file() {
    let authority = Authority::new();
    authority.issue(2100);
    std::fs::write(authority.key(), "no key").unwrap();
    let settings = Settings::default().set("TLS_CERT", authority.cert().to_str().unwrap());
    let mut server = Server::prepare(settings.set("TLS_KEY", authority.key().to_str().unwrap()));
    server.spawn();
    assert!(!server.wait_for_exit().success());
    assert!(server.log().contains("key.pem: there is no private key in it"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_under_load_and_no_request_is_lost() {
    let authority = Authority::new();
    authority.issue(2100);
    let mut server = authority.server().await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Some keep their connections, the others make one for each request.
    let senders: Vec<_> = (0..6)
        .map(|n| {
            let keeps = n % 2 == 0;
            let builder =
                if keeps { Client::builder() } else { Client::builder().pool_max_idle_per_host(0).http1_only() };
            let (client, url) = (authority.client(builder), format!("{}/api/v1/events", url(&server)));
            let (stop, answered) = (stop.clone(), answered.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let request = client.post(&url).bearer_auth(ADMIN_KEY);
                    let answer = request.json(&json!({"type": "under.load", "payload": {}})).send().await;
                    assert_eq!(answer.expect("every request is answered").status(), 202);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // A new connection each time: it shows the certificate that is in force.
    for (year, by_signal) in [(2101, true), (2102, true), (2103, false)] {
        authority.issue(year);
        if by_signal {
            signal("HUP", server.process_id());
        }
        let client = authority.client(Client::builder());
        eventually(|| async {
            let in_force = ends(&server, &client).await;
            if i32::from(in_force) == year {
                Ok(())
            } else {
                Err(format!("the certificate until {in_force} is in force"))
            }
        })
        .await;
    }
    // The key of another certificate.
    let good = std::fs::read(authority.key()).unwrap();
    std::fs::write(authority.key(), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    signal("HUP", server.process_id());
    eventually(|| async {
        let log = server.log();
        if log.contains("the one before it stays in force") { Ok(()) } else { Err(server.log_tail(3)) }
    })
    .await;
    let fresh = authority.client(Client::builder());
    assert_eq!(ends(&server, &fresh).await, 2103);
    std::fs::write(authority.key(), good).unwrap();
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.expect("no request is lost");
    }
    assert!(answered.load(Ordering::Relaxed) > 100, "{answered:?}");
    assert!(block_in_place(|| server.stop()).success(), "{}", server.log_tail(20));
}
