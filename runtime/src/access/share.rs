//! A rate that nodes have in common: each takes some of it at a time, so that the limit holds for all of them together and a request
//! seldom waits for another machine.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::pot::Pot;
use super::rate::Verdict;

/// A node takes the worth of so much time at once ...
const CHUNK: Duration = Duration::from_millis(50);
/// ... and gives up what it has not used after this.
const KEPT: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);

/// What this node has taken of a rate.
#[derive(Default)]
pub struct Share(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    left: u64,
    until: Option<Instant>,
    /// What requests that were let in owe beyond what was taken.
    owed: u64,
}

impl Share {
    /// Takes one of the rate `name`, beside `here`, what this node's own limit has said.
    pub async fn take(&self, pot: &Pot, name: &str, here: Verdict) -> Verdict {
        let mut taken = self.0.lock().await;
        let now = Instant::now();
        if taken.left > 0 && taken.until.is_some_and(|until| now < until) {
            taken.left -= 1;
            return here;
        }
        let limit = u64::from(here.limit).max(1);
        let chunk = (limit * CHUNK.as_millis() as u64 / 1000).max(1);
        let cost = SECOND / u32::try_from(limit).unwrap_or(u32::MAX);
        match pot.take(name, chunk + taken.owed, cost, SECOND).await {
            None => {
                *taken = Taken { left: chunk - 1, until: Some(now + KEPT), owed: 0 };
                here
            }
            Some(wait) => {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                Verdict { allowed: false, remaining: 0, seconds, ..here }
            }
        }
    }

    /// A request that was let in turned out to be many.
    pub async fn charge(&self, more: u64) {
        let mut taken = self.0.lock().await;
        let here = more.min(taken.left);
        taken.left -= here;
        taken.owed = taken.owed.saturating_add(more - here);
    }
}
