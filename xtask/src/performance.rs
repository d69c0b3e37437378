//! `cargo xtask performance`: builds what is shipped, measures it, and writes docs/performance.md and its charts.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::guest_toolchain::workspace_root;
use crate::test_servers;

/// Measures every series; `quick` runs each once and briefly, and leaves the docs alone.
pub fn run(quick: bool) -> Result<()> {
    // The workloads on PostgreSQL start a server of their own, from this machine's binaries.
    test_servers::prepare()?;
    let root = workspace_root();
    cargo(&["build", "--locked", "--profile", "dist", "--package", "triggerd"])?;
    cargo(&["build", "--locked", "--package", "triggerd-performance"])?;
    let (triggerd, writer) = (root.join("target/dist/triggerd"), root.join("target/debug/triggerd-performance"));
    let results = root.join(if quick { "target/performance-quick" } else { "target/performance" });
    let mut measure = Command::new(&writer);
    measure.arg("measure").arg(triggerd).arg(&results);
    if quick {
        measure.arg("--quick");
    }
    run_to_end(&mut measure)?;
    if quick {
        return Ok(());
    }
    run_to_end(Command::new(writer).arg("write").arg(results).arg(root.join("docs")))
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run_to_end(command.args(arguments).current_dir(workspace_root()))
}

fn run_to_end(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
