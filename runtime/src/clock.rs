//! Time and chance enter here and nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;

/// Where the program reads the time and draws random bits. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Source>);

/// What a clock is made of; tests bring their own.
pub trait Source: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Uniform in `[0, 1)`.
    fn chance(&self) -> f64;
    /// Bits of an id that no other id has.
    fn id_bits(&self) -> [u8; 10];
    /// Whether this is the machine's clock.
    fn is_system(&self) -> bool {
        false
    }
}

struct System;

/// Counts ids; where it begins is a matter of chance.
static IDS: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(rand::random()));

impl Source for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn chance(&self) -> f64 {
        rand::random()
    }
    /// 42 bits that count and 32 of chance, so that the ids of one process are in the order of their making also within a
    /// millisecond (RFC 9562, section 6.2, method 1): rows that belong together lie together.
    fn id_bits(&self) -> [u8; 10] {
        let count = IDS.fetch_add(1, Ordering::Relaxed);
        let chance: [u8; 4] = rand::random();
        // The upper half of the first byte and the two upper bits of the third are the version and the variant.
        let byte = |shift: u32| (count >> shift) as u8;
        let (first, second, third) = (byte(38) & 0x0f, byte(30), byte(24) & 0x3f);
        let counted = [first, second, third, byte(16), byte(8), byte(0)];
        let mut bits = [0; 10];
        bits[..6].copy_from_slice(&counted);
        bits[6..].copy_from_slice(&chance);
        bits
    }
    fn is_system(&self) -> bool {
        true
    }
}

impl Clock {
    /// The machine's clock and random source.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(System))
    }

    /// A clock of the caller's.
    #[must_use]
    pub fn of(source: Arc<dyn Source>) -> Self {
        Self(source)
    }

    /// The time, cut to milliseconds: what the store and the API keep.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.now().as_millisecond()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.0.now().as_millisecond()
    }

    /// Uniform in `[0, 1)`, for jitter.
    #[must_use]
    pub fn chance(&self) -> f64 {
        self.0.chance()
    }

    /// Whether this is the machine's clock, not a test's.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.is_system()
    }

    /// Bits of an id that no other id has.
    #[must_use]
    pub fn id_bits(&self) -> [u8; 10] {
        self.0.id_bits()
    }

    /// A new UUIDv7.
    #[must_use]
    pub fn uuid(&self) -> uuid::Uuid {
        triggerd_core::id::RunId::new(u64::try_from(self.now_ms()).unwrap_or(0), self.id_bits()).0
    }
}

#[cfg(test)]
mod tests {
    use triggerd_core::id::RunId;

    use super::*;

    #[test]
    fn ids_of_one_millisecond_are_in_the_order_of_their_making() {
        let clock = Clock::system();
        let ids: Vec<RunId> = (0..100_000).map(|_| RunId::new(1_800_000_000_000, clock.id_bits())).collect();
        // The count may turn over once.
        assert!(ids.windows(2).filter(|pair| pair[0] >= pair[1]).count() <= 1);
    }
}
