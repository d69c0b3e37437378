//! What many definitions take: memory and time of compiling them and of putting them into the index. Plain numbers:
//! `cargo bench --bench footprint` (`BENCH_TRIGGERS` says how many there are, 100,000 without it).
#![allow(clippy::unwrap_used, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use triggerd_core::compile::compile;
use triggerd_core::id::TenantId;
use triggerd_core::index::Index;

#[path = "../tests/catalog/mod.rs"]
mod catalog;

static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn definition(i: usize) -> Value {
    json!({
        "tag": format!("large-order-{i}"), "tables": ["orders"], "events": ["afterInsert"],
        "condition": {"and": [
            {"field": "record.customer_id", "operator": "EQUALS", "value": i},
            {"field": "record.total", "operator": "GREATER_THAN", "value": 100},
        ]},
        "actions": [{"name": "tell", "type": "http.post", "config": {
            "url": "https://hooks.example.com/orders/{{record.id}}", "headers": {"x-customer": "{{record.customer_id}}"},
            "body": {"id": "{{record.id}}", "total": "{{record.total}}", "text": "order {{record.id}} of {{record.customer_id}}"},
        }}],
    })
}

fn main() {
    let count: usize = std::env::var("BENCH_TRIGGERS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let tenants: Vec<_> = (0..1_000).map(|n| TenantId::new(&format!("tenant-{n}"))).collect();
    let texts: Vec<String> = (0..count).map(|i| definition(i).to_string()).collect();
    println!("{count} definitions of {} bytes", texts[0].len());
    let (before, began) = (LIVE.load(Ordering::Relaxed), Instant::now());
    let sources: Vec<Value> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    report("reading the JSON", count, before, began);
    let (before, began) = (LIVE.load(Ordering::Relaxed), Instant::now());
    let triggers: Vec<_> = sources.iter().map(|source| Arc::new(compile(source, 1, &catalog::Few).unwrap())).collect();
    report("compiling", count, before, began);
    let (before, began) = (LIVE.load(Ordering::Relaxed), Instant::now());
    let one = TenantId::new("one");
    let index = triggers.iter().fold(Index::default(), |index, trigger| index.with(&one, Arc::clone(trigger)));
    report("indexing, one tenant", count, before, began);
    drop(index);
    let (before, began) = (LIVE.load(Ordering::Relaxed), Instant::now());
    let each = triggers.iter().zip(tenants.iter().cycle());
    let index = each.fold(Index::default(), |index, (trigger, tenant)| index.with(tenant, Arc::clone(trigger)));
    report("indexing, 1,000 tenants", count, before, began);
    drop(index);
}

fn report(what: &str, count: usize, before: usize, began: Instant) {
    let each = began.elapsed().as_secs_f64() * 1e6 / count as f64;
    let bytes = (LIVE.load(Ordering::Relaxed) - before) / count;
    println!("{what:<26} {each:>7.2} us {bytes:>6} bytes each");
}
