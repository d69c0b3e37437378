//! Work that is done for several at once: for all who ask while others are being served.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::MutexGuard;

/// Those who wait to be served. Whoever asks takes a turn afterwards and serves who is there then, so that nobody is left waiting; a
/// turn that finds nobody costs nothing.
pub struct Turns<T> {
    waiting: Mutex<VecDeque<T>>,
    turn: tokio::sync::Mutex<()>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }
}

impl<T> Turns<T> {
    /// Lines up behind those who wait already.
    pub fn ask(&self, one: T) {
        self.waiting.lock().push_back(one);
    }

    /// A turn: nobody else has one for as long as the guard lives. They are given in the order in which they are asked for.
    pub async fn take(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Who is served together: from the front at most so many, up to the first who does not fit to those before.
    pub fn next(&self, most: usize, mut fits: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut waiting = self.waiting.lock();
        let together = waiting.iter().take(most).take_while(|one| fits(one)).count();
        waiting.drain(..together).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_served_in_order_up_to_the_most_and_to_the_first_who_does_not_fit() {
        let turns = Turns::default();
        (0..6).for_each(|n| turns.ask(n));
        assert_eq!(turns.next(2, |_| true), [0, 1]);
        assert_eq!(turns.next(9, |n| *n != 4), [2, 3]);
        assert_eq!(turns.next(9, |_| true), [4, 5]);
        assert!(turns.next(9, |_| true).is_empty());
    }
}
