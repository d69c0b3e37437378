//! One message to several recipients: each gets it once, over all attempts and replays.
//!
//! What became of each recipient is written to the store as it becomes known, under the delivery id, and read by the
//! next attempt, which leaves those out that have the message or never will. When the process ends between a service's
//! answer and the write, the few recipients in between get the message again: services without an idempotency key
//! leave no other choice. What is written goes when the action is done, and after [`KEPT`] otherwise, so that a dead
//! letter that is replayed does not begin again. Recipients stand there by the digest of their address alone.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use triggerd_core::outcome::Failure;
use uuid::Uuid;

use super::Context;
use super::notification::{SHOWN, few};
use crate::connections::unsent::Unsent;
use crate::failed::Failed;

/// Where it is written: no component can be called that.
const PLACE: &str = "notification:recipients";
/// How long it is kept for a replay.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Requests of one attempt that are under way at the same time.
const AT_ONCE: usize = 16;
/// A service that fails this often is left alone until the next attempt.
const PATIENCE: usize = 3;

/// What became of a recipient.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fate {
    /// It has the message: the service's id of it.
    Taken(String),
    /// It never will.
    Refused(Failure),
}

/// What is known of a delivery's recipients.
pub(super) struct Progress<'c> {
    cx: &'c Context,
    fates: BTreeMap<String, Fate>,
    /// With one recipient there is nothing to remember: the run itself does.
    is_kept: bool,
    is_written: bool,
}

impl<'c> Progress<'c> {
    /// What earlier attempts wrote.
    pub async fn load(cx: &'c Context, recipients: usize) -> Result<Self, Failed> {
        let mut progress = Self { cx, fates: BTreeMap::new(), is_kept: recipients > 1, is_written: false };
        if !progress.is_kept {
            return Ok(progress);
        }
        let (store, now) = (&cx.services.store, cx.services.clock.now());
        let found = store.state_get(cx.tenant(), PLACE, &cx.delivery_id.to_string(), now).await;
        if let Some(found) = found.map_err(|error| Failed::of_store(&error))? {
            progress.is_written = true;
            progress.fates = serde_json::from_slice(&found.value).map_err(|error| {
                Failed::permanent("INTERNAL", format!("what was written of the recipients: {error}"))
            })?;
        }
        if cx.replay {
            // Whoever asks for a replay has mended something: those who were refused may not be any more.
            progress.fates.retain(|_, fate| matches!(fate, Fate::Taken(_)));
        }
        Ok(progress)
    }

    /// What became of a recipient, where that is known.
    pub fn fate(&self, recipient: &str) -> Option<&Fate> {
        self.fates.get(&digest(recipient))
    }

    /// Notes what became of a recipient.
    pub fn note(&mut self, recipient: &str, fate: Fate) {
        self.fates.insert(digest(recipient), fate);
    }

    /// Writes down what was noted.
    pub async fn write(&mut self) -> Result<(), Failed> {
        if !self.is_kept {
            return Ok(());
        }
        let value =
            serde_json::to_vec(&self.fates).map_err(|error| Failed::permanent("INTERNAL", error.to_string()))?;
        let until = self.cx.services.clock.now() + KEPT;
        let key = self.cx.delivery_id.to_string();
        let written = self.cx.services.store.state_set(self.cx.tenant(), PLACE, &key, value, Some(until)).await;
        self.is_written = true;
        written.map(|_| ()).map_err(|error| Failed::of_store(&error))
    }

    /// Forgets all of it: the action is done.
    pub async fn forget(&self) -> Result<(), Failed> {
        if !self.is_written {
            return Ok(());
        }
        let key = self.cx.delivery_id.to_string();
        let deleted = self.cx.services.store.state_delete(self.cx.tenant(), PLACE, &key).await;
        deleted.map(|_| ()).map_err(|error| Failed::of_store(&error))
    }
}

fn digest(recipient: &str) -> String {
    hex::encode(&Sha256::digest(recipient)[..16])
}

/// A recipient's own delivery id: what services that know idempotency keys get.
pub(super) fn id(cx: &Context, recipient: &str) -> Uuid {
    cx.run_id.delivery(&format!("{}/{}", cx.action, digest(recipient))).0
}

/// Sends to each of `recipients`, which are all different, and answers with what became of each. A failure that is
/// nobody's in particular is the attempt's; those who have the message by then keep it.
pub(super) async fn send<F>(cx: &Context, recipients: &[String], send: impl Fn(usize) -> F) -> Result<Vec<Fate>, Failed>
where
    F: Future<Output = Result<String, Unsent>>,
{
    let mut progress = Progress::load(cx, recipients.len()).await?;
    let mut waiting: Vec<usize> = (0..recipients.len()).filter(|i| progress.fate(&recipients[*i]).is_none()).collect();
    waiting.reverse();
    let mut flying = FuturesUnordered::new();
    let mut failures: Vec<Failed> = Vec::new();
    loop {
        while flying.len() < AT_ONCE && !is_enough(&failures) {
            let Some(next) = waiting.pop() else { break };
            let sending = send(next);
            flying.push(async move { (next, sending.await) });
        }
        let Some(first) = flying.next().await else { break };
        // What else is there already shares the write.
        let mut ended = vec![first];
        while let Some(Some(another)) = flying.next().now_or_never() {
            ended.push(another);
        }
        for (index, sent) in ended {
            match sent {
                Ok(id) => progress.note(&recipients[index], Fate::Taken(id)),
                Err(Unsent::Refused(failure)) => progress.note(&recipients[index], Fate::Refused(failure)),
                Err(Unsent::Failed(failed)) => failures.push(failed),
            }
        }
        if let Err(failed) = progress.write().await {
            failures.push(failed);
        }
    }
    let fates: Vec<Option<Fate>> = recipients.iter().map(|recipient| progress.fate(recipient).cloned()).collect();
    if let Some(failed) = worst(failures) {
        return Err(told(failed, &fates));
    }
    progress.forget().await?;
    Ok(fates.into_iter().flatten().collect())
}

/// Whether it is of no use, or no good manners, to go on.
fn is_enough(failures: &[Failed]) -> bool {
    failures.len() >= PATIENCE || failures.iter().any(|f| !f.retryable || f.failure.code == "HTTP_429")
}

/// One that is for good, or else the first, with the longest wait that was asked for.
fn worst(failures: Vec<Failed>) -> Option<Failed> {
    let after = failures.iter().filter_map(|failed| failed.after).max();
    let index = failures.iter().position(|failed| !failed.retryable).unwrap_or(0);
    let failed = failures.into_iter().nth(index)?;
    Some(Failed { after: after.filter(|_| failed.retryable), ..failed })
}

fn told(failed: Failed, fates: &[Option<Fate>]) -> Failed {
    let taken = fates.iter().flatten().filter(|fate| matches!(fate, Fate::Taken(_))).count();
    if taken == 0 {
        return failed;
    }
    let Failure { code, message } = failed.failure;
    let message = format!("{message}; {taken} of {} recipients have the message and do not get it again", fates.len());
    Failed { failure: Failure { code, message }, ..failed }
}

/// The ids of those who have the message.
pub(super) fn ids(fates: &[Fate]) -> Vec<&str> {
    fates.iter().filter_map(|fate| if let Fate::Taken(id) = fate { Some(id.as_str()) } else { None }).collect()
}

/// `[{recipient, code, message}]` of those who were refused.
pub(super) fn refused(recipients: &[String], fates: &[Fate]) -> Vec<Value> {
    let of = |(recipient, fate): (&String, &Fate)| match fate {
        Fate::Taken(_) => None,
        Fate::Refused(failure) => {
            Some(json!({ "recipient": recipient, "code": failure.code, "message": failure.message }))
        }
    };
    recipients.iter().zip(fates).filter_map(of).collect()
}

/// What is kept of a result with the attempt.
pub(super) fn shown(output: &Value) -> Value {
    let few = |list: &Value| list.as_array().map_or(Value::Null, |list| few(list, SHOWN));
    Value::Object(output.as_object().into_iter().flatten().map(|(name, list)| (name.clone(), few(list))).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_mended_outweighs_what_can_and_the_longest_wait_counts() {
        let later =
            |seconds| Failed { after: Some(Duration::from_secs(seconds)), ..Failed::transient("HTTP_503", "x") };
        assert_eq!(worst(vec![later(3), later(7)]).unwrap().after, Some(Duration::from_secs(7)));
        let for_good = worst(vec![later(3), Failed::permanent("SMS_REFUSED", "x")]).unwrap();
        assert_eq!((for_good.failure.code.as_str(), for_good.after), ("SMS_REFUSED", None));
        assert!(worst(Vec::new()).is_none());
        assert!(!is_enough(&[later(1), later(1)]) && is_enough(&[later(1), later(1), later(1)]));
        assert!(is_enough(&[Failed::transient("HTTP_429", "x")]));
    }
}
