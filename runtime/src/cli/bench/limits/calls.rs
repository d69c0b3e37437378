//! Bare calls of the small guest's core module: a fresh instance from the pool each, its memory reset in place, on two threads.

use std::time::{Duration, Instant};

use wasmtime::{
    Config, Enabled, Engine, Error, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig,
    Store,
};

use crate::cli::bench::generator::ORDER;
use crate::cli::bench::guest::{self, Sort};

/// Where the guest reads the record's address and length.
const RECORD: usize = 124;
/// Where its answer has the address of what it answers with.
const ADDRESS: usize = 8;

pub(super) fn measure(time: Duration) -> anyhow::Result<f64> {
    rate(&guest::module(Sort::Action)?, time).map_err(|error| anyhow::anyhow!("{error:?}"))
}

fn rate(module: &[u8], time: Duration) -> wasmtime::Result<f64> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(64).total_memories(64).max_memory_size(64 << 20);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(2 << 20).table_keep_resident(64 << 10);
    }
    let mut config = Config::new();
    config.epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, module)?;
    let linker: Linker<()> = Linker::new(&engine);
    let guest = linker.instantiate_pre(&module)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    let caller = || {
        let mut calls = 0_u64;
        while began.elapsed() < time {
            call(&engine, &guest)?;
            calls += 1;
        }
        wasmtime::Result::Ok(calls)
    };
    let calls = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..threads).map(|_| scope.spawn(caller)).collect();
        let ended = callers.into_iter().map(|caller| caller.join().map_err(|_| Error::msg("a caller panicked"))?);
        ended.sum::<wasmtime::Result<u64>>()
    })?;
    Ok(calls as f64 / began.elapsed().as_secs_f64())
}

/// One call: the record is handed in, and what the guest answers with is read.
fn call(engine: &Engine, guest: &InstancePre<()>) -> wasmtime::Result<()> {
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(1_000_000);
    let instance = guest.instantiate(&mut store)?;
    let alloc = instance.get_typed_func::<(i32, i32, i32, i32), i32>(&mut store, "cabi_realloc")?;
    let run = instance.get_typed_func::<i32, i32>(&mut store, "triggerd:runtime/run@0.1.0#run")?;
    let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| Error::msg("the guest has no memory"))?;
    let length = i32::try_from(ORDER.len())?;
    let record = alloc.call(&mut store, (0, 0, 1, length))?;
    let invocation = alloc.call(&mut store, (0, 0, 4, 256))?;
    memory.write(&mut store, usize::try_from(record)?, ORDER.as_bytes())?;
    let place = usize::try_from(invocation)? + RECORD;
    memory.write(&mut store, place, &record.to_le_bytes())?;
    memory.write(&mut store, place + 4, &length.to_le_bytes())?;
    let answer = usize::try_from(run.call(&mut store, invocation)?)?;
    let (mut address, mut text) = ([0; 4], vec![0; ORDER.len()]);
    memory.read(&store, answer + ADDRESS, &mut address)?;
    memory.read(&store, u32::from_le_bytes(address) as usize, &mut text)?;
    if text != ORDER.as_bytes() {
        return Err(Error::msg("the guest answered something else"));
    }
    Ok(())
}
