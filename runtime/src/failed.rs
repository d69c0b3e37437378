//! Why something that an action or a guest asked for was not done, and whether another try may help.

use std::time::Duration;

use triggerd_core::outcome::{Failure, Outcome};

/// A failure that knows whether another try may mend it.
#[derive(Clone, PartialEq, Debug)]
pub struct Failed {
    /// Code and words.
    pub failure: Failure,
    /// Whether another try may help.
    pub retryable: bool,
    /// The wait that was asked for.
    pub after: Option<Duration>,
}

impl Failed {
    /// For good.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { failure: Failure::new(code, message), retryable: false, after: None }
    }

    /// For now.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { failure: Failure::new(code, message), retryable: true, after: None }
    }

    /// There is no resource of that tag.
    #[must_use]
    pub fn no_resource(kind: &str, tag: &str) -> Self {
        Self::permanent(
            "RESOURCE_NOT_FOUND",
            format!("there is no {} `{tag}`; PUT /api/v1/{kind}/{tag} makes it", kind.trim_end_matches('s')),
        )
    }

    /// The store did not do it.
    #[must_use]
    pub fn of_store(error: &crate::store::Error) -> Self {
        Self::transient("STORE_UNAVAILABLE", error.to_string())
    }
}

impl From<Failed> for Outcome {
    fn from(failed: Failed) -> Self {
        let Failed { failure, retryable, after } = failed;
        if retryable { Self::Retry { failure, after } } else { Self::Dead(failure) }
    }
}

impl From<Failure> for Failed {
    /// For good: what the code says about settings, secrets and definitions does not change by itself.
    fn from(failure: Failure) -> Self {
        Self { failure, retryable: false, after: None }
    }
}

/// How an attempt ended that gives `result`.
pub fn outcome(result: Result<serde_json::Value, Failed>) -> Outcome {
    result.map_or_else(Outcome::from, Outcome::Done)
}
