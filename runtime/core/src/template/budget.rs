//! The bounds of rendering one action's settings: what is written, how often helpers and loops turn, and how
//! much is worked through on the way.

use std::cell::Cell;

/// The largest rendered configuration in bytes.
pub const MAX_OUTPUT: usize = 1024 * 1024;

/// The most loop turns and helper calls in one rendering.
pub const MAX_STEPS: usize = 50_000;

/// The most bytes that helpers may read and make, and nodes and path steps may be visited (at [`VISIT`] each).
/// Without it 50,000 steps of a megabyte each would be within the other bounds.
const MAX_WORK: usize = 8 * MAX_OUTPUT;

/// What one visit of a node, or one step of a path, counts as work.
pub(super) const VISIT: usize = 32;

/// What a helper that hashes or formats counts as work, above what it reads and makes.
pub(super) const COSTLY: usize = 512;

/// What is left of the bounds.
pub(super) struct Budget {
    output: Cell<usize>,
    steps: Cell<usize>,
    work: Cell<usize>,
}

impl Budget {
    /// The full bounds.
    pub fn new() -> Self {
        Self { output: Cell::new(MAX_OUTPUT), steps: Cell::new(MAX_STEPS), work: Cell::new(MAX_WORK) }
    }

    /// Takes one loop turn or helper call.
    pub fn step(&self) -> Result<(), String> {
        take(&self.steps, 1).ok_or_else(|| format!("it takes more than {MAX_STEPS} loop turns and helper calls"))
    }

    /// Takes `bytes` of output.
    pub fn write(&self, bytes: usize) -> Result<(), String> {
        take(&self.output, bytes).ok_or_else(|| format!("the rendered settings exceed {MAX_OUTPUT} bytes"))
    }

    /// Takes `bytes` of work.
    pub fn work(&self, bytes: usize) -> Result<(), String> {
        take(&self.work, bytes).ok_or_else(|| format!("it works through more than {MAX_WORK} bytes"))
    }

    /// How much output is left.
    pub fn output_left(&self) -> usize {
        self.output.get()
    }
}

fn take(left: &Cell<usize>, amount: usize) -> Option<()> {
    left.set(left.get().checked_sub(amount)?);
    Some(())
}
