//! Time and chance enter here and nowhere else.

use std::sync::Arc;

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
    /// Random bits of an id.
    fn id_bits(&self) -> [u8; 10];
}

struct System;

impl Source for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn chance(&self) -> f64 {
        rand::random()
    }
    fn id_bits(&self) -> [u8; 10] {
        rand::random()
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

    /// Random bits of an id.
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
