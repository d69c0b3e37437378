//! The rate of a tenant or of a key: on this node, and where nodes have it in common for all of them.

use std::time::Instant;

use super::pot::Pot;
use super::rate::{Rate, Verdict};
use super::share::Share;

/// One rate.
pub struct Limit {
    name: String,
    rate: Rate,
    share: Share,
}

/// What the rates say to a request: the key's own, and its tenant's. `None` where there is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Verdicts {
    /// The key's.
    pub key: Option<Verdict>,
    /// The tenant's.
    pub tenant: Option<Verdict>,
}

impl Verdicts {
    /// Those that there are, with the names of their policies.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Verdict)> {
        [("tenant", self.tenant), ("key", self.key)].into_iter().filter_map(|(name, verdict)| Some((name, verdict?)))
    }

    /// The one that refuses.
    #[must_use]
    pub fn refusal(&self) -> Option<(&'static str, Verdict)> {
        self.all().find(|(_, verdict)| !verdict.allowed)
    }
}

impl Limit {
    /// A rate of `per_second` that nodes know by `name`; zero is no limit.
    #[must_use]
    pub fn new(name: String, per_second: u32) -> Self {
        Self { name, rate: Rate::new(per_second), share: Share::default() }
    }

    /// Changes the limit; what was used stays used.
    pub fn set(&self, per_second: u32) {
        self.rate.set(per_second);
    }

    /// Takes one; `None` where there is no limit.
    pub async fn take(&self, pot: &Pot, started: Instant) -> Option<Verdict> {
        let here = self.rate.take(nanoseconds_since(started))?;
        if !here.allowed || !pot.is_shared() {
            return Some(here);
        }
        Some(self.share.take(pot, &self.name, here).await)
    }

    /// Charges for `more` of a request that was let in.
    pub async fn charge(&self, pot: &Pot, started: Instant, more: u64) {
        self.rate.charge(nanoseconds_since(started), more);
        if pot.is_shared() && self.rate.is_limited() && more > 0 {
            self.share.charge(more).await;
        }
    }
}

fn nanoseconds_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
