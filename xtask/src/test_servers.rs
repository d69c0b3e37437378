//! What the integration tests talk to: Redis, PostgreSQL and PgBouncer, MariaDB, RabbitMQ, NATS, Mosquitto, Python with aiosmtpd as the
//! mail server; Standard Webhooks' own library, which has to accept our signatures; and Prometheus' checker of alert rules.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::debian_packages::{self, run};
use crate::guest_toolchain::workspace_root;
use crate::pgbouncer;

/// The mail server's version: the tests' script uses what this one has.
const AIOSMTPD: &str = "aiosmtpd==1.4.6";

/// The official verifier of signatures.
const STANDARD_WEBHOOKS: &str = "standardwebhooks==1.1.0";
/// Asks every route what the OpenAPI document makes of it.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// Sends CloudEvents as their authors mean them.
const CLOUDEVENTS: &str = "cloudevents==1.12.0";
/// The same for Node.js, by package.
const NODE_PACKAGES: &[(&str, &str)] = &[("standardwebhooks", "1.0.0"), ("cloudevents", "10.0.0")];
/// What the tests import.
const IMPORTS: &str = "import aiosmtpd, standardwebhooks, schemathesis, cloudevents.http";

/// Of Debian's package `libfaketime`.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

/// Message brokers and their tools, what the documentation's examples call, and Debian's packages.
const COMMANDS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("mosquitto", "mosquitto"),
    ("mosquitto_sub", "mosquitto-clients"),
    ("nats-server", "nats-server"),
    ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"),
    ("sqlite3", "sqlite3"),
];

/// Installs what is missing. What is there is left alone.
pub fn prepare() -> Result<()> {
    // The package brings `redis-cli` along, which makes a cluster of servers.
    if !answers("redis-server", &["--version"]) {
        install("redis-server", "redis-server")?;
    }
    if !has_postgresql() {
        install("PostgreSQL", "postgresql")?;
        ensure!(has_postgresql(), "PostgreSQL's initdb is neither in /usr/lib/postgresql nor in the path");
    }
    if !answers("mariadbd", &["--version"]) {
        install("MariaDB", "mariadb-server")?;
    }
    if !answers("openssl", &["version"]) {
        install("openssl, which makes the tests' RSA keys,", "openssl")?;
    }
    for (command, package) in COMMANDS {
        // Not all of them can be asked for their version with success.
        if !answers("sh", &["-c", &format!("command -v {command}")]) {
            install(command, package)?;
        }
    }
    if !has_faketime() {
        install("libfaketime, which sets the clock of one process,", "libfaketime")?;
        ensure!(has_faketime(), "{FAKETIME} is in no folder of /usr/lib");
    }
    if !answers("promtool", &["--version"]) {
        prepare_promtool().context("the tests of alert rules need promtool of Debian's package `prometheus`")?;
    }
    pgbouncer::prepare().context("the tests of a pooled store need PgBouncer")?;
    // JavaScript's libraries are asked too where the machine has Node.js.
    if answers("node", &["--version"]) && answers("npm", &["--version"]) {
        prepare_node()?;
    }
    let python = python();
    if !answers(&python.to_string_lossy(), &["-c", IMPORTS]) {
        prepare_python().context("the tests' mail server needs Python 3 with venv and a package index")?;
        ensure!(
            answers(&python.to_string_lossy(), &["-c", IMPORTS]),
            "{} has not what the tests import",
            python.display()
        );
    }
    Ok(())
}

/// Debian keeps PostgreSQL's programs out of the path, by version.
fn has_postgresql() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin/initdb")).any(|initdb| initdb.exists())
        || answers("initdb", &["--version"])
}

/// A library, in the folder of this machine's kind.
fn has_faketime() -> bool {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.map(|folder| folder.path().join(FAKETIME)).any(|library| library.exists())
}

/// The Python that the tests look for where `TRIGGERD_TEST_PYTHON` names no other.
fn python() -> PathBuf {
    let named = std::env::var_os("TRIGGERD_TEST_PYTHON").map(PathBuf::from);
    named.unwrap_or_else(|| venv().join("bin/python"))
}

fn venv() -> PathBuf {
    workspace_root().join(".toolchain/python")
}

/// An environment of its own: the system's Python is not changed.
fn prepare_python() -> Result<()> {
    if !answers("python3", &["-c", "import venv, ensurepip"]) {
        install("python3 with venv", "python3-venv")?;
    }
    let venv = venv();
    eprintln!("Preparing {} …", venv.display());
    // What is there does not work, or we would not be here: a half-made environment is made anew.
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(Command::new(venv.join("bin/python")).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        AIOSMTPD,
        STANDARD_WEBHOOKS,
        SCHEMATHESIS,
        CLOUDEVENTS,
    ]))?;
    Ok(())
}

/// The package is unpacked and only the checker kept: installed, it would start a server.
fn prepare_promtool() -> Result<()> {
    let dir = workspace_root().join(".toolchain/prometheus");
    let program = dir.join("promtool");
    if answers(&program.to_string_lossy(), &["--version"]) {
        return Ok(());
    }
    eprintln!("Preparing {} (19 MB, once) …", program.display());
    let unfinished = dir.join("unfinished");
    debian_packages::unpack(&["prometheus"], &unfinished)?;
    std::fs::rename(unfinished.join("usr/bin/promtool"), &program).context("the package has no usr/bin/promtool")?;
    std::fs::remove_dir_all(&unfinished).with_context(|| format!("removing {}", unfinished.display()))?;
    ensure!(answers(&program.to_string_lossy(), &["--version"]), "{} does not start", program.display());
    Ok(())
}

fn prepare_node() -> Result<()> {
    let prefix = workspace_root().join(".toolchain/node");
    if NODE_PACKAGES.iter().all(|(name, _)| prefix.join("node_modules").join(name).is_dir()) {
        return Ok(());
    }
    eprintln!("Preparing {} …", prefix.display());
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&prefix);
    npm.args(NODE_PACKAGES.iter().map(|(name, version)| format!("{name}@{version}")));
    run(&mut npm).map(|_| ()).context("what the tests ask of Node.js")
}

/// Installs a Debian package that `what` is missing for.
pub fn install(what: &str, package: &str) -> Result<()> {
    eprintln!("Installing {package} …");
    let apt =
        |arguments: &[&str]| run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"));
    let installed = apt(&["install", "--yes", "--no-install-recommends", package]).or_else(|_| {
        // The package lists may be missing or old.
        apt(&["--quiet", "update"])?;
        apt(&["install", "--yes", "--no-install-recommends", package])
    });
    installed.with_context(|| format!("{what} is missing; install Debian's package `{package}`, or its like"))?;
    Ok(())
}

/// Whether the command can be started and succeeds.
pub fn answers(command: &str, arguments: &[&str]) -> bool {
    run(Command::new(command).args(arguments)).is_ok()
}
