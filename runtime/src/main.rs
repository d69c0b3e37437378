//! The `triggerd` program: see `triggerd --help`.

use std::process::ExitCode;

/// The system's allocator costs a fifth of the throughput here: every event's parts are freed on another thread than
/// the one that made them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    triggerd::cli::main()
}
