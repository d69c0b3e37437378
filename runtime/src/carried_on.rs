//! Work that goes on where whoever waits for it goes away.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// A future that is carried on by a task of its own where it is dropped before its end: a request whose client hangs up drops its
/// handler. While it is waited for it is polled in place, which saves the task and its wake-ups.
pub struct CarriedOn<F: Future<Output: Send> + Send + 'static> {
    rest: Option<Pin<Box<F>>>,
}

impl<F: Future<Output: Send> + Send + 'static> CarriedOn<F> {
    /// To be awaited, or dropped, within a runtime.
    pub fn new(future: F) -> Self {
        Self { rest: Some(Box::pin(future)) }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for CarriedOn<F> {
    type Output = F::Output;

    /// # Panics
    /// After its end, as other futures do.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out: one that panics is over, and not to be carried on.
        let mut rest = self.rest.take().expect("a future is not polled after its end");
        let polled = rest.as_mut().poll(context);
        if polled.is_pending() {
            self.rest = Some(rest);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for CarriedOn<F> {
    fn drop(&mut self) {
        // A runtime that is gone carries nothing on: its process is ending.
        if let (Some(rest), Ok(runtime)) = (self.rest.take(), Handle::try_current()) {
            runtime.spawn(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_waited_for_ends_in_place() {
        assert_eq!(CarriedOn::new(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_carried_on() {
        for polled in [false, true] {
            let ((go, gone), (done, ended)) = (oneshot::channel::<()>(), oneshot::channel());
            let mut work = CarriedOn::new(async move {
                let _ = gone.await;
                let _ = done.send(polled);
            });
            if polled {
                assert!(tokio::time::timeout(Duration::from_millis(1), &mut work).await.is_err());
            }
            drop(work);
            go.send(()).expect("it waits for this");
            assert_eq!(ended.await, Ok(polled));
        }
    }
}
