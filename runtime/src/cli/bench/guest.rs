//! The guests of the workloads `wasm` and `execute` where no other is named: an action that answers with the record it was
//! given, and a guard that lets the write go on with it.
//!
//! It stands here as text, so that the measure needs no guest toolchain. What a guest of one's own costs is measured with
//! `--component`.

use anyhow::Context;
use wit_component::StringEncoding;
use wit_parser::{Resolve, SourceMap};

/// The package's interfaces that these guests have to do with, and a world of just them for each.
const WIT: [(&str, &str); 4] = [
    ("types.wit", include_str!("../../../../wit/types.wit")),
    ("run.wit", include_str!("../../../../wit/run.wit")),
    ("check.wit", include_str!("../../../../wit/check.wit")),
    ("bench.wit", "package triggerd:runtime@0.1.0; world action { export run; } world guard { export check; }"),
];

/// What the guest is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Of an after-event.
    Action,
    /// Of a before-event.
    Guard,
}

/// What both need. The record is the invocation's 15th field: the canonical ABI puts its address at offset 124 and its length behind it.
const COMMON: &str = r#"(module
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (loop $more
      (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.const 1))) (br $more))))
    (local.get $at))"#;

/// `ok` with the record as JSON.
const ACTION: &str = r#"
  (func (export "triggerd:runtime/run@0.1.0#run") (param $invocation i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store (i32.const 24) (i32.load offset=124 (local.get $invocation)))
    (i32.store (i32.const 28) (i32.load offset=128 (local.get $invocation)))
    (i32.const 16)))"#;

/// `ok` with the verdict `change` and the record.
const GUARD: &str = r#"
  (func (export "triggerd:runtime/check@0.1.0#check") (param $invocation i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store8 (i32.const 24) (i32.const 1))
    (i32.store (i32.const 28) (i32.load offset=124 (local.get $invocation)))
    (i32.store (i32.const 32) (i32.load offset=128 (local.get $invocation)))
    (i32.const 16)))"#;

/// The guest's core module alone.
pub fn module(sort: Sort) -> anyhow::Result<Vec<u8>> {
    let text = if sort == Sort::Guard { GUARD } else { ACTION };
    wat::parse_str(format!("{COMMON}{text}")).context("the built-in guest")
}

/// The guest as an upload: a core module that carries its component type.
pub fn built_in(sort: Sort) -> anyhow::Result<Vec<u8>> {
    let name = if sort == Sort::Guard { "guard" } else { "action" };
    let mut module = module(sort)?;
    let mut sources = SourceMap::new();
    for (name, text) in WIT {
        sources.push_str(name, text);
    }
    let group = sources.parse().map_err(|(_, error)| anyhow::anyhow!("the guests' contract: {error:?}"))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).map_err(|error| anyhow::anyhow!("the guests' contract: {error:?}"))?;
    let world = resolve.packages[package].worlds[name];
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    Ok(module)
}
