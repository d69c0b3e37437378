//! The guest examples, compiled before the tests run.

use std::path::PathBuf;

use serde_json::Value;

/// A compiled guest's bytes.
pub fn guest(name: &str) -> Vec<u8> {
    let file = dir().join(format!("{}.wasm", name.replace('-', "_")));
    let read = std::fs::read(&file);
    read.unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo xtask guest build-all` compiles the guests", file.display())
    })
}

/// Where `cargo xtask guest build-all` puts them.
fn dir() -> PathBuf {
    let usual = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guests/wasm32-wasip2/release"));
    std::env::var_os("TRIGGERD_GUESTS_DIR").map_or_else(usual, PathBuf::from)
}

/// A guest example's name, trigger and event.
pub fn guest_examples() -> Vec<(String, Value, Value)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-examples");
    let entries = std::fs::read_dir(root).expect("the guest examples are there");
    let mut found: Vec<(String, Value, Value)> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.join("trigger.json").is_file())
        .map(|path| {
            let read = |file: &str| {
                let text =
                    std::fs::read(path.join(file)).unwrap_or_else(|error| panic!("{}/{file}: {error}", path.display()));
                serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}/{file}: {error}", path.display()))
            };
            let name = path.file_name().expect("a folder has a name").to_string_lossy().into_owned();
            (name, read("trigger.json"), read("event.json"))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
