//! Hostile guests: each ends with its code, within its bounds, and nobody else notices.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use triggerd::wasm::*;

use crate::guests::{action, module, says, with_world};
use crate::harness::Try;

const LOG: &str = r#"(import "triggerd:runtime/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32 i32)))"#;
const FOREVER: &str = "(loop $again (br $again)) unreachable";

#[tokio::test]
async fn an_endless_loop_ends_when_its_cpu_time_is_used() {
    let host = Try::new().within(|limits| limits.cpu = Duration::from_millis(100));
    let report = host.run(&action("", FOREVER)).await;
    assert_eq!(report.result.unwrap_err().code, "WASM_TIMEOUT");
    assert!(report.cpu >= Duration::from_millis(100) && report.cpu < Duration::from_millis(200), "{:?}", report.cpu);
}

#[tokio::test]
async fn a_condition_has_ten_milliseconds() {
    let export =
        format!(r#"(func (export "triggerd:runtime/matches@0.1.0#matches") (param i32) (result i32) {FOREVER})"#);
    let guest = with_world(module("", "2", &export), "triggerd:runtime/condition");
    let host = Try::new().exporting(Export::Matches).within(|limits| *limits = Limits::condition());
    let report = host.run(&guest).await;
    assert_eq!(report.result.unwrap_err().code, "WASM_TIMEOUT");
    assert!(report.cpu < Duration::from_millis(60), "{:?}", report.cpu);
}

#[tokio::test]
async fn an_endless_loop_before_the_call_ends_too() {
    let export = r#"(start $spin) (func $spin (loop $again (br $again)))
      (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32) unreachable)"#;
    let guest = with_world(module("", "2", export), "triggerd:runtime/action");
    let host = Try::new().within(|limits| limits.cpu = Duration::from_millis(50));
    assert_eq!(host.fails(&guest).await.0, "WASM_TIMEOUT");
}

#[tokio::test]
async fn memory_copies_in_a_loop_end_soon_after_their_time() {
    let body = "(loop $again (memory.copy (i32.const 0) (i32.const 0) (i32.const 131072)) (br $again)) unreachable";
    let host = Try::new().within(|limits| limits.cpu = Duration::from_millis(50));
    let report = host.run(&action("", body)).await;
    assert_eq!(report.result.unwrap_err().code, "WASM_TIMEOUT");
    assert!(report.cpu < Duration::from_millis(150), "{:?}", report.cpu);
}

#[tokio::test]
async fn growing_memory_ends_at_the_limit() {
    let body = "(loop $again (drop (memory.grow (i32.const 16))) (br $again)) unreachable";
    let report = Try::new().run(&action("", body)).await;
    let error = report.result.unwrap_err();
    assert_eq!(error.code, "WASM_MEMORY");
    assert!(error.message.contains("limit is 67108864"), "{}", error.message);
    assert!(report.memory_peak <= 64 << 20 && report.memory_peak > 60 << 20, "{}", report.memory_peak);
}

#[tokio::test]
async fn a_memory_that_starts_over_the_limit_ends_the_call() {
    let run = r#"(func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32) unreachable)"#;
    let guest = with_world(module("", "1025", run), "triggerd:runtime/action");
    assert_eq!(Try::new().fails(&guest).await.0, "WASM_MEMORY");
}

#[tokio::test]
async fn a_memory_that_no_limit_allows_is_refused_at_upload() {
    let run = r#"(func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32) unreachable)"#;
    let guest = with_world(module("", "65536", run), "triggerd:runtime/action");
    assert_eq!(Try::new().host.inspect(guest).await.unwrap_err().code, RefusalCode::Invalid);
}

#[tokio::test]
async fn growing_a_table_ends_at_the_limit() {
    let rest = r#"(table $t 1 funcref)
      (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32)
        (loop $again (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $again)) unreachable)"#;
    let guest = with_world(module("", "2", rest), "triggerd:runtime/action");
    assert_eq!(Try::new().fails(&guest).await.0, "WASM_MEMORY");
}

#[tokio::test]
async fn a_trap_shows_the_guests_own_functions() {
    let rest = r#"(func $inner unreachable) (func $outer (call $inner))
      (func $entry (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32) (call $outer) unreachable)"#;
    let guest = with_world(module("", "2", rest), "triggerd:runtime/action");
    let (code, message) = Try::new().fails(&guest).await;
    assert_eq!(code, "WASM_TRAP");
    let (inner, outer) = (message.find("!inner"), message.find("!outer"));
    assert!(message.contains("unreachable") && inner.is_some() && inner < outer, "{message}");
}

#[tokio::test]
async fn endless_recursion_is_a_trap_with_a_bounded_backtrace() {
    let host = Try::new();
    let (code, message) = host.fails(&action("", "(call $run (local.get $invocation))")).await;
    assert_eq!(code, "WASM_TRAP");
    assert!(message.contains("stack") && message.lines().count() <= 21, "{message}");
    assert!(host.run(&says("1")).await.result.is_ok());
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_counted() {
    let body = r#"(local $left i32) (local.set $left (i32.const 9000))
      (loop $again
        (call $log (i32.const 2) (i32.const 0) (i32.const 4096) (i32.const 0) (i32.const 0) (i32.const 0))
        (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (i32.store8 (i32.const 2048) (i32.const 49))
      (call $ok (i32.const 2048) (i32.const 1))"#;
    let report = Try::new().run(&action(LOG, body)).await;
    assert!(report.result.is_ok(), "{:?}", report.result);
    assert_eq!(report.logs.len() as u64 + report.logs_dropped, 9000);
    assert_eq!(report.logs.len(), (256 << 10) / 4096);
}

#[tokio::test]
async fn a_flood_of_host_calls_ends_the_guest() {
    let body = r#"(loop $again
        (call $log (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)) (br $again))
      unreachable"#;
    let (code, message) = Try::new().fails(&action(LOG, body)).await;
    assert_eq!(code, "WASM_TRAP");
    assert!(message.contains("10000 calls"), "{message}");
}

#[tokio::test]
async fn a_huge_argument_ends_the_guest_without_being_copied() {
    let body = r#"(drop (memory.grow (i32.const 900)))
      (call $log (i32.const 2) (i32.const 0) (i32.const 50000000) (i32.const 0) (i32.const 0) (i32.const 0)) unreachable"#;
    let (code, message) = Try::new().fails(&action(LOG, body)).await;
    assert_eq!(code, "WASM_TRAP", "{message}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_no_trap() {
    for (text, length) in [(0, 100_000_000), (0, 0x7fff_ffff), (-1_i32 as u32, 5)] {
        let (code, message) =
            Try::new().fails(&action("", &format!("(call $ok (i32.const {text}) (i32.const {length}))"))).await;
        assert_eq!(code, "WASM_RESULT", "{message}");
    }
    let no_utf8 = "(i32.store8 (i32.const 1024) (i32.const 0xff)) (call $ok (i32.const 1024) (i32.const 1))";
    assert_eq!(Try::new().fails(&action("", no_utf8)).await.0, "WASM_RESULT");
    let grown = "(drop (memory.grow (i32.const 900))) (call $ok (i32.const 0) (i32.const 50000000))";
    assert_eq!(Try::new().fails(&action("", grown)).await.0, "WASM_RESULT");
    let misaligned = "(i32.const 17)";
    assert_eq!(Try::new().fails(&action("", misaligned)).await.0, "WASM_RESULT");
}

#[tokio::test]
async fn loops_on_every_thread_do_not_hold_up_a_small_guest() {
    let host = Arc::new(Try::new());
    let (spin, small) = (action("", FOREVER), says("1"));
    let prepared = host.host.prepare(&digest(&spin), &spin).await.unwrap();
    host.run(&small).await.result.unwrap();
    let mut spinning = Vec::new();
    for _ in 0..4 {
        let (host, prepared) = (Arc::clone(&host), Arc::clone(&prepared));
        spinning.push(tokio::spawn(async move { host.host.call(&prepared, host.call()).await }));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    host.run(&small).await.result.unwrap();
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
    for spun in spinning {
        assert_eq!(spun.await.unwrap().result.unwrap_err().code, "WASM_TIMEOUT");
    }
}

const STATE: &str = r#"(import "triggerd:runtime/state@0.1.0" "get" (func $get (param i32 i32 i32)))"#;

fn asks_for(key: &str) -> Vec<u8> {
    let rest = format!(
        r#"(data (i32.const 1024) "{key}1")
           (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32)
             (call $get (i32.const 1024) (i32.const {0}) (i32.const 4096))
             (i32.store8 (i32.const 2048) (i32.add (i32.const 48) (i32.load8_u (i32.const 4096))))
             (call $ok (i32.const 2048) (i32.const 1)))"#,
        key.len()
    );
    with_world(module(STATE, "2", &rest), "triggerd:runtime/action")
}

#[tokio::test]
async fn a_host_call_that_never_ends_ends_with_the_wall_clock() {
    let host = Try::new().granting(json!({"state": true})).within(|limits| limits.wall = Duration::from_millis(200));
    let began = Instant::now();
    assert_eq!(host.fails(&asks_for("never")).await.0, "WASM_TIMEOUT");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn waiting_for_a_host_call_is_no_cpu_time() {
    let host = Try::new().granting(json!({"state": true})).within(|limits| limits.cpu = Duration::from_millis(40));
    let report = host.run(&asks_for("slow")).await;
    assert_eq!(report.result, Ok(GuestAnswer::Json(json!(0))));
    assert!(report.duration >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_service_that_panics_is_an_error_of_that_import_alone() {
    let host = Try::new().granting(json!({"state": true}));
    assert_eq!(host.run(&asks_for("panic")).await.result, Ok(GuestAnswer::Json(json!(1))));
    assert_eq!(host.run(&asks_for("key")).await.result, Ok(GuestAnswer::Json(json!(0))));
}

#[tokio::test]
async fn calls_dropped_anywhere_give_their_slot_back() {
    let host = Try::new().granting(json!({"state": true}));
    let (never, spin) = (asks_for("never"), action("", FOREVER));
    for round in 0..100_u64 {
        let guest = if round % 2 == 0 { &never } else { &spin };
        let dropped = tokio::time::timeout(Duration::from_micros(round * 50), host.run(guest)).await;
        assert!(dropped.is_err());
    }
    for _ in 0..20 {
        assert!(host.run(&says("1")).await.result.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_hostile_guests_harms_no_good_one() {
    let host = Arc::new(Try::new().within(|limits| limits.cpu = Duration::from_millis(30)));
    let grow = "(loop $again (drop (memory.grow (i32.const 16))) (br $again)) unreachable";
    let guests = [
        (action("", FOREVER), Some("WASM_TIMEOUT")),
        (action("", grow), Some("WASM_MEMORY")),
        (action("", "unreachable"), Some("WASM_TRAP")),
        (action("", "(call $run (local.get $invocation))"), Some("WASM_TRAP")),
        (says("1"), None),
    ];
    let mut prepared = Vec::new();
    for (guest, code) in &guests {
        let guest = host.host.prepare(&digest(guest), guest).await.unwrap();
        prepared.push((guest, *code));
    }
    let mut calls = Vec::new();
    for round in 0..200 {
        let (host, (guest, code)) = (Arc::clone(&host), prepared[round % guests.len()].clone());
        let call = async move { (host.host.call(&guest, host.call()).await.result, code) };
        calls.push(tokio::spawn(call));
    }
    for call in calls {
        let (result, code) = call.await.unwrap();
        assert_eq!(result.err().map(|error| error.code).as_deref(), code);
    }
}
