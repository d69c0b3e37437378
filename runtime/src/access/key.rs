//! How keys look: `trg_<id>_<64 hex digits><8 hex digits>`. The last eight are a CRC-32 of all before them, so that
//! secret scanners and typing errors are told apart without a look-up. Only the SHA-256 of a key is stored: with 256
//! random bits nothing slower is needed.

use sha2::{Digest, Sha256};

const PREFIX: &str = "trg_";
const SECRET_DIGITS: usize = 64;
const SUM_DIGITS: usize = 8;

/// A new key: shown once, then forgotten.
pub struct NewKey {
    /// Its public part.
    pub id: String,
    /// All of it.
    pub key: String,
}

impl NewKey {
    /// A key of fresh random bits.
    #[must_use]
    pub fn generate() -> Self {
        // From the operating system's generator, not the clock's source of chance: keys are never reproducible.
        let id = hex::encode(rand::random::<[u8; 8]>());
        let secret = hex::encode(rand::random::<[u8; 32]>());
        let body = format!("{PREFIX}{id}_{secret}");
        let key = format!("{body}{:08x}", crc32fast::hash(body.as_bytes()));
        Self { id, key }
    }
}

/// What is stored of a key.
#[must_use]
pub fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// The id that stands in a well-formed key.
#[must_use]
pub fn id_of(key: &str) -> Option<&str> {
    let (id, rest) = key.strip_prefix(PREFIX)?.split_once('_')?;
    if rest.len() != SECRET_DIGITS + SUM_DIGITS || !rest.is_ascii() {
        return None;
    }
    let (body, sum) = key.split_at(key.len() - SUM_DIGITS);
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (crc32fast::hash(body.as_bytes()) == sum).then_some(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_names_its_id_and_no_two_are_alike() {
        let (a, b) = (NewKey::generate(), NewKey::generate());
        assert_eq!(id_of(&a.key), Some(a.id.as_str()));
        assert_ne!(a.key, b.key);
        assert_ne!(digest(&a.key), digest(&b.key));
    }

    #[test]
    fn a_key_with_a_typing_error_is_none() {
        let key = NewKey::generate().key;
        for at in 0..key.len() {
            let mut wrong = key.clone().into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(id_of(&String::from_utf8(wrong).unwrap()), None, "digit {at}");
        }
        for bad in ["", "trg_", "trg__", "trg_a_b", "trg_é_é", &key[1..], &key[..key.len() - 1]] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }
}
