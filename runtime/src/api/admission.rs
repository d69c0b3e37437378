//! How much memory bodies may take at once. What would take more is answered 503 before it is read, so that a rush of large
//! requests costs whoever sends them a wait, and nobody the process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::problem::{Answer, ApiError};

/// When another try makes sense: bodies are kept within a fraction of it, unless they come slowly.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The bodies that are being read, and those whose events are being kept.
#[derive(Debug)]
pub struct Bodies {
    most: usize,
    held: AtomicUsize,
}

/// The room of one body; dropping it frees it.
#[derive(Debug)]
pub struct Held<'a> {
    bodies: &'a Bodies,
    bytes: usize,
}

impl Bodies {
    /// So many bytes at most.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, held: AtomicUsize::new(0) }
    }

    /// Room for a body of so many bytes; 503 where there is too little.
    ///
    /// One takes at most half of what is free: large ones are refused first, and small ones find room beside any number of them.
    pub fn hold(&self, bytes: usize) -> Answer<Held<'_>> {
        let mut held = Held { bodies: self, bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }
}

impl Held<'_> {
    /// Room for so many bytes more.
    pub fn grow(&mut self, bytes: usize) -> Answer<()> {
        let fits = |held: usize| {
            let free = self.bodies.most.saturating_sub(held);
            (self.bytes.saturating_add(bytes) <= free.saturating_add(self.bytes) / 2).then(|| held + bytes)
        };
        match self.bodies.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => {
                metrics::counter!("triggerd_shed_requests_total").increment(1);
                let detail =
                    "the server has too many large requests at once; send this one again, or in smaller pieces";
                Err(ApiError::unavailable(detail, RETRY_AFTER))
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_are_refused_before_small_ones_and_what_is_dropped_is_free_again() {
        let bodies = Bodies::new(100);
        assert_eq!(bodies.hold(51).unwrap_err().status(), 503);
        let first = bodies.hold(50).unwrap();
        assert_eq!(bodies.hold(26).unwrap_err().status(), 503);
        let second = bodies.hold(25).unwrap();
        let small = bodies.hold(2).unwrap();
        drop((first, second, small));
        bodies.hold(50).unwrap();
    }

    #[test]
    fn a_body_of_unknown_size_takes_room_as_it_comes() {
        let bodies = Bodies::new(100);
        let mut growing = bodies.hold(0).unwrap();
        growing.grow(30).unwrap();
        growing.grow(20).unwrap();
        growing.grow(1).unwrap_err();
        // What it had, it keeps until it is dropped.
        assert_eq!(bodies.hold(26).unwrap_err().status(), 503);
        drop(growing);
        bodies.hold(50).unwrap();
    }
}
