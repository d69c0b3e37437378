//! The house keeps its shape: dependencies point one way, the core is pure, every action file is registered.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const RUNTIME: &str = env!("CARGO_MANIFEST_DIR");

/// Modules, and those of this crate that they may not use.
const ONE_WAY: &[(&str, &[&str])] = &[
    (
        "store",
        &[
            "access",
            "actions",
            "api",
            "app",
            "cli",
            "components",
            "connections",
            "definitions",
            "dispatch",
            "execute",
            "intake",
            "record",
            "resources",
            "sweep",
            "wasm",
        ],
    ),
    ("wasm", &["actions", "api", "app", "cli", "dispatch", "intake", "record", "sweep"]),
    ("connections", &["actions", "api", "app", "cli", "dispatch", "intake", "record", "sweep"]),
    (
        "egress",
        &[
            "actions",
            "api",
            "app",
            "cli",
            "connections",
            "dispatch",
            "intake",
            "record",
            "resources",
            "store",
            "sweep",
            "wasm",
        ],
    ),
    ("actions", &["api", "app", "cli", "dispatch", "intake", "record", "sweep"]),
    ("config", &["access", "actions", "api", "app", "cli", "dispatch", "intake", "record", "store", "sweep", "wasm"]),
    ("clock", &["actions", "api", "app", "cli", "dispatch", "intake", "record", "store", "sweep", "wasm"]),
    ("sources", &["actions", "api", "cli", "dispatch", "record", "wasm"]),
];

/// The only modules that know of the API.
const ABOVE_API: [&str; 4] = ["api", "cli", "lib", "main"];

/// What the core must not come to depend on.
const IMPURE: [&str; 8] = ["tokio", "sqlx", "redis", "reqwest", "wasmtime", "hyper", "axum", "rustls"];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top-level modules of this crate that a file uses, in `use` lines and in paths, its tests left out.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in lines {
        for rest in line.split("crate::").skip(1) {
            let names = rest.strip_prefix('{').map_or(rest, |group| group.split('}').next().unwrap_or(group));
            let is_group = rest.starts_with('{');
            for name in names.split(',').take(if is_group { usize::MAX } else { 1 }) {
                let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                found.insert(name);
            }
        }
    }
    found
}

/// The top-level module that a file belongs to.
fn module(file: &Path, root: &Path) -> String {
    let first = file.strip_prefix(root).unwrap().components().next().unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn dependencies_of_the_runtime_s_folders_point_one_way() {
    let root = Path::new(RUNTIME).join("src");
    let mut wrong = Vec::new();
    for file in sources(&root) {
        let own = module(&file, &root);
        let used = used(&std::fs::read_to_string(&file).unwrap());
        let forbidden = ONE_WAY.iter().find(|(module, _)| *module == own).map_or(&[][..], |(_, forbidden)| forbidden);
        let above = used.contains("api") && !ABOVE_API.contains(&own.as_str());
        for name in
            used.iter().filter(|name| forbidden.contains(&name.as_str())).chain(above.then_some(&"api".to_owned()))
        {
            wrong.push(format!("{} uses crate::{name}", file.strip_prefix(&root).unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "these point the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn groups_and_paths_of_use_lines_are_read() {
    let text = "use crate::{api, store::Store};\nlet x = crate::intake::accept();\n// crate::app\n#[cfg(test)]\nuse crate::cli;";
    let found: Vec<String> = used(text).into_iter().collect();
    assert_eq!(found, ["api", "intake", "store"]);
}

#[test]
fn the_core_depends_on_nothing_that_reaches_outside() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            "triggerd-core",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(RUNTIME)
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("serde_json"), "{tree}");
    for impure in IMPURE {
        assert!(!names.contains(impure), "triggerd-core has come to depend on {impure}");
    }
}

#[test]
fn every_file_of_actions_is_registered() {
    let folder = Path::new(RUNTIME).join("src/actions");
    let list = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text =
            if path.is_dir() { std::fs::read_to_string(path.join("mod.rs")) } else { std::fs::read_to_string(&path) }
                .unwrap();
        if text.contains("const KIND: &'static str") && name != "mod" {
            assert!(
                list.contains(&format!("Kind::of::<{name}::")),
                "actions/{name} is a family that KINDS does not list"
            );
        }
    }
}
