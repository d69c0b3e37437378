//! The WIT package parses, its worlds combine, and each exports what its documentation says.
#![allow(clippy::unwrap_used)]

use wit_parser::{Resolve, WorldKey};

fn exports(resolve: &Resolve, world: &str) -> Vec<String> {
    let package = resolve.packages.iter().find(|(_, p)| p.name.to_string() == "triggerd:runtime@0.1.0").unwrap().1;
    resolve.worlds[package.worlds[world]]
        .exports
        .keys()
        .map(|key| match key {
            WorldKey::Name(name) => name.clone(),
            WorldKey::Interface(id) => resolve.id_of(*id).unwrap(),
        })
        .collect()
}

#[test]
fn every_world_exports_its_function_and_all_exports_them_all() {
    let mut resolve = Resolve::default();
    resolve.push_dir(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit"))).unwrap();
    let name = |interface| format!("triggerd:runtime/{interface}@0.1.0");
    assert_eq!(exports(&resolve, "action"), [name("run")]);
    assert_eq!(exports(&resolve, "guard"), [name("check")]);
    assert_eq!(exports(&resolve, "condition"), [name("matches")]);
    assert_eq!(exports(&resolve, "transform"), [name("rewrite")]);
    assert_eq!(exports(&resolve, "all"), ["run", "check", "matches", "rewrite"].map(name));
}
