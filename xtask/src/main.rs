//! `cargo xtask …`: the jobs that need more than cargo alone.

mod chaos;
mod debian_packages;
mod demo;
mod guest_toolchain;
mod guests;
mod performance;
mod pgbouncer;
mod test;
mod test_servers;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask demo [--once]      build, start the server in ./data, send the example's events, stay up
cargo xtask test               prepare what is missing and run every test
cargo xtask performance [--quick]  measure this machine with `triggerd bench` and write docs/performance.md
cargo xtask chaos [NAME …]      bring faults about at full length and print what was measured; --short: as in a test
                               run; --seeded: show that each scenario notices the bug that it is there for
cargo xtask guest build DIR    build one guest for wasm32-wasip2 and print where it is
cargo xtask guest build-all    build every guest of guest-examples/ and tests/guests/
cargo xtask guest test-all     run the guests' own tests, natively
cargo xtask guest env          print the shell lines that let `cargo build` do the same by hand";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["demo"] => demo::run(false),
        ["demo", "--once"] => demo::run(true),
        ["test"] => test::run(),
        ["performance"] => performance::run(false),
        ["performance", "--quick"] => performance::run(true),
        ["chaos", rest @ ..] => chaos::run(rest),
        ["guest", rest @ ..] => guests::run(rest),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => bail!("which job?\n{USAGE}"),
        [other, ..] => bail!("there is no job `{other}`\n{USAGE}"),
    }
}
