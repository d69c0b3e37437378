//! `storage.*`: a real S3 server that checks signatures, folders of this machine, memory, and their faults.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use triggerd::resources::Error;

use crate::harness::http_server::HttpServer;
use crate::harness::s3_server::S3Server;
use crate::harness::{Bench, dead, done, retried, run};

async fn with_bucket(server: &S3Server) -> Bench {
    let bench = Bench::local().await;
    let mut settings = server.settings();
    settings["ca"] = server.authority.clone().map_or(Value::Null, Value::from);
    settings.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    bench.put("storages", "files", settings).await;
    bench
}

fn upload(path: &str, content: Value) -> Value {
    json!({"storage": "files", "path": path, "content": content})
}

#[tokio::test]
async fn objects_of_a_bucket_are_stored_copied_and_deleted() {
    let server = S3Server::start().await;
    let bench = with_bucket(&server).await;
    let stored = done(bench.run("storage.upload", upload("invoices/ä 1 %41+.txt", json!("hello"))).await);
    assert_eq!(stored["size"], 5);
    assert_eq!(stored["etag"], "5d41402abc4b2a76b9719d911017c592", "the MD5 of the content, without quotes");
    assert_eq!(server.object("acme/invoices/ä 1 %41+.txt").unwrap(), b"hello", "below the prefix, as it is written");
    done(bench.run("storage.upload", upload("doc.json", json!({"n": 12345678901234567890_u128}))).await);
    assert_eq!(server.object("acme/doc.json").unwrap(), br#"{"n":12345678901234567890}"#);
    let copy = json!({"storage": "files", "from": "invoices/ä 1 %41+.txt", "to": "archive/1.txt"});
    let copied = done(bench.run("storage.copy", copy).await);
    assert_eq!(copied["size"], 5);
    assert_eq!(server.object("acme/archive/1.txt").unwrap(), b"hello");
    let delete = json!({"storage": "files", "path": "archive/1.txt"});
    for _ in 0..2 {
        // A delivery that is tried again finds its work done.
        done(bench.run("storage.delete", delete.clone()).await);
    }
    assert_eq!(server.object("acme/archive/1.txt"), None);
    let check = bench.services.resources.check(&bench.tenant(), "storages", "files", "").await.unwrap();
    assert!(check.ok, "{}", check.detail);
}

#[tokio::test]
async fn an_object_carries_its_type_and_the_delivery_that_stored_it() {
    let server = S3Server::start().await;
    let bench = with_bucket(&server).await;
    let mut cx = bench.context();
    let pdf = b"%PDF-1.7 \xff\xfe";
    let event = std::sync::Arc::make_mut(&mut cx.event);
    event.record = json!({"file": {"data": STANDARD.encode(pdf), "safe": URL_SAFE_NO_PAD.encode(pdf)},
        "url": format!("data:image/png;base64,{}", STANDARD.encode(pdf)), "no": "!", "n": 5});
    let config = |field: &str| json!({"storage": "files", "path": "f", "dataField": field});
    for field in ["file.data", "record.file.data", "file.safe", "url"] {
        assert_eq!(done(run(&cx, "storage.upload", config(field)).await)["size"], pdf.len());
        assert_eq!(server.object("acme/f").unwrap(), pdf, "{field}");
        let kept = format!("{:?}", server.bookkeeping());
        assert!(kept.contains(&cx.delivery_id.to_string()), "{kept}");
    }
    assert!(format!("{:?}", server.bookkeeping()).contains("image/png"));
    let excerpt = cx.excerpt.lock().clone();
    assert_eq!(excerpt.request.unwrap()["size"], pdf.len());
    for field in ["no", "n", "absent", "record.absent"] {
        let failure = dead(run(&cx, "storage.upload", config(field)).await);
        assert_eq!(failure.code, "CONFIG_INVALID");
        assert!(failure.message.starts_with("/dataField: "), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_large_object_goes_up_in_parts() {
    let server = S3Server::start().await;
    let bench = with_bucket(&server).await;
    let text: String = (0..20 << 20).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
    let stored = done(bench.run("storage.upload", upload("large", json!(text))).await);
    assert_eq!(stored["size"], 20 << 20);
    assert!(stored["etag"].as_str().is_some());
    assert!(server.object("acme/large").unwrap() == text.as_bytes());
}

#[tokio::test]
async fn a_private_authority_is_named_in_the_settings_and_no_other_is_believed() {
    let server = S3Server::start_tls().await;
    let bench = with_bucket(&server).await;
    done(bench.run("storage.upload", upload("a", json!("over TLS"))).await);
    assert_eq!(server.object("acme/a").unwrap(), b"over TLS");
    bench.put("storages", "files", server.settings()).await;
    assert_eq!(retried(bench.run("storage.upload", upload("a", json!("x"))).await).code, "EPROTO");
    let mut other = server.settings();
    other["ca"] = "no PEM".into();
    bench.put("storages", "files", other).await;
    assert_eq!(dead(bench.run("storage.upload", upload("a", json!("x"))).await).code, "STORAGE_REFUSED");
}

#[tokio::test]
async fn refusals_are_for_good_and_outages_are_tried_again() {
    let server = S3Server::start().await;
    let bench = with_bucket(&server).await;
    let copy = json!({"storage": "files", "from": "absent", "to": "b"});
    assert_eq!(dead(bench.run("storage.copy", copy).await).code, "STORAGE_NOT_FOUND");
    let mut wrong = server.settings();
    wrong["secretAccessKey"] = "another-key-canary".into();
    bench.put("storages", "wrong", wrong).await;
    let mut to_wrong = upload("a", json!("x"));
    to_wrong["storage"] = "wrong".into();
    let failure = dead(bench.run("storage.upload", to_wrong).await);
    assert_eq!(failure.code, "STORAGE_REFUSED");
    assert!(failure.message.contains("SignatureDoesNotMatch"), "{}", failure.message);
    let check = bench.services.resources.check(&bench.tenant(), "storages", "wrong", "").await.unwrap();
    assert!(!check.ok && check.detail.contains("SignatureDoesNotMatch"), "{}", check.detail);
    let mut gone = server.settings();
    gone["bucket"] = "absent".into();
    bench.put("storages", "files", gone).await;
    let check = bench.services.resources.check(&bench.tenant(), "storages", "files", "").await.unwrap();
    assert!(!check.ok && check.detail.contains("NoSuchBucket"), "{}", check.detail);
    bench.put("storages", "files", server.settings()).await;
    server.stop();
    let failure = retried(bench.run("storage.upload", upload("a", json!("x"))).await);
    assert!(["ECONNREFUSED", "ECONNRESET"].contains(&failure.code.as_str()), "{}: {}", failure.code, failure.message);
}

#[tokio::test]
async fn answers_that_are_not_s3_s_end_every_attempt() {
    let bench = Bench::local().await;
    let slow_down = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>canary</Message></Error>";
    let late = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>";
    for (status, body, code, again) in [
        (503, slow_down, "STORAGE_UNAVAILABLE", true),
        (500, "", "STORAGE_UNAVAILABLE", true),
        (429, "", "STORAGE_UNAVAILABLE", true),
        (301, "", "STORAGE_REFUSED", false),
        (302, "", "STORAGE_REFUSED", false),
        (403, "", "STORAGE_REFUSED", false),
        (404, "<Error><Code>NoSuchBucket</Code></Error>", "STORAGE_REFUSED", false),
        (404, "<Error><Code>NoSuchKey</Code></Error>", "STORAGE_NOT_FOUND", false),
        (400, "<Error><Code>RequestTimeout</Code></Error>", "STORAGE_UNAVAILABLE", true),
        (200, late, "STORAGE_UNAVAILABLE", true),
    ] {
        let server = HttpServer::with_status(status, "location: http://127.0.0.1:1/\r\netag: \"x\"\r\n", body).await;
        let settings = json!({"bucket": "b", "endpoint": server.url("").trim_end_matches('/')});
        bench.put("storages", "files", settings).await;
        let outcome = bench.run("storage.copy", json!({"storage": "files", "from": "a", "to": "b"})).await;
        if again {
            let failure = retried(outcome);
            assert_eq!(failure.code, code, "{status}: {}", failure.message);
            assert!(!failure.message.contains("canary"));
        } else {
            assert_eq!(dead(outcome).code, code, "{status}");
        }
        assert!(server.connections() == 1, "no redirect is followed, and nothing is asked again by the client");
    }
    // It takes the request and never answers: the attempt ends with its timeout, and nothing is left of it.
    let silent = HttpServer::answering(Vec::new()).await;
    bench.put("storages", "files", json!({"bucket": "b", "endpoint": silent.url("").trim_end_matches('/')})).await;
    let began = Instant::now();
    let upload = bench.run("storage.upload", upload("a", json!("x")));
    let _ = tokio::time::timeout(Duration::from_secs(1), upload).await;
    assert!(began.elapsed() < Duration::from_millis(1500));
}

#[tokio::test]
async fn no_name_leads_out_of_the_prefix_and_the_place_is_told() {
    let server = S3Server::start().await;
    let bench = with_bucket(&server).await;
    for path in [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        "a\0b",
        "a\\b",
        "%2e%2e/x",
        "a/%2E%2E%2fx",
        "%252e%252e/x",
        "a\r\nb",
    ] {
        for (kind, config, place) in [
            ("storage.upload", upload(path, json!("x")), "/path: "),
            ("storage.delete", json!({"storage": "files", "path": path}), "/path: "),
            ("storage.copy", json!({"storage": "files", "from": path, "to": "x"}), "/from: "),
            ("storage.copy", json!({"storage": "files", "from": "x", "to": path}), "/to: "),
        ] {
            let failure = dead(bench.run(kind, config).await);
            assert_eq!(failure.code, "CONFIG_INVALID", "{kind} {path:?}");
            assert!(failure.message.starts_with(place), "{path:?}: {}", failure.message);
        }
    }
}

#[tokio::test]
async fn a_folder_is_the_tenant_s_and_the_storage_s_own() {
    let bench = Bench::local().await;
    bench.put("storages", "files", json!({"kind": "local", "prefix": "p"})).await;
    let stored = done(bench.run("storage.upload", upload("a/b.txt", json!("hello"))).await);
    assert_eq!(stored["size"], 5);
    let root = bench.data_dir().join("storage/acme/files");
    assert_eq!(std::fs::read(root.join("p/a/b.txt")).unwrap(), b"hello");
    let copied = done(bench.run("storage.copy", json!({"storage": "files", "from": "a/b.txt", "to": "c"})).await);
    assert_eq!(copied["size"], 5);
    let large = "x".repeat(9 << 20);
    done(bench.run("storage.upload", upload("c", json!(large))).await);
    assert_eq!(std::fs::metadata(root.join("p/c")).unwrap().len(), 9 << 20);
    for _ in 0..2 {
        done(bench.run("storage.delete", json!({"storage": "files", "path": "c"})).await);
    }
    assert!(!root.join("p/c").exists());
    // An object where a folder would have to be, a name that no file can have.
    for path in ["a/b.txt/c", "x".repeat(300).as_str()] {
        assert_eq!(dead(bench.run("storage.upload", upload(path, json!("x"))).await).code, "STORAGE_REFUSED");
    }
    let absent = json!({"storage": "files", "from": "absent", "to": "x"});
    assert_eq!(dead(bench.run("storage.copy", absent).await).code, "STORAGE_NOT_FOUND");
    let check = bench.services.resources.check(&bench.tenant(), "storages", "files", "").await.unwrap();
    assert!(check.ok, "{}", check.detail);
    assert!(!check.detail.contains('/'), "the operator's path is nobody's business: {}", check.detail);
    let left = walk(&bench.data_dir().join("storage"));
    assert_eq!(left, ["acme/files/p/a/b.txt"], "no staged file is left behind");
}

fn walk(root: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => found.push(entry.path().strip_prefix(root).unwrap().display().to_string()),
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_storage_in_memory_is_bounded_and_outlives_its_settings() {
    let bench = Bench::local().await;
    bench.put("storages", "files", json!({"kind": "memory", "maxBytes": 2048})).await;
    done(bench.run("storage.upload", upload("a", json!("x".repeat(1500)))).await);
    let failure = dead(bench.run("storage.upload", upload("b", json!("x".repeat(1000)))).await);
    assert_eq!(failure.code, "STORAGE_REFUSED");
    assert!(failure.message.contains("maxBytes"), "{}", failure.message);
    let copy = json!({"storage": "files", "from": "a", "to": "b"});
    assert_eq!(dead(bench.run("storage.copy", copy.clone()).await).code, "STORAGE_REFUSED");
    bench.put("storages", "files", json!({"kind": "memory", "maxBytes": 4096})).await;
    assert_eq!(done(bench.run("storage.copy", copy).await)["size"], 1500);
    for path in ["a", "b", "absent"] {
        done(bench.run("storage.delete", json!({"storage": "files", "path": path})).await);
    }
    done(bench.run("storage.upload", upload("c", json!("x".repeat(4096)))).await);
}

#[tokio::test]
async fn settings_are_checked_and_the_key_is_sealed() {
    let bench = Bench::local().await;
    let (resources, tenant) = (&bench.services.resources, bench.tenant());
    let places = async |settings| match resources.put(&tenant, "storages", "s", settings).await {
        Err(Error::Invalid(mistakes)) => mistakes.into_iter().map(|m| m.pointer).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(places(json!({"kind": "s3"})).await, ["/bucket"]);
    assert_eq!(places(json!({"kind": "ftp"})).await, ["/kind"]);
    assert_eq!(places(json!({"bucket": "b", "accessKeyId": "x"})).await, ["/secretAccessKey"]);
    assert_eq!(places(json!({"bucket": "b/c", "region": "a@b"})).await, ["/bucket", "/region"]);
    for endpoint in ["x", "ftp://h", "http://u:p@h", "http://h/path", "http://h/?q", "http://h/#f", "file:///x"] {
        assert_eq!(places(json!({"bucket": "b", "endpoint": endpoint})).await, ["/endpoint"], "{endpoint}");
    }
    assert_eq!(places(json!({"kind": "local", "bucket": "b", "maxBytes": 5000})).await, ["/bucket", "/maxBytes"]);
    assert_eq!(places(json!({"kind": "local", "prefix": "../other"})).await, ["/prefix"]);
    assert_eq!(places(json!({"kind": "local", "folder": "/etc"})).await, ["/folder"]);
    let written = json!({"bucket": "b", "accessKeyId": "id", "secretAccessKey": "s3-canary"});
    let (shown, _) = resources.put(&tenant, "storages", "s", written).await.unwrap();
    assert!(
        !shown.settings.to_string().contains("s3-canary") && shown.settings["secretAccessKey"]["sealed"].is_string()
    );
    assert!(!format!("{:?}", bench.services.store.resources_all().await.unwrap()).contains("s3-canary"));
    let absent = dead(bench.run("storage.upload", upload("a", json!("x"))).await);
    assert_eq!(absent.code, "RESOURCE_NOT_FOUND");
    assert!(absent.message.contains("storage `files`"), "{}", absent.message);
}
