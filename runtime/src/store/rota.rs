//! Whose turn it is: claims take from the tenants that wait one after another, so that a long queue of one does not keep the others
//! waiting. Runs count the same, whatever they do: this is deficit round robin (Shreedhar and Varghese, 1996) with packets of one size,
//! where no deficit is left over.

use parking_lot::Mutex;

/// Tenants that one claim takes from at most.
pub(super) const MOST: usize = 256;
/// Tenants that are looked at to find them: most have only runs that are not due yet.
pub(super) const LOOKED_AT: usize = 1000;

/// Who was served last.
#[derive(Default, Debug)]
pub(super) struct Rota(Mutex<String>);

impl Rota {
    /// The tenant after which the next round begins.
    pub fn last(&self) -> String {
        self.0.lock().clone()
    }

    /// Those of `waiting`, in their order, that are served now, and how many runs each may have of `limit`.
    pub fn next(&self, mut waiting: Vec<String>, limit: u32) -> (Vec<String>, u32) {
        waiting.truncate((limit as usize).min(MOST));
        if let Some(last) = waiting.last() {
            self.0.lock().clone_from(last);
        }
        let each = limit.div_ceil(u32::try_from(waiting.len().max(1)).unwrap_or(u32::MAX));
        (waiting, each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_served_before_any_is_served_again() {
        let rota = Rota::default();
        let all: Vec<String> = (0..5).map(|n| format!("t{n}")).collect();
        let from = |last: &str| -> Vec<String> {
            let (before, after): (Vec<String>, Vec<String>) =
                all.iter().cloned().partition(|name| name.as_str() <= last);
            after.into_iter().chain(before).collect()
        };
        let mut served = Vec::new();
        for _ in 0..5 {
            let (now, each) = rota.next(from(&rota.last()), 2);
            assert_eq!((now.len(), each), (2, 1));
            served.extend(now);
        }
        let twice: Vec<&String> = all.iter().chain(&all).collect();
        assert_eq!(served.iter().collect::<Vec<_>>(), twice);
        assert_eq!(rota.next(all.clone(), 256).1, 52);
        assert_eq!(rota.next(Vec::new(), 256), (Vec::new(), 256));
    }
}
