//! Ports for servers that have to be told one before they start.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that the system takes outgoing connections' ports from, so that none of those gets in between.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port on which nothing listens on any address, given to nobody else in this process.
pub fn free_port() -> u16 {
    // Other test processes on this machine begin elsewhere.
    let offset = (std::process::id().wrapping_mul(61) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + offset.wrapping_add(step) % COUNT;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {FIRST}..{} is free", FIRST + COUNT);
}
