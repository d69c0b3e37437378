//! The `triggerd` program: see `triggerd --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    triggerd::cli::main()
}
