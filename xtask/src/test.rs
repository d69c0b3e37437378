//! `cargo xtask test`: prepares what is missing and runs everything.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::guest_toolchain::{GuestToolchain, workspace_root};
use crate::{chaos, demo, guests, test_servers};

/// Runs everything, in the order in which mistakes are cheapest to find.
pub fn run() -> Result<()> {
    step("formatting", || cargo(&["fmt", "--all", "--check"]))?;
    step("packages and servers", || test_servers::prepare().map(drop))?;
    step("guests", || guests::build_all(&GuestToolchain::prepare()?).map(drop))?;
    step("clippy", || cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("guests' own tests", guests::test_all)?;
    // Those with bugs that are built in take some minutes more: `cargo xtask chaos --seeded`.
    step("tests", || cargo(&["test", "--locked", "--workspace", "--", "--skip", "chaos::seeded::"]))?;
    step("tests of the whole server on PostgreSQL", on_postgres)?;
    step("the demo", run_demo)
}

fn step(name: &str, job: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n== {name}");
    let began = Instant::now();
    job().with_context(|| format!("{name} failed"))?;
    println!("== {name}: {} s", began.elapsed().as_secs());
    Ok(())
}

/// Without backtraces: a failed test is told at the end, by its message, and not by sixty lines of how it was called.
fn cargo(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run_to_end(command.args(arguments).env("RUST_BACKTRACE", "0").current_dir(workspace_root()))
}

/// Once more, each server with a database of its own. Those of several nodes, and of faults, have run on one already.
fn on_postgres() -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--locked", "--workspace", "--test", "it", "--", "--skip", "nodes::"]);
    // By their own names: a part of one may be a part of another test's.
    command.args(chaos::tests().flat_map(|tests| ["--skip", tests]));
    let command = command.env("TRIGGERD_TEST_STORE", "postgres").env("RUST_BACKTRACE", "0");
    run_to_end(command.current_dir(workspace_root()))
}

/// The demo as a newcomer runs it, but on a free port and with its data in the target folder.
fn run_demo() -> Result<()> {
    let data = workspace_root().join("target/demo-data");
    if data.exists() {
        std::fs::remove_dir_all(&data).context("cannot remove the last demo's data")?;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["demo", "--once"]).current_dir(workspace_root());
    command.env(demo::BUILT, "1").env("TRIGGERD_LISTEN", format!("127.0.0.1:{port}")).env("TRIGGERD_DATA_DIR", data);
    run_to_end(&mut command)
}

fn run_to_end(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
