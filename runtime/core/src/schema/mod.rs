//! Checks an action's settings against the JSON Schema of its config struct, leaving templated strings alone.

mod check;

pub use check::check;

#[cfg(test)]
mod tests;
