//! Places in flight: waited for where a destination works, and freed with what the attempt showed of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use triggerd_core::breaker::Verdict;
use triggerd_core::id::TenantId;
use triggerd_core::outcome::Outcome;

use super::destinations::{Alone, Destinations, Full, Place};
use crate::actions::{self, Settle};

/// Why there was no place for an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unavailable {
    /// The destination is stuck, or the tenant or the node is at its cap.
    Full,
    /// The destination has failed too often; it may be tried again after this.
    Open(Duration),
    /// The tenant's guests have used their CPU time; they may run again after this.
    Quota(Duration),
}

/// A place of the tenant's quota for an attempt that goes to no destination; waited for.
pub(super) async fn enter_alone(destinations: &Arc<Destinations>, tenant: &TenantId) -> Option<Alone> {
    loop {
        match destinations.enter_alone(tenant) {
            Ok(place) => return place,
            Err(freed) => {
                let _ = tokio::time::timeout(Duration::from_secs(2), freed.notified()).await;
            }
        }
    }
}

/// A place in flight, waited for where the destination works.
pub(super) async fn enter(
    destinations: &Arc<Destinations>,
    tenant: &TenantId,
    destination: &str,
) -> Result<Place, Unavailable> {
    loop {
        match destinations.enter(tenant, destination) {
            Ok(place) => return Ok(place),
            Err(Full::Later) => return Err(Unavailable::Full),
            Err(Full::Open(wait)) => return Err(Unavailable::Open(wait)),
            Err(Full::Busy(freed)) => {
                // Woken late rather than never: a destination that gets stuck meanwhile frees nothing.
                let _ = tokio::time::timeout(Duration::from_secs(2), freed.notified()).await;
            }
        }
    }
}

/// Gives places to actions whose requests are not one attempt each.
pub struct Places(pub(super) Arc<Destinations>);

impl actions::Places for Places {
    fn enter<'a>(
        &'a self,
        tenant: &'a TenantId,
        destination: &'a str,
    ) -> BoxFuture<'a, Result<Settle, Option<Duration>>> {
        Box::pin(async move {
            let place = enter(&self.0, tenant, destination).await.map_err(|why| match why {
                Unavailable::Full => None,
                Unavailable::Open(wait) | Unavailable::Quota(wait) => Some(wait),
            })?;
            let settle: Settle = Box::new(|outcome| place.settle(verdict(outcome), is_pressed(outcome)));
            Ok(settle)
        })
    }
}

/// What an outcome says about the destination. A refusal is an answer; what went wrong on this side says nothing.
pub(super) fn verdict(outcome: &Outcome) -> Verdict {
    const OURS: &[&str] = &["INTERNAL", "STORE_UNAVAILABLE", "EGRESS_DENIED", "URL_INVALID", "CONFIG_INVALID"];
    const OURS_BEGIN: &[&str] = &["TEMPLATE", "SECRET_", "SIGNING_", "RESOURCE_", "COMPONENT_", "WASM_", "SYNC_"];
    let (failure, transient) = match outcome {
        Outcome::Done(_) => return Verdict::Answered,
        Outcome::Retry { failure, .. } => (failure, true),
        Outcome::Dead(failure) => (failure, false),
    };
    let code = failure.code.as_str();
    if OURS.contains(&code) || OURS_BEGIN.iter().any(|begin| code.starts_with(begin)) {
        return Verdict::Nothing;
    }
    let is_failure = code.starts_with("HTTP_5") || (transient && !code.starts_with("HTTP_"));
    if is_failure { Verdict::Failed } else { Verdict::Answered }
}

/// Whether an outcome shows that the destination has too much to do: it says so, or does not keep up.
pub(super) fn is_pressed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Retry { failure, .. } if matches!(failure.code.as_str(), "HTTP_429" | "HTTP_502" | "HTTP_503" | "HTTP_504" | "ETIMEDOUT"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_refusal_is_an_answer_and_our_own_failures_say_nothing() {
        use Verdict::{Answered, Failed, Nothing};
        let of = |outcome: Outcome| verdict(&outcome);
        assert_eq!(of(Outcome::Done(Value::Null)), Answered);
        for (code, verdict) in [
            ("ECONNREFUSED", Failed),
            ("ETIMEDOUT", Failed),
            ("HTTP_503", Failed),
            ("SMTP_451", Failed),
            ("BROKER_UNAVAILABLE", Failed),
            ("HTTP_429", Answered),
            ("HTTP_408", Answered),
            ("STORE_UNAVAILABLE", Nothing),
            ("INTERNAL", Nothing),
            ("SYNC_WAITS", Nothing),
        ] {
            assert_eq!(of(Outcome::retry(code, "")), verdict, "{code}");
        }
        for (code, verdict) in [
            ("HTTP_404", Answered),
            ("HTTP_500", Failed),
            ("SMTP_550", Answered),
            ("BROKER_REFUSED", Answered),
            ("EGRESS_DENIED", Nothing),
            ("CONFIG_INVALID", Nothing),
            ("SECRET_NOT_FOUND", Nothing),
        ] {
            assert_eq!(of(Outcome::dead(code, "")), verdict, "{code}");
        }
    }
}
