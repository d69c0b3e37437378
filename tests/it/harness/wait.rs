//! Waiting for something that is told by no signal: asked for again and again, for a bounded time.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything is waited for. Long, since a failing wait is the exception and machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(45);

const PAUSE: Duration = Duration::from_millis(20);

/// What `ask` answers once it answers `Ok`. `Err` says what is still missing, for the message of a failed wait.
#[track_caller]
pub fn eventually<T, F>(mut ask: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Result<T, String>>,
{
    let asked_at = std::panic::Location::caller();
    async move {
        let began = Instant::now();
        loop {
            match ask().await {
                Ok(found) => return found,
                Err(missing) if began.elapsed() > PATIENCE => {
                    panic!("waited {} s in vain at {asked_at}: {missing}", PATIENCE.as_secs())
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
