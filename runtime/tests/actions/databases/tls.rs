//! Encrypted connections: the certificate is checked for the host's real name, through the tunnel.

use serde_json::json;

use crate::harness::sql_server::Database;
use crate::harness::{Bench, done, retried};

/// An authority, and a server's certificate and key for `name`.
pub fn certificates(name: &str) -> (String, String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();
    (authority.pem(), server.pem(), server_key.serialize_pem())
}

#[tokio::test]
async fn a_server_s_certificate_is_checked_for_its_name() {
    let (ca, certificate, key) = certificates("localhost");
    let (other_ca, ..) = certificates("localhost");
    let db = Database::postgres_with_tls(&certificate, &key).await;
    let bench = Bench::local().await;
    db.run("CREATE TABLE t (id serial PRIMARY KEY)").await;
    let by_name = db.url().replace("127.0.0.1", "localhost");
    let insert = json!({"database": "db", "table": "t", "values": {}});
    for settings in [
        json!({"url": by_name, "ca": ca, "tls": "verify-full"}),
        json!({"url": format!("{by_name}?sslmode=verify-full"), "ca": ca}),
        json!({"url": by_name, "tls": "require"}),
        json!({"url": by_name}),
    ] {
        bench.put("databases", "db", settings.clone()).await;
        done(bench.run("database.insert", insert.clone()).await);
    }
    for settings in [
        json!({"url": by_name, "ca": other_ca, "tls": "verify-full"}),
        json!({"url": by_name, "tls": "verify-full"}),
        json!({"url": db.url(), "ca": ca, "tls": "verify-full"}),
    ] {
        bench.put("databases", "db", settings.clone()).await;
        let failure = retried(bench.run("database.insert", insert.clone()).await);
        assert!(["EPROTO", "DB_UNAVAILABLE"].contains(&failure.code.as_str()), "{failure:?}");
    }
    let encrypted = "pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'triggerd' AND s.ssl";
    assert!(db.count(encrypted).await >= 2, "the connections that are kept are encrypted");
}
