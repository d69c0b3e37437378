//! Why a message did not get to one recipient, and whose fault that is.

use triggerd_core::outcome::Failure;

use crate::failed::Failed;

/// Why a message did not get to one recipient.
#[derive(Clone, PartialEq, Debug)]
pub enum Unsent {
    /// It never will: this recipient is not to be had. Others may be.
    Refused(Failure),
    /// The service did not do it, for a reason that is not the recipient's.
    Failed(Failed),
}

impl Unsent {
    /// This recipient is not to be had.
    pub fn refused(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused(Failure::new(code, message))
    }

    /// No recipient is to be had until the settings or the message are others.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Failed(Failed::permanent(code, message))
    }

    /// Another try may help.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Failed(Failed::transient(code, message))
    }
}

impl From<Failed> for Unsent {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}
