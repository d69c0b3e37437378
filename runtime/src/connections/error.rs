//! Why a system did not do what it was asked, for the clients whose failures come to the same three kinds.

use crate::egress;
use crate::failed::Failed;

/// Why a system did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or the connection was cut.
    #[error(transparent)]
    Egress(#[from] egress::Error),
    /// It cannot do it now, or did not confirm in time: whether it has the message may be unknown.
    #[error("{0}")]
    Unavailable(String),
    /// It will not do it: wrong credentials, no permission, nowhere to put it, too large.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// The failure's code, given what systems of this sort use where no network code fits.
    #[must_use]
    pub fn code(&self, unavailable: &'static str, refused: &'static str) -> &'static str {
        match self {
            Self::Egress(error) => error.code(),
            Self::Unavailable(_) => unavailable,
            Self::Refused(_) => refused,
        }
    }

    /// Whether another try cannot help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Egress(error) => error.is_permanent(),
            Self::Unavailable(_) => false,
            Self::Refused(_) => true,
        }
    }

    /// What it means for an attempt with the broker `tag`.
    #[must_use]
    pub fn failed(&self, tag: &str) -> Failed {
        let text = format!("broker `{tag}`: {self}");
        if self.is_permanent() {
            return Failed::permanent(self.code("BROKER_UNAVAILABLE", "BROKER_REFUSED"), text);
        }
        // One name for a broker that cannot be reached, however it cannot: what `retryOn` knows.
        Failed::transient("BROKER_UNAVAILABLE", text)
    }
}
