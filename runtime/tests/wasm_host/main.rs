//! The Wasm host's promises: what guests can do, what hostile ones cannot, and what is refused at upload.
#![allow(clippy::unwrap_used)]

mod answers;
mod guests;
mod harness;
mod hostile;
mod reach;
mod uploads;
mod wasi;
