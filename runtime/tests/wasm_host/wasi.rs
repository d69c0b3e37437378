//! WASI 0.2 as guests find it: standard streams are logged, and `wasi:http` goes where `http` goes.

use serde_json::json;
use triggerd::wasm::*;

use crate::guests::{module, with_wit};
use crate::harness::Try;

const IO: &str = r#"
package wasi:io@0.2.0;
interface error { resource error; }
interface poll { resource pollable { block: func(); } }
interface streams {
  use error.{error};
  variant stream-error { last-operation-failed(error), closed }
  resource output-stream {
    blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
  }
}"#;

const CLI: &str = r#"
package wasi:cli@0.2.0;
interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
interface stderr { use wasi:io/streams@0.2.0.{output-stream}; get-stderr: func() -> output-stream; }"#;

/// As much of the package as a guest needs that sends a request and waits for its end.
const HTTP: &str = r#"
package wasi:http@0.2.0;
interface types {
  use wasi:io/poll@0.2.0.{pollable};
  record DNS-error-payload { rcode: option<string>, info-code: option<u16> }
  record TLS-alert-received-payload { alert-id: option<u8>, alert-message: option<string> }
  record field-size-payload { field-name: option<string>, field-size: option<u32> }
  variant error-code {
    DNS-timeout, DNS-error(DNS-error-payload), destination-not-found, destination-unavailable,
    destination-IP-prohibited, destination-IP-unroutable, connection-refused, connection-terminated,
    connection-timeout, connection-read-timeout, connection-write-timeout, connection-limit-reached,
    TLS-protocol-error, TLS-certificate-error, TLS-alert-received(TLS-alert-received-payload),
    HTTP-request-denied, HTTP-request-length-required, HTTP-request-body-size(option<u64>),
    HTTP-request-method-invalid, HTTP-request-URI-invalid, HTTP-request-URI-too-long,
    HTTP-request-header-section-size(option<u32>), HTTP-request-header-size(option<field-size-payload>),
    HTTP-request-trailer-section-size(option<u32>), HTTP-request-trailer-size(field-size-payload),
    HTTP-response-incomplete, HTTP-response-header-section-size(option<u32>),
    HTTP-response-header-size(field-size-payload), HTTP-response-body-size(option<u64>),
    HTTP-response-trailer-section-size(option<u32>), HTTP-response-trailer-size(field-size-payload),
    HTTP-response-transfer-coding(option<string>), HTTP-response-content-coding(option<string>),
    HTTP-response-timeout, HTTP-upgrade-failed, HTTP-protocol-error, loop-detected, configuration-error,
    internal-error(option<string>),
  }
  resource fields { constructor(); }
  resource request-options { constructor(); }
  resource outgoing-request {
    constructor(headers: fields);
    set-authority: func(authority: option<string>) -> result;
    set-path-with-query: func(path: option<string>) -> result;
  }
  resource future-incoming-response { subscribe: func() -> pollable; }
}
interface outgoing-handler {
  use types.{outgoing-request, request-options, future-incoming-response, error-code};
  handle: func(request: outgoing-request, options: option<request-options>)
    -> result<future-incoming-response, error-code>;
}"#;

fn guest(imports: &str, rest: &str, world: &str) -> Vec<u8> {
    let world = format!("package test:guest; world w {{ {world} export triggerd:runtime/run@0.1.0; }}");
    with_wit(module(imports, "2", rest), &[IO, CLI, HTTP, &world], "test:guest/w")
}

#[tokio::test]
async fn standard_streams_are_logged_line_by_line() {
    let printing = guest(
        r#"(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
           (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
           (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
             (func $write (param i32 i32 i32 i32)))"#,
        r#"(data (i32.const 1024) "one\0atwo\0athree")
           (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32)
             (call $write (call $stdout) (i32.const 1024) (i32.const 6) (i32.const 4096))
             (call $write (call $stderr) (i32.const 1032) (i32.const 5) (i32.const 4096))
             (call $write (call $stdout) (i32.const 1030) (i32.const 2) (i32.const 4096))
             (i32.store8 (i32.const 2048) (i32.const 49))
             (call $ok (i32.const 2048) (i32.const 1)))"#,
        "import wasi:cli/stdout@0.2.0; import wasi:cli/stderr@0.2.0; import wasi:io/streams@0.2.0;",
    );
    let report = Try::new().run(&printing).await;
    assert!(report.result.is_ok(), "{:?}", report.result);
    let lines: Vec<_> = report.logs.iter().map(|l| (l.level.as_str(), l.message.as_str())).collect();
    assert_eq!(lines, [("info", "one"), ("info", "two"), ("warn", "three")]);
}

/// Sends `GET https://AUTHORITY/` through `wasi:http`, waits for the end and answers.
fn fetches(authority: &str) -> Vec<u8> {
    let rest = format!(
        r#"(data (i32.const 1000) "/") (data (i32.const 1024) "{authority}")
           (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32)
             (local $request i32)
             (local.set $request (call $request (call $fields)))
             (drop (call $authority (local.get $request) (i32.const 1) (i32.const 1024) (i32.const {})))
             (drop (call $path (local.get $request) (i32.const 1) (i32.const 1000) (i32.const 1)))
             (call $handle (local.get $request) (i32.const 0) (i32.const 0) (i32.const 4096))
             (if (i32.load8_u (i32.const 4096)) (then unreachable))
             (call $block (call $subscribe (i32.load (i32.const 4104))))
             (i32.store8 (i32.const 2048) (i32.const 49))
             (call $ok (i32.const 2048) (i32.const 1)))"#,
        authority.len()
    );
    guest(
        r#"(import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
           (import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
           (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
             (func $authority (param i32 i32 i32 i32) (result i32)))
           (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
             (func $path (param i32 i32 i32 i32) (result i32)))
           (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
             (func $subscribe (param i32) (result i32)))
           (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
           (import "wasi:http/outgoing-handler@0.2.0" "handle" (func $handle (param i32 i32 i32 i32)))"#,
        &rest,
        "import wasi:http/types@0.2.0; import wasi:http/outgoing-handler@0.2.0;",
    )
}

fn with_wasi_http() -> Try {
    let mut with = Try::new();
    with.host = Host::new(HostConfig { guests: 8, threads: 2, wasi_http: true, ..HostConfig::default() }).unwrap();
    with.granting(json!({"http": ["a.example"]}))
}

#[tokio::test]
async fn a_granted_request_through_wasi_http_reaches_the_services() {
    let with = with_wasi_http();
    let report = with.run(&fetches("a.example")).await;
    assert_eq!(report.result, Ok(GuestAnswer::Json(json!(1))));
    assert_eq!(with.asked(), ["GET https://a.example/"]);
}

#[tokio::test]
async fn a_request_through_wasi_http_without_a_grant_ends_forbidden_and_is_not_sent() {
    let with = with_wasi_http();
    let (code, message) = with.fails(&fetches("b.example")).await;
    assert_eq!(code, "WASM_FORBIDDEN");
    assert!(message.contains("b.example"), "{message}");
    assert!(with.asked().is_empty());
}

#[tokio::test]
async fn wasi_http_is_refused_at_upload_where_the_operator_did_not_turn_it_on() {
    let refusal = Try::new().host.inspect(fetches("a.example")).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::UnknownImport);
    assert!(refusal.message.contains("wasi:http/"), "{refusal}");
}
