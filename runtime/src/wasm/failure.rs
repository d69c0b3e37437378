//! Why a call did not end with an answer: what the guest said, or what was wrong with it.

use std::fmt::Write as _;
use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::bindings::triggerd::runtime::types::{Failure, FailureKind};
use super::guest::{CallsExhausted, Forbidden};
use super::limits::{MemoryExhausted, TableExhausted};
use super::logs::shown;

/// The longest message kept.
const MESSAGE_BYTES: usize = 4 << 10;
/// The longest name of a function kept.
const NAME_BYTES: usize = 160;

/// Why a call did not end with an answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CallError {
    /// `WASM_TIMEOUT`, `WASM_MEMORY`, `WASM_TRAP`, `WASM_FORBIDDEN`, `WASM_RESULT`, or the guest's own code.
    pub code: String,
    /// For people; for a trap with the guest's backtrace.
    pub message: String,
    /// Whether another try may help.
    pub retryable: bool,
    /// The wait that the guest asked for.
    pub delay: Option<Duration>,
}

/// The guest used more CPU time than it may.
#[derive(Debug, thiserror::Error)]
#[error("the guest used more than its {} ms of CPU time", .0.as_millis())]
pub(super) struct CpuExhausted(pub Duration);

/// The call took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("the call took longer than its {} ms", .0.as_millis())]
pub(super) struct WallExhausted(pub Duration);

impl CallError {
    fn new(code: &str, message: impl Into<String>, retryable: bool) -> Self {
        Self { code: code.to_owned(), message: message.into(), retryable, delay: None }
    }

    /// What the guest returned is not what its interface promises, or too large.
    pub(super) fn result(message: impl Into<String>) -> Self {
        Self::new("WASM_RESULT", message, false)
    }

    pub(super) fn timeout(wall: Duration) -> Self {
        Self::new("WASM_TIMEOUT", WallExhausted(wall).to_string(), true)
    }

    pub(super) fn forbidden(forbidden: &Forbidden) -> Self {
        Self::new("WASM_FORBIDDEN", forbidden.to_string(), false)
    }

    /// The host failed, not the guest.
    pub(super) fn host(message: &str) -> Self {
        Self::new("WASM_TRAP", message, true)
    }

    /// The component has no such export.
    pub(super) fn no_export(name: &str) -> Self {
        Self::new("WASM_INTERFACE", format!("the component does not export `triggerd:runtime/{name}`"), false)
    }

    /// What the guest itself called a failure.
    pub(super) fn of_guest(failure: Failure) -> Self {
        let (retryable, delay) = match failure.kind {
            FailureKind::Retryable(delay) => (true, delay.map(Duration::from_millis)),
            FailureKind::Permanent => (false, None),
        };
        let code = bounded(&shown(&failure.code), 128);
        let code = if code.is_empty() { "ACTION_FAILED".to_owned() } else { code };
        Self { code, message: bounded(&shown(&failure.message), MESSAGE_BYTES), retryable, delay }
    }

    /// What ended the guest. `running` says that its export had been called.
    pub(super) fn of_trap(error: &wasmtime::Error, running: bool) -> Self {
        if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
            return Self::forbidden(forbidden);
        }
        if error.is::<CpuExhausted>() || error.is::<WallExhausted>() {
            return Self::new("WASM_TIMEOUT", with_backtrace(error), true);
        }
        if error.is::<MemoryExhausted>() || error.is::<TableExhausted>() {
            return Self::new("WASM_MEMORY", with_backtrace(error), true);
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return Self::new("WASM_MEMORY", "too many guests hold memories at once; try again", true);
        }
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            return Self::new("WASM_TRAP", format!("the guest exited with status {}", exit.0), true);
        }
        let at_fault = error.is::<Trap>() || error.is::<CallsExhausted>() || error.is::<WasmBacktrace>();
        if running && !at_fault {
            // No trap and no frame of the guest: it had returned, and its answer could not be read.
            return Self::result(bounded(
                &format!("the answer cannot be read: {}", shown(&error.root_cause().to_string())),
                MESSAGE_BYTES,
            ));
        }
        Self::new("WASM_TRAP", with_backtrace(error), true)
    }
}

/// The cause, and the guest's functions that led to it, innermost first.
fn with_backtrace(error: &wasmtime::Error) -> String {
    let mut message = bounded(&shown(&error.root_cause().to_string()), MESSAGE_BYTES / 2);
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return message;
    };
    // Its own text has the names demangled: `  0:  0x1f2 - lead_score.wasm!lead_score::run`, and file and line below.
    let text = backtrace.to_string();
    let frames = text.lines().filter_map(|line| line.split_once(" - ")).take(20);
    for (_, name) in frames {
        let name = bounded(&shown(name), NAME_BYTES);
        if write!(message, "\n  at {name}").is_err() || message.len() > MESSAGE_BYTES {
            break;
        }
    }
    message
}

fn bounded(text: &str, bytes: usize) -> String {
    if text.len() <= bytes { text.to_owned() } else { format!("{}…", &text[..text.floor_char_boundary(bytes)]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_failure_keeps_its_code_and_delay() {
        let failure = Failure { code: String::new(), message: "x\ny".into(), kind: FailureKind::Retryable(Some(1500)) };
        let error = CallError::of_guest(failure);
        assert_eq!((error.code.as_str(), error.message.as_str()), ("ACTION_FAILED", "x\\ny"));
        assert_eq!((error.retryable, error.delay), (true, Some(Duration::from_millis(1500))));
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(bounded("aäb", 2), "a…");
    }
}
