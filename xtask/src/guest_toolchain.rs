//! Finds or makes a toolchain that compiles guests for `wasm32-wasip2`.
//!
//! Where the target is installed, or rustup can fetch it, plain cargo does. Where rustup cannot
//! download, Debian's packages serve (`debian_packages`), and cargo builds the standard library
//! itself. All guests share one target folder, so that this happens once; it happens again
//! for a guest whose `[profile.release]` differs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::debian_packages::{Prefix, run, shell_quoted};

const TARGET: &str = "wasm32-wasip2";

/// Set by the cargo that runs us, or by a caller for our workspace; each would change what a guest becomes.
const INHERITED: [&str; 16] = [
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_MANIFEST_DIR",
    "CARGO_TARGET_DIR",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// A toolchain that is ready to compile guests.
pub struct GuestToolchain {
    /// Variables for cargo, complete: nothing else of its environment matters.
    environment: Vec<(&'static str, String)>,
    target_dir: PathBuf,
}

/// The folder of the workspace's `Cargo.toml`.
pub fn workspace_root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

impl GuestToolchain {
    /// Makes sure that guests can be built. Downloads at most once; later calls take milliseconds.
    pub fn prepare() -> Result<Self> {
        let root = workspace_root();
        let target_dir = target_dir();
        let Err(refusal) = ensure_target(&root) else {
            return Ok(Self { environment: Vec::new(), target_dir });
        };
        let environment = debian_environment(&root).with_context(|| {
            format!(
                "there is no way to compile for {TARGET} here. Install the target \
                 (`rustup target add {TARGET}`), or make the following work.\n\
                 rustup: {refusal:#}\nDebian's packages"
            )
        })?;
        Ok(Self { environment, target_dir })
    }

    /// Builds the guest whose `Cargo.toml` is in `guest_dir`, and gives the component's path.
    pub fn build(&self, guest_dir: &Path) -> Result<PathBuf> {
        ensure!(guest_dir.join("Cargo.toml").is_file(), "{}: no Cargo.toml there", guest_dir.display());
        let mut cargo = clean(Command::new("cargo"), guest_dir);
        cargo
            .args(["build", "--release", "--target", TARGET])
            .arg("--message-format=json-render-diagnostics")
            .env("CARGO_TARGET_DIR", &self.target_dir)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::inherit());
        let output = cargo.output().context("starting cargo")?;
        if !output.status.success() {
            bail!("cargo could not build {}", guest_dir.display());
        }
        let wasm = component_path(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("{} has no library of crate-type cdylib", guest_dir.display()))?;
        check_component(&wasm)?;
        Ok(wasm)
    }

    /// Shell lines after which `cargo build --release --target wasm32-wasip2` works by hand.
    pub fn shell_lines(&self) -> String {
        self.environment.iter().map(|(name, value)| format!("export {name}={}\n", shell_quoted(value))).collect()
    }
}

/// Runs a guest's own tests natively, with the ordinary toolchain.
pub fn test_natively(guest_dir: &Path) -> Result<()> {
    let mut cargo = clean(Command::new("cargo"), guest_dir);
    cargo.args(["test", "--quiet"]).env("CARGO_TARGET_DIR", target_dir());
    let status = cargo.status().context("starting cargo")?;
    ensure!(status.success(), "the tests of {} failed", guest_dir.display());
    Ok(())
}

/// One for all guests, so that what they share is compiled once.
fn target_dir() -> PathBuf {
    workspace_root().join("target/guests")
}

/// A command that inherits nothing from the cargo that started us.
fn clean(mut command: Command, dir: &Path) -> Command {
    for name in INHERITED {
        command.env_remove(name);
    }
    // Told apart by prefix: the values are per target or per package.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_TARGET_") || text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_PROFILE_") {
            command.env_remove(&name);
        }
    }
    command.current_dir(dir);
    command
}

/// Succeeds where the plain toolchain can compile for Wasm, after `rustup target add` if need be.
fn ensure_target(root: &Path) -> Result<()> {
    if has_target(root)? {
        return Ok(());
    }
    run(clean(Command::new("rustup"), root).args(["target", "add", TARGET]))?;
    ensure!(has_target(root)?, "rustup reported success, but the target is not there");
    Ok(())
}

/// Asks rustc, not rustup: a distribution's toolchain may have the target without rustup.
fn has_target(root: &Path) -> Result<bool> {
    let dir = run(clean(Command::new("rustc"), root).args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(Path::new(dir.trim()).is_dir())
}

/// The variables with which cargo builds through Debian's rustc.
fn debian_environment(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let version = run(clean(Command::new("rustc"), root).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("`rustc -vV` names no host")?;
    let sysroot = run(clean(Command::new("rustc"), root).args(["--print", "sysroot"]))?;
    let linkers = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
    let linker = linkers.join("wasm-component-ld");
    ensure!(linker.is_file(), "{}: rustup's toolchain should have this linker", linker.display());
    let prefix = Prefix::prepare(&root.join(".toolchain/debian"), host, TARGET)?;
    let path = std::env::var("PATH").context("PATH")?;
    Ok(vec![
        ("RUSTC", prefix.rustc().display().to_string()),
        // The standard library may use unstable features; cargo builds it only where they are allowed.
        ("RUSTC_BOOTSTRAP", "1".into()),
        ("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort".into()),
        ("CARGO_TARGET_WASM32_WASIP2_LINKER", linker.display().to_string()),
        // wasm-component-ld calls rust-lld, which stands beside it.
        ("PATH", format!("{}:{path}", linkers.display())),
    ])
}

/// Finds the path of the guest's component in cargo's messages, one JSON object a line.
///
/// The guest is the last artifact that cargo reports. Paths of this platform hold no escapes
/// worth a JSON parser: one with a quote in it is not found, and the build says so.
fn component_path(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter(|line| line.starts_with(r#"{"reason":"compiler-artifact""#))
        .flat_map(|line| line.split('"'))
        .rfind(|text| text.starts_with('/') && text.ends_with(".wasm"))
        .map(PathBuf::from)
}

/// Refuses what is no component: a core module has another layer in its header.
fn check_component(wasm: &Path) -> Result<()> {
    let bytes = std::fs::read(wasm).with_context(|| format!("reading {}", wasm.display()))?;
    match bytes.get(..8) {
        Some(b"\0asm\x0d\0\x01\0") => Ok(()),
        Some(b"\0asm\x01\0\0\0") => bail!("{} is a core module, not a component", wasm.display()),
        _ => bail!("{} is not WebAssembly", wasm.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_the_last_artifact() {
        let messages = "{\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/libserde.rlib\"]}\n\
             {\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/dep.wasm\"]}\n\
             {\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/lead_score.wasm\"],\"executable\":null}\n\
             {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(component_path(messages), Some("/t/lead_score.wasm".into()));
        assert_eq!(component_path("{\"reason\":\"build-finished\"}\n"), None);
    }

    #[test]
    fn nothing_of_the_callers_cargo_reaches_the_guest() {
        let command = clean(Command::new("cargo"), Path::new("/"));
        let removed = command.get_envs().filter(|(_, value)| value.is_none()).count();
        assert!(removed >= INHERITED.len());
    }

    #[test]
    fn the_shell_lines_are_quoted() {
        let toolchain = GuestToolchain { environment: vec![("RUSTFLAGS", "-a -b".into())], target_dir: PathBuf::new() };
        assert_eq!(toolchain.shell_lines(), "export RUSTFLAGS='-a -b'\n");
    }
}
