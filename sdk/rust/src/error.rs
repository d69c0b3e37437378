//! How a call fails: the guest's own failures, and those of what it asked the host for.

use std::fmt;
use std::time::Duration;

/// Why a guest did not do what it was asked, and whether another try may help.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActionError {
    /// A stable name for programs, such as `CRM_UNAVAILABLE`: what a trigger's `retryOn` names.
    pub code: String,
    /// For people: what failed, for which input, what to do. Never a secret.
    pub message: String,
    /// Whether another try may help.
    pub retry: Retry,
}

/// Whether another try may help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// It will not: the run becomes a dead letter, or goes on with `fallback` or `continueOnError`.
    Never,
    /// It may, when the action's `retry` says.
    Later,
    /// It may, after so long.
    After(Duration),
}

impl ActionError {
    /// A failure that another try may mend: a service is down, a limit is reached.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retry: Retry::Later }
    }

    /// A failure that another try may mend, but not before `delay` is over.
    pub fn retryable_after(code: impl Into<String>, message: impl Into<String>, delay: Duration) -> Self {
        Self { code: code.into(), message: message.into(), retry: Retry::After(delay) }
    }

    /// A failure for good: the input is wrong, the other side refuses.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retry: Retry::Never }
    }

    /// Whether another try may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retry != Retry::Never
    }
}

impl fmt::Display for ActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ActionError {}

/// Why an import did not do what it was asked. `?` makes an [`ActionError`] of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceError {
    /// A stable name for programs: `ECONNREFUSED`, `BROKER_UNAVAILABLE`, ...
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether another try may help.
    pub retryable: bool,
}

impl ServiceError {
    /// An error for good.
    pub(crate) fn permanent(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false }
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ServiceError {}

impl From<ServiceError> for ActionError {
    fn from(error: ServiceError) -> Self {
        let retry = if error.retryable { Retry::Later } else { Retry::Never };
        Self { code: error.code, message: error.message, retry }
    }
}
