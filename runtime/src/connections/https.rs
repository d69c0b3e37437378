//! HTTP to services whose certificate authority may be a private one: one guarded client per authority.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::unsent::Unsent;
use crate::egress::{self, Answer, Egress, Request};
use crate::failed::Failed;

/// The bytes of an answer that are read: services answer with an id or a reason.
const MAX_ANSWER: usize = 64 * 1024;

/// Clients by the authority that they trust beside the public ones. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    egress: Egress,
    trusting: moka::future::Cache<[u8; 32], Egress>,
}

impl Pool {
    /// None but the one for public authorities.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        let idle = Duration::from_secs(600);
        Self { egress, trusting: moka::future::Cache::builder().max_capacity(256).time_to_idle(idle).build() }
    }

    /// The guard.
    #[must_use]
    pub fn guard(&self) -> &Egress {
        &self.egress
    }

    /// The guard, with a client that also trusts `ca`.
    pub async fn trusting(&self, ca: Option<&str>) -> Result<Egress, Failed> {
        let Some(ca) = ca else { return Ok(self.egress.clone()) };
        let made = self.trusting.try_get_with(Sha256::digest(ca).into(), async { self.egress.trusting(ca) });
        made.await.map_err(|detail| Failed::permanent("RESOURCE_INVALID", format!("/ca: {detail}")))
    }

    /// Sends; `attempted` says what, in messages. The caller brings the time-out.
    pub async fn send(&self, ca: Option<&str>, request: Request, attempted: &str) -> Result<Answer, Failed> {
        let guard = self.trusting(ca).await?;
        guard.send(request, MAX_ANSWER).await.map_err(|error| unreachable(&error, attempted))
    }
}

/// The failure of a request that got no answer.
#[must_use]
pub fn unreachable(error: &egress::Error, attempted: &str) -> Failed {
    Failed { failure: error.failure(attempted), retryable: !error.is_permanent(), after: None }
}

/// The failure of an answer that says "not now"; `None` where it says something else.
#[must_use]
pub fn not_now(answer: &Answer, attempted: &str, now: Timestamp) -> Option<Unsent> {
    answer.is_transient().then(|| {
        let message = format!("{attempted} answered {}", answer.status);
        let failed = Failed::transient(format!("HTTP_{}", answer.status), message);
        Unsent::Failed(Failed { after: answer.retry_after(now), ..failed })
    })
}

/// What a service said in words, bounded.
#[must_use]
pub fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
