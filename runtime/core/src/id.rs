//! Ids: UUIDv7 newtypes, made from an instant and random bits that the caller brings.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A UUIDv7 of `unix_ms` with `random` filling the rest (RFC 9562, section 5.7).
            #[must_use]
            pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
            }

            /// The 16 bytes, as the store keeps them.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From the store's 16 bytes; `None` for any other length.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(s).map(Self)
            }
        }
    };
}

uuid_id!(
    /// Names an accepted event.
    EventId
);
uuid_id!(
    /// Names one run: one trigger's actions for one event.
    RunId
);
uuid_id!(
    /// Names one action of one run: the same on every try and every replay, another one for every other
    /// action or run. Receivers de-duplicate by it.
    DeliveryId
);

impl RunId {
    /// The delivery id of this run's action at `path` (the action's name; `NAME/fallback/NAME` for a
    /// fallback). A UUIDv7 that keeps the run's instant and takes its random bits from SHA-256, so that it
    /// is the same wherever and whenever it is computed.
    #[must_use]
    pub fn delivery(&self, path: &str) -> DeliveryId {
        let mut hash = Sha256::new();
        hash.update(self.0.as_bytes());
        hash.update(path.as_bytes());
        let digest = hash.finalize();
        let mut random = [0u8; 10];
        random.copy_from_slice(&digest[..10]);
        DeliveryId::new(unix_ms(self.0), random)
    }
}

/// The milliseconds since 1970 that a UUIDv7 carries in its first 48 bits.
fn unix_ms(id: Uuid) -> u64 {
    (id.as_u128() >> 80) as u64
}

/// A tenant's name: `[a-z0-9][a-z0-9._-]{0,127}`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub Arc<str>);

impl TenantId {
    /// The tenant that exists from the first start.
    pub const DEFAULT: &'static str = "default";

    /// Wraps a name that was already checked with [`is_tag`], or comes from the store.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is a well-formed tag: `[a-z0-9][a-z0-9._-]{0,127}`.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    (1..=128).contains(&bytes.len())
        && (bytes[0].is_ascii_lowercase() || bytes[0].is_ascii_digit())
        && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_id_is_stable_and_differs_by_action_and_run() {
        let run = RunId::new(1_700_000_000_000, [7; 10]);
        let other = RunId::new(1_700_000_000_000, [8; 10]);
        assert_eq!(run.delivery("a"), run.delivery("a"));
        assert_ne!(run.delivery("a"), run.delivery("b"));
        assert_ne!(run.delivery("a"), other.delivery("a"));
        assert_eq!(run.delivery("a").0.get_version_num(), 7);
    }

    #[test]
    fn tags_are_checked_from_end_to_end() {
        assert!(is_tag("process-new-order.v2_x"));
        for bad in ["", "-a", "A", "a b", "é", &"a".repeat(129)] {
            assert!(!is_tag(bad), "{bad}");
        }
    }
}
