//! Guests written as WebAssembly text, made components the way an uploaded core module is.

use std::path::Path;

use wit_component::StringEncoding;
use wit_parser::Resolve;

/// What every guest has: a memory, an allocator, and helpers that write an answer at address 16.
const PRELUDE: &str = r#"
  (global $heap (mut i32) (i32.const 65536))
  (func $alloc (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (loop $more
      (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.const 1))) (br $more))))
    (local.get $at))
  (func $ok (param $text i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store (i32.const 24) (local.get $text))
    (i32.store (i32.const 28) (local.get $length))
    (i32.const 16))
"#;

/// A core module: imports, the memory, the prelude, and `rest`.
pub fn module(imports: &str, memory: &str, rest: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {imports} (memory (export \"memory\") {memory}) {PRELUDE} {rest})")).unwrap()
}

/// The module with the component type of one of the package's worlds in it.
pub fn with_world(mut module: Vec<u8>, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit"))).unwrap();
    embed(&mut module, &resolve, world);
    module
}

/// The module with the component type of a world of its own, written as WIT next to the package's.
pub fn with_wit(mut module: Vec<u8>, packages: &[&str], world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit"))).unwrap();
    for (index, package) in packages.iter().enumerate() {
        resolve.push_str(Path::new(&format!("test-{index}.wit")), package).unwrap();
    }
    embed(&mut module, &resolve, world);
    module
}

fn embed(module: &mut Vec<u8>, resolve: &Resolve, world: &str) {
    let (package, world) = world.rsplit_once('/').unwrap();
    let (id, _) = resolve.packages.iter().find(|(_, p)| p.name.to_string().starts_with(package)).unwrap();
    let world = resolve.packages[id].worlds[world];
    wit_component::embed_component_metadata(module, resolve, world, StringEncoding::UTF8, false).unwrap();
}

/// An action whose `run` has this body; `$invocation` is its parameter.
pub fn action(imports: &str, body: &str) -> Vec<u8> {
    let run =
        format!(r#"(func $run (export "triggerd:runtime/run@0.1.0#run") (param $invocation i32) (result i32) {body})"#);
    with_world(module(imports, "2", &run), "triggerd:runtime/action")
}

/// An action that answers with this text.
pub fn says(text: &str) -> Vec<u8> {
    let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let run = format!(
        r#"(data (i32.const 1024) "{escaped}")
           (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32)
             (call $ok (i32.const 1024) (i32.const {})))"#,
        text.len()
    );
    with_world(module("", "2", &run), "triggerd:runtime/action")
}

/// Answers with the record it was given: its place in the invocation is fixed by the canonical ABI.
pub const ECHO: &str =
    "(call $ok (i32.load offset=124 (local.get $invocation)) (i32.load offset=128 (local.get $invocation)))";

/// A guest whose world is the package `other:runtime`, under the name `triggerd:runtime`: another package of that name.
pub fn renamed_world(run: &str, package: &str) -> Vec<u8> {
    let mut module = module("", "2", &run.replace("other:", "triggerd:"));
    let mut resolve = Resolve::default();
    resolve.push_str(Path::new("other.wit"), &package.replace("other:", "triggerd:")).unwrap();
    embed(&mut module, &resolve, "triggerd:runtime/w");
    module
}
