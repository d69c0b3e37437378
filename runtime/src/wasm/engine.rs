//! The one engine of the process: what guests may be made of, the pool they are made from, the clock that interrupts them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig, Strategy};

/// The time between two epochs: how soon a running guest is looked at.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Core instances of one component: engines of scripting languages bring some ten.
pub(super) const MAX_INSTANCES: usize = 32;
/// Linear memories of one component.
pub(super) const MAX_MEMORIES: usize = 4;
/// Tables of one component.
pub(super) const MAX_TABLES: usize = 8;
/// Elements of one table: a JavaScript engine alone has more than 10,000 functions in one.
pub(super) const MAX_TABLE_ELEMENTS: usize = 20_000;

/// Bytes of a stack that are overwritten in place after a call: what small guests and the host functions they call use.
const STACK_KEPT: usize = 32 << 10;
/// Bytes of written pages that a memory keeps; what goes beyond is given back to the system.
const MEMORY_KEPT: usize = 2 << 20;
/// The same of a table.
const TABLE_KEPT: usize = 64 << 10;

/// The engine for so many guests at once, each with at most so much memory.
pub(super) fn engine(guests: u32, memory_bytes: usize) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        // What a guest's stack leaves is all that host functions get.
        .async_stack_size(2 << 20)
        .async_stack_zeroing(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .memory_init_cow(true)
        // Only what ordinary toolchains emit: every proposal beyond it is attack surface. Component-model async is not
        // even compiled in, nor are memory protection keys.
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_threads(false)
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_stack_switching(false)
        .wasm_relaxed_simd(false)
        .concurrency_support(false)
        .allocation_strategy(pool(guests, memory_bytes));
    Engine::new(&config)
}

fn pool(guests: u32, memory_bytes: usize) -> PoolingAllocationConfig {
    // Dropping an instance gives its slot back a moment after its call has ended.
    let slots = guests + guests.div_ceil(10);
    let per_guest = |count: usize| slots.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(per_guest(MAX_INSTANCES))
        .total_core_instances(per_guest(MAX_INSTANCES))
        // Almost every guest has one memory and one or two tables. Address space is reserved for each (4 GiB and a
        // guard for a memory), so the pool is a few times the usual need, not the product of all maxima.
        .total_memories(slots.saturating_mul(2))
        .total_tables(slots.saturating_mul(4))
        .total_stacks(slots)
        .total_gc_heaps(slots)
        .max_core_instances_per_component(MAX_INSTANCES as u32)
        .max_memories_per_component(MAX_MEMORIES as u32)
        .max_tables_per_component(MAX_TABLES as u32)
        .max_memory_size(memory_bytes)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_core_instance_size(1 << 20)
        .max_component_instance_size(1 << 20)
        .async_stack_keep_resident(STACK_KEPT);
    // What a guest wrote is always reset before the next one has it. Where the kernel can tell which pages those are, they
    // are overwritten in place; else they are given back, which costs every thread of the process a flush of its
    // address translations.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(MEMORY_KEPT).table_keep_resident(TABLE_KEPT);
    }
    pool
}

/// Counts the engine's epochs up for as long as it is held.
pub(super) struct Ticker(#[allow(dead_code, reason = "dropping it stops the thread")] Arc<AtomicBool>);

impl Ticker {
    /// Starts the thread.
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let alive = Arc::new(AtomicBool::new(true));
        let (engine, held): (_, Weak<AtomicBool>) = (engine.weak(), Arc::downgrade(&alive));
        std::thread::Builder::new().name("guest-epochs".into()).spawn(move || {
            while held.upgrade().is_some_and(|alive| alive.load(Ordering::Relaxed)) {
                std::thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else {
                    break;
                };
                engine.increment_epoch();
            }
        })?;
        Ok(Self(alive))
    }
}
