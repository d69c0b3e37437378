//! The guest toolchain from Debian's packages, for machines whose rustup cannot download a target.
//!
//! Debian compiles rustc for its own use and ships the standard library's source beside it, from
//! which cargo builds the library for `wasm32-wasip2`. The packages are unpacked into a prefix
//! of their own instead of being installed, because they conflict with rustup. rustup's own
//! toolchain still gives cargo and the linkers.
//!
//! The prefix is complete or absent: it is made under another name and renamed once it works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Packages that are needed by name; what of their dependencies is needed too, `OWN_DEPENDENCIES` says.
const PACKAGES: [&str; 4] = ["rustc-web", "libstd-rust-web-dev", "rust-web-src", "wasi-libc"];

/// Their names carry versions, so they are found through the packages that depend on them.
const OWN_DEPENDENCIES: [&str; 2] = ["libstd-rust-web-", "libllvm"];

/// What of wasi-libc is linked, put where rustc looks for the libraries that come with a target.
const LIBC_FILES: [&str; 3] = ["crt1-command.o", "crt1-reactor.o", "libc.a"];

/// The prefix's layout; a prefix made by another one is made anew.
const LAYOUT: &str = "1";

/// A prefix that holds Debian's rustc and the pieces it needs for Wasm.
pub struct Prefix {
    dir: PathBuf,
}

impl Prefix {
    /// Gives the prefix at `dir`, downloading and unpacking it where it is not there yet.
    ///
    /// `host` is the triple of this machine, `target` the one to compile for.
    pub fn prepare(dir: &Path, host: &str, target: &str) -> Result<Self> {
        let prefix = Self { dir: dir.to_owned() };
        fs::create_dir_all(dir.parent().unwrap_or(dir))?;
        // Two builds at once would unpack over each other.
        let lock_path = dir.with_extension("lock");
        let lock = fs::File::create(&lock_path).with_context(|| format!("creating {}", lock_path.display()))?;
        lock.lock().with_context(|| format!("locking {}", lock_path.display()))?;
        if fs::read_to_string(prefix.stamp()).is_ok_and(|stamp| stamp == LAYOUT) {
            return Ok(prefix);
        }
        let unfinished = Self { dir: dir.with_extension("unfinished") };
        remove_if_there(&unfinished.dir)?;
        unfinished.fill(dir, host, target)?;
        remove_if_there(dir)?;
        fs::rename(&unfinished.dir, dir).with_context(|| format!("renaming {}", unfinished.dir.display()))?;
        eprintln!("The guest toolchain is ready in {}.", dir.display());
        Ok(prefix)
    }

    /// The compiler: a script, so that only rustc sees the prefix's shared libraries.
    pub fn rustc(&self) -> PathBuf {
        self.dir.join("rustc")
    }

    fn stamp(&self) -> PathBuf {
        self.dir.join("stamp")
    }

    /// Does all the work; `home` is where the prefix will be once it is whole.
    fn fill(&self, home: &Path, host: &str, target: &str) -> Result<()> {
        let packages = packages()?;
        eprintln!("Downloading {} (130 MB, once) …", packages.join(" "));
        unpack(&packages, &self.dir)?;
        self.gather_libc(target)?;
        // The script names the final place, so it is tried with the present one first.
        write_script(&self.rustc(), &rustc_script(&self.dir, host))?;
        run(Command::new(self.rustc()).arg("--version"))
            .context("Debian's rustc does not start; a library that it needs may be missing")?;
        write_script(&self.rustc(), &rustc_script(home, host))?;
        fs::write(self.stamp(), LAYOUT)?;
        Ok(())
    }

    fn gather_libc(&self, target: &str) -> Result<()> {
        let to = self.dir.join("usr/lib/rustlib").join(target).join("lib/self-contained");
        fs::create_dir_all(&to)?;
        for file in LIBC_FILES {
            let from = self.dir.join("usr/lib/wasm32-wasi").join(file);
            fs::copy(&from, to.join(file)).with_context(|| format!("copying {}", from.display()))?;
        }
        Ok(())
    }
}

/// All packages to download, with the package lists fetched where there are none.
fn packages() -> Result<Vec<String>> {
    if !has_candidate(PACKAGES[0])? {
        eprintln!("Fetching the package lists …");
        run(Command::new("apt-get").args(["--quiet", "update"]))?;
        ensure!(
            has_candidate(PACKAGES[0])?,
            "this system's package sources have no `{}` (Debian 12 with security updates has)",
            PACKAGES[0]
        );
    }
    let mut found: Vec<String> = PACKAGES.map(String::from).into();
    let mut next = 0;
    while let Some(package) = found.get(next) {
        for dependency in own_dependencies(&run(Command::new("apt-cache").args(["depends", package]))?) {
            if !found.contains(&dependency) {
                found.push(dependency);
            }
        }
        next += 1;
    }
    Ok(found)
}

fn has_candidate(package: &str) -> Result<bool> {
    let policy = run(Command::new("apt-cache").args(["policy", package]))?;
    Ok(has_version(&policy))
}

/// Unpacks packages into a directory without installing them; what was in it is gone.
pub fn unpack(packages: &[impl AsRef<std::ffi::OsStr>], dir: &Path) -> Result<()> {
    remove_if_there(dir)?;
    let downloads = dir.join("downloads");
    fs::create_dir_all(&downloads)?;
    let download = || run(Command::new("apt-get").arg("download").args(packages).current_dir(&downloads));
    download().or_else(|_| {
        // The package lists may be missing or old.
        run(Command::new("apt-get").args(["--quiet", "update"]))?;
        download()
    })?;
    for package in fs::read_dir(&downloads)? {
        run(Command::new("dpkg").arg("-x").arg(package?.path()).arg(dir))?;
    }
    fs::remove_dir_all(&downloads).with_context(|| format!("removing {}", downloads.display()))
}

/// Reads `apt-cache policy`, which prints nothing for a package it has never heard of.
fn has_version(policy: &str) -> bool {
    policy.lines().filter_map(|line| line.trim().strip_prefix("Candidate:")).any(|version| version.trim() != "(none)")
}

/// Reads `apt-cache depends`.
fn own_dependencies(depends: &str) -> Vec<String> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| OWN_DEPENDENCIES.iter().any(|own| name.to_lowercase().starts_with(own)))
        .map(String::from)
        .collect()
}

fn rustc_script(dir: &Path, host: &str) -> String {
    let multiarch = host.replace("-unknown", "");
    let dir = shell_quoted(&dir.display().to_string());
    format!(
        "#!/bin/sh\n\
         export LD_LIBRARY_PATH={dir}/usr/lib/{multiarch}\n\
         exec {dir}/usr/bin/rustc \"$@\"\n"
    )
}

/// Quotes `text` for a POSIX shell.
pub fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn remove_if_there(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a command to its end and gives what it printed; a failure carries its error output.
pub fn run(command: &mut Command) -> Result<String> {
    // Its Debug form would list the environment, too.
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    // The answers are read, so they have to be in English; a failure is shown, so without a backtrace.
    let output = command
        .env("LC_ALL", "C")
        .env("RUST_BACKTRACE", "0")
        .output()
        .with_context(|| format!("starting `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}`: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_candidate_counts() {
        assert!(has_version("rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n"));
        assert!(!has_version("rustc-web:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_version(""));
    }

    #[test]
    fn versioned_packages_are_found_through_their_dependants() {
        let depends = "rustc-web\n  Depends: libc6\n  Depends: libstd-rust-web-dev\n  \
                       Depends: libLLVM22\n  Conflicts: rustc\n  Replaces: libstd-rust-web-9\n";
        assert_eq!(own_dependencies(depends), ["libstd-rust-web-dev", "libLLVM22"]);
    }

    #[test]
    fn a_failing_command_says_why() {
        let error = run(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).expect_err("exit 3");
        assert!(error.to_string().contains("no luck"), "{error}");
    }

    #[test]
    fn a_folder_with_a_quote_in_its_name_stays_one_word() {
        let script = rustc_script(Path::new("/it's here"), "x86_64-unknown-linux-gnu");
        assert!(script.contains(r"exec '/it'\''s here'/usr/bin/rustc"), "{script}");
        assert!(script.contains("/usr/lib/x86_64-linux-gnu"), "{script}");
    }
}
