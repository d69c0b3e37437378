//! PgBouncer for the tests of a store behind a pooler, compiled from its source: Debian 12's own is from before poolers could
//! share prepared statements (1.21).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::debian_packages::run;
use crate::guest_toolchain::workspace_root;
use crate::test_servers::{answers, install};

const VERSION: &str = "1.24.1";
/// As Debian keeps it; the sum is of upstream's own archive.
const SOURCE: &str = "http://deb.debian.org/debian/pool/main/p/pgbouncer/pgbouncer_1.24.1.orig.tar.gz";
const SHA256: &str = "da72a3aba13072876d055a3e58dd4aba4a5de4ed6148e73033185245598fd3e0";

/// What it is compiled with, as a file that Debian's package brings.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/bin/make", "make"),
    ("/usr/bin/pkg-config", "pkg-config"),
    ("/usr/include/event2/event.h", "libevent-dev"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
];

/// Downloads and compiles it, where it is not there yet.
pub fn prepare() -> Result<()> {
    let dir = workspace_root().join(".toolchain/pgbouncer");
    let program = dir.join("pgbouncer");
    if answers(&program.to_string_lossy(), &["--version"]) {
        return Ok(());
    }
    for (file, package) in NEEDED {
        if !PathBuf::from(file).exists() {
            install(package, package)?;
        }
    }
    eprintln!("Preparing {} (0.7 MB, once) …", program.display());
    let unfinished = dir.join("unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).with_context(|| format!("removing {}", unfinished.display()))?;
    }
    std::fs::create_dir_all(&unfinished).with_context(|| format!("creating {}", unfinished.display()))?;
    let archive = unfinished.join("source.tar.gz");
    run(Command::new("curl")
        .args(["--fail", "--silent", "--show-error", "--location", "--retry", "3", "--output"])
        .arg(&archive)
        .arg(SOURCE))
    .context("PgBouncer's source could not be downloaded")?;
    let sum = run(Command::new("sha256sum").arg(&archive))?;
    ensure!(sum.starts_with(SHA256), "{SOURCE} is not what it was: {sum}");
    run(Command::new("tar")
        .args(["--extract", "--gzip", "--strip-components=1", "--file"])
        .arg(&archive)
        .current_dir(&unfinished))?;
    // Neither name servers nor the system's logins are asked in a test.
    run(Command::new("./configure").args(["--quiet", "--without-cares", "--without-pam"]).current_dir(&unfinished))?;
    run(Command::new("make").args(["--silent", "--jobs=2", "pgbouncer"]).current_dir(&unfinished))?;
    std::fs::rename(unfinished.join("pgbouncer"), &program).context("the build has left no program")?;
    std::fs::remove_dir_all(&unfinished).with_context(|| format!("removing {}", unfinished.display()))?;
    ensure!(answers(&program.to_string_lossy(), &["--version"]), "{} {VERSION} does not start", program.display());
    Ok(())
}
