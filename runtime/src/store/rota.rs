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
    /// A look for the tenants that wait, beginning after the one that was served last.
    pub fn look(&self) -> Look {
        Look { last: self.0.lock().clone(), looks: 0, found: Vec::new() }
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

/// A look for the tenants that wait: the store is asked for those after a name, once or twice.
pub(super) struct Look {
    last: String,
    looks: u8,
    found: Vec<String>,
}

impl Look {
    /// The name after which to look next; `None` once all are found that one claim takes from.
    pub fn after(&mut self) -> Option<String> {
        self.looks += 1;
        match self.looks {
            1 => Some(self.last.clone()),
            2 if !self.last.is_empty() && self.found.len() < MOST => Some(String::new()),
            _ => None,
        }
    }

    /// These were found.
    pub fn found(&mut self, tenants: Vec<String>) {
        // From the start on, it goes as far as where it began.
        let again = self.looks > 1;
        self.found.extend(tenants.into_iter().take_while(|tenant| !again || *tenant <= self.last));
    }

    /// All that were found, in their order.
    pub fn all(self) -> Vec<String> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_served_before_any_is_served_again() {
        let rota = Rota::default();
        let all: Vec<String> = (0..5).map(|n| format!("t{n}")).collect();
        let mut served = Vec::new();
        for _ in 0..5 {
            let mut look = rota.look();
            while let Some(after) = look.after() {
                look.found(all.iter().filter(|name| **name > after).cloned().collect());
            }
            let (now, each) = rota.next(look.all(), 2);
            assert_eq!((now.len(), each), (2, 1));
            served.extend(now);
        }
        let twice: Vec<&String> = all.iter().chain(&all).collect();
        assert_eq!(served.iter().collect::<Vec<_>>(), twice);
        assert_eq!(rota.next(all.clone(), 256).1, 52);
        assert_eq!(rota.next(Vec::new(), 256), (Vec::new(), 256));
    }
}
