//! What is taken at upload, and what is refused with which reason.

use triggerd::wasm::*;

use crate::guests::{ECHO, action, module, says, with_wit};
use crate::harness::{Try, host};

async fn refused(upload: Vec<u8>) -> (RefusalCode, String) {
    let refusal = host().inspect(upload).await.unwrap_err();
    (refusal.code, refusal.message)
}

#[tokio::test]
async fn a_core_module_with_its_component_type_becomes_a_component() {
    let upload = action("", ECHO);
    let host = Try::new();
    let inspected = host.host.inspect(upload.clone()).await.unwrap();
    assert_eq!(inspected.worlds, ["action"]);
    assert_eq!(inspected.digest, digest(&upload));
    assert_eq!(inspected.size, upload.len());
    assert_eq!(inspected.imports, ["triggerd:runtime/types@0.1.0"]);
    assert_eq!(inspected.exports, ["triggerd:runtime/run@0.1.0"]);
    // Either form can be run under the upload's digest.
    let prepared = host.host.prepare(&inspected.digest, &inspected.component_bytes).await.unwrap();
    assert!(host.host.call(&prepared, host.call()).await.result.is_ok());
    assert!(host.run(&inspected.component_bytes).await.result.is_ok());
}

#[tokio::test]
async fn bytes_that_are_no_wasm_are_refused() {
    for bytes in [&b""[..], b"hello", b"\0asm", b"\0asm\x01\0\0\0\xff\xff"] {
        assert_eq!(refused(bytes.to_vec()).await.0, RefusalCode::NotWasm, "{bytes:?}");
    }
}

#[tokio::test]
async fn damage_anywhere_is_refused() {
    let whole = host().inspect(says("1")).await.unwrap().component_bytes;
    let mut longer = whole.clone();
    longer.extend_from_slice(b"garbage");
    assert_eq!(refused(longer).await.0, RefusalCode::NotWasm);
    for cut in [9, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let (code, message) = refused(whole[..cut].to_vec()).await;
        assert_ne!(code, RefusalCode::Internal, "{message}");
    }
    for place in (8..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[place] ^= 0x55;
        if let Err(refusal) = host_shared().inspect(flipped).await {
            assert_ne!(refusal.code, RefusalCode::Internal, "{place}: {refusal}");
        }
    }
}

fn host_shared() -> &'static Host {
    static HOST: std::sync::OnceLock<Host> = std::sync::OnceLock::new();
    HOST.get_or_init(host)
}

#[tokio::test]
async fn too_many_bytes_are_refused_before_they_are_looked_at() {
    assert_eq!(refused(vec![0; MAX_UPLOAD_BYTES + 1]).await.0, RefusalCode::TooLarge);
}

#[tokio::test]
async fn a_module_without_a_known_world_is_refused() {
    let (code, message) = refused(module("", "1", "")).await;
    assert_eq!(code, RefusalCode::NoWorld, "{message}");
    assert!(message.contains("triggerd:runtime/run@0.1.0"), "{message}");
}

#[tokio::test]
async fn unknown_imports_are_named() {
    let world =
        |import: &str| format!("package test:guest; world w {{ import {import}; export triggerd:runtime/run@0.1.0; }}");
    let run = r#"(func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32) unreachable)"#;
    for (package, interface) in [
        ("package evil:host@1.0.0; interface exec { run: func(); }", "evil:host/exec@1.0.0"),
        ("package wasi:exec@0.3.0; interface exec { run: func(); }", "wasi:exec/exec@0.3.0"),
        ("package wasi:exec@0.2.0; interface exec { run: func(); }", "wasi:exec/exec@0.2.0"),
        ("package wasi:http@0.2.0; interface outgoing-handler { run: func(); }", "wasi:http/outgoing-handler@0.2.0"),
    ] {
        let import = format!(r#"(import "{interface}" "run" (func))"#);
        let guest = with_wit(module(&import, "2", run), &[package, &world(interface)], "test:guest/w");
        let (code, message) = refused(guest).await;
        assert_eq!(code, RefusalCode::UnknownImport, "{message}");
        assert!(message.contains(interface), "{message}");
    }
}

#[tokio::test]
async fn old_wasi_is_refused_with_the_way_out() {
    let import = r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#;
    let (code, message) = refused(action(import, ECHO)).await;
    assert_eq!(code, RefusalCode::UnknownImport);
    assert!(message.contains("wasi_snapshot_preview1") && message.contains("wasm32-wasip2"), "{message}");
}

#[tokio::test]
async fn proposals_that_are_off_are_refused() {
    for rest in [
        r#"(memory $second 1) (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32) unreachable)"#,
        r#"(type $s (struct)) (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32) unreachable)"#,
        r#"(tag $t) (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32) (throw $t))"#,
    ] {
        let guest = crate::guests::with_world(module("", "2", rest), "triggerd:runtime/action");
        assert_eq!(refused(guest).await.0, RefusalCode::Invalid, "{rest}");
    }
}

#[tokio::test]
async fn a_function_that_would_take_too_long_to_compile_is_refused() {
    let body = format!("{} unreachable", "(drop (i32.add (i32.const 1) (i32.const 2)))".repeat(500_000));
    assert_eq!(refused(action("", &body)).await.0, RefusalCode::CompileBudget);
}

#[tokio::test]
async fn an_export_of_the_right_name_and_the_wrong_types_is_refused() {
    let other = r#"
        package other:runtime@0.1.0;
        interface run { run: func(event: string) -> string; }
        world w { export run; }"#;
    let run = r#"(func (export "other:runtime/run@0.1.0#run") (param i32 i32) (result i32) unreachable)"#;
    let renamed = crate::guests::renamed_world(run, other);
    let (code, message) = refused(renamed).await;
    assert_eq!(code, RefusalCode::NoWorld, "{message}");
    assert!(message.contains("types"), "{message}");
}
