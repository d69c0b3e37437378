//! How the connection is made: through the guard, encrypted as the settings say, with each of the logins.

use triggerd::connections::sql::{Fault, Server, TlsMode};
use triggerd::sources::wal::{Names, Stream, Wanted};

use super::{Place, read, say};
use crate::databases::tls::certificates;
use crate::harness::sql_server::{Database, PASSWORD};
use crate::harness::{Bench, tcp::Accepted};

async fn open(place: &Place, server: &Server) -> Result<Stream, Fault> {
    let wanted = Wanted { tables: vec![super::all_of("t")] };
    Stream::open(place.pool(), server, &place.names, &wanted).await
}

#[tokio::test]
async fn a_server_s_certificate_is_checked_for_its_name() {
    let (ca, certificate, key) = certificates("localhost");
    let (other_ca, ..) = certificates("localhost");
    let place = Place::of(Database::postgres_with_tls_and(&certificate, &key, &["wal_level=logical"]).await).await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let by_name = place.db.url().replace("127.0.0.1", "localhost");
    let server = |url: &str, ca: Option<&str>, tls| Server {
        ca: ca.map(str::to_owned),
        tls: Some(tls),
        ..place.server_at(url.to_owned())
    };
    for (n, server) in [
        server(&by_name, Some(&ca), TlsMode::VerifyFull),
        server(&by_name, None, TlsMode::Require),
        server(&by_name, None, TlsMode::Disable),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = open(&place, &server).await.unwrap();
        say(&mut client, &format!("INSERT INTO t VALUES ({n})")).await;
        assert_eq!(read(&mut stream, 1).await.len(), 1);
        let encrypted = "pg_stat_ssl s JOIN pg_stat_replication r USING (pid) WHERE s.ssl";
        assert_eq!(place.db.count(encrypted).await, u64::from(n < 2));
    }
    for server in [
        server(&by_name, Some(&other_ca), TlsMode::VerifyFull),
        server(&by_name, None, TlsMode::VerifyFull),
        server(&place.db.url(), Some(&ca), TlsMode::VerifyFull),
    ] {
        // Not by way of the SQL client, which would be the first to refuse.
        let fault = place.pool().wire(&server).await.err().unwrap();
        assert!(fault.code == "EPROTO" && fault.retryable, "{fault:?}");
    }
    let plain = Database::postgres_with_log(&[]).await;
    let fault = place.pool().wire(&server(&plain.url(), None, TlsMode::Require)).await.err().unwrap();
    assert!(fault.code == "DB_REFUSED" && fault.message.contains("does not speak TLS"), "{fault:?}");
}

#[tokio::test]
async fn logins_by_scram_and_md5_are_done_and_a_password_in_clear_is_not_sent_in_the_open() {
    let (_, certificate, key) = certificates("localhost");
    let mut db = Database::postgres_with_tls_and(&certificate, &key, &["wal_level=logical"]).await;
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY); SET password_encryption = 'md5'; \
         CREATE ROLE old SUPERUSER LOGIN PASSWORD 'secret'; CREATE ROLE clear SUPERUSER LOGIN PASSWORD 'secret'",
    )
    .await;
    db.set_logins("host all owner all scram-sha-256\nhost all old all md5\nhost all clear all password\n");
    db.stop();
    db.start().await;
    let place = Place::of(db).await;
    let server =
        |user: &str, password: &str, tls| Server { tls: Some(tls), ..place.server_at(place.db.url_of(user, password)) };
    for server in [
        server("owner", PASSWORD, TlsMode::Disable),
        server("owner", PASSWORD, TlsMode::Require),
        server("old", "secret", TlsMode::Disable),
        server("clear", "secret", TlsMode::Require),
    ] {
        drop(open(&place, &server).await.unwrap());
    }
    for (server, code) in [
        (server("owner", "wrong", TlsMode::Disable), "DB_DENIED"),
        (server("old", "wrong", TlsMode::Disable), "DB_DENIED"),
    ] {
        let fault = open(&place, &server).await.err().unwrap();
        assert!(fault.code == code && !fault.retryable, "{fault:?}");
    }
    let fault = open(&place, &server("clear", "secret", TlsMode::Disable)).await.err().unwrap();
    assert!(!fault.message.contains("secret"), "{fault:?}");
}

#[tokio::test]
async fn the_guard_is_asked_first() {
    let inside = Accepted::count("127.0.0.1:0").await;
    let bench = Bench::guarded().await;
    let pool = &bench.services.resources.connections().sql;
    let server = Server {
        url: format!("postgres://u:p@127.0.0.1:{}/d", inside.port),
        ca: None,
        tls: None,
        statement_timeout: std::time::Duration::from_secs(1),
        max_connections: 1,
    };
    assert_eq!(pool.wire(&server).await.err().unwrap().code, "EGRESS_DENIED");
    let opened = Stream::open(pool, &server, &Names::of("a"), &Wanted::default()).await;
    assert_eq!(opened.err().unwrap().code, "EGRESS_DENIED");
    assert_eq!(inside.connections(), 0);
}
