//! `cargo xtask guest …`: builds the guests of this repository, or anybody's.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::guest_toolchain::{GuestToolchain, test_natively, workspace_root};

/// Where this repository keeps guests: one folder each, with a `Cargo.toml` of its own.
const FOLDERS: [&str; 2] = ["guest-examples", "tests/guests"];

/// Runs `cargo xtask guest ARGUMENTS`.
pub fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["build", dir] => {
            let wasm = GuestToolchain::prepare()?.build(Path::new(dir))?;
            println!("{}", wasm.display());
            Ok(())
        }
        ["build-all"] => build_all(&GuestToolchain::prepare()?).map(drop),
        ["test-all"] => test_all(),
        ["env"] => {
            print!("{}", GuestToolchain::prepare()?.shell_lines());
            Ok(())
        }
        _ => bail!("say `guest build DIR`, `guest build-all`, `guest test-all` or `guest env`"),
    }
}

/// Builds every guest of the repository, says what each one took, and gives the components.
pub fn build_all(toolchain: &GuestToolchain) -> Result<Vec<PathBuf>> {
    let mut built = Vec::new();
    for dir in guest_dirs(&workspace_root())? {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let start = Instant::now();
        let wasm = toolchain.build(&dir).with_context(|| format!("guest {name}"))?;
        let kib = std::fs::metadata(&wasm)?.len().div_ceil(1024);
        println!("{name:<20} {kib:>6} KiB {:>6.1} s  {}", start.elapsed().as_secs_f32(), wasm.display());
        built.push(wasm);
    }
    Ok(built)
}

/// Runs the tests that the guests bring with them; they need neither Wasm nor a server.
pub fn test_all() -> Result<()> {
    guest_dirs(&workspace_root())?.iter().try_for_each(|dir| test_natively(dir))
}

/// The folders that hold a guest, in order of name.
fn guest_dirs(root: &Path) -> Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for folder in FOLDERS {
        let folder = root.join(folder);
        if !folder.is_dir() {
            continue;
        }
        let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let dir = entry?.path();
            if dir.join("Cargo.toml").is_file() {
                dirs.push(dir);
            }
        }
    }
    dirs.sort();
    Ok(dirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_manifest_is_no_guest() {
        let root = std::env::temp_dir().join(format!("triggerd-xtask-{}", std::process::id()));
        let guests = root.join("guest-examples");
        std::fs::create_dir_all(guests.join("notes")).expect("a temporary folder");
        std::fs::create_dir_all(guests.join("score")).expect("a temporary folder");
        std::fs::write(guests.join("score/Cargo.toml"), "[package]").expect("a temporary file");
        assert_eq!(guest_dirs(&root).expect("a readable folder"), [guests.join("score")]);
        std::fs::remove_dir_all(&root).expect("our own folder");
    }
}
