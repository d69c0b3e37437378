//! What a call of a small guest costs, with a fresh instance each: the bar is a median below 60 µs.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]

#[path = "../tests/wasm_host/guests.rs"]
mod guests;
#[path = "../tests/wasm_host/harness.rs"]
mod harness;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::json;
use triggerd::wasm::digest;

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LOG: &str = r#"(import "triggerd:runtime/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32 i32)))"#;
const STATE: &str = r#"(import "triggerd:runtime/state@0.1.0" "get" (func $get (param i32 i32 i32)))"#;

fn calls(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let with_log = format!(
        "(call $log (i32.const 2) (i32.const 0) (i32.const 64) (i32.const 0) (i32.const 0) (i32.const 0)) {}",
        guests::ECHO
    );
    let with_state = format!("(call $get (i32.const 0) (i32.const 3) (i32.const 4096)) {}", guests::ECHO);
    let mut group = c.benchmark_group("call");
    for (name, guest) in [
        ("echo", guests::action("", guests::ECHO)),
        ("one log line", guests::action(LOG, &with_log)),
        ("one asynchronous import", guests::action(STATE, &with_state)),
    ] {
        let host = runtime.block_on(async { harness::Try::new().granting(json!({"state": true})) });
        let prepared = runtime.block_on(host.host.prepare(&digest(&guest), &guest)).unwrap();
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.to_async(&runtime).iter(|| async {
                let report = host.host.call(&prepared, host.call()).await;
                assert!(report.result.is_ok(), "{:?}", report.result);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
