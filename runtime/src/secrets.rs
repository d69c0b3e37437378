//! Secrets at rest: sealed with XChaCha20-Poly1305 under the master key, bound to where they belong.
//!
//! What is sealed for one place (tenant, resource, field) does not open at another: a copied or swapped row is
//! refused. Plain values are never kept in memory longer than a call.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

pub use crate::redact::redact;

/// The file that holds the master key where the configuration brings none.
pub const KEY_FILE: &str = "master.key";

/// Seals and opens.
#[derive(Clone)]
pub struct Vault {
    cipher: XChaCha20Poly1305,
}

/// Why a vault could not be set up or a sealed value not be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The configured key is no key.
    #[error("the master key must be 32 bytes, written as base64 or as 64 hex digits")]
    BadKey,
    /// The key file cannot be read or made.
    #[error("the master key's file {0}")]
    File(String),
    /// Another key, another place, or a damaged value.
    #[error("the sealed value does not open with this master key")]
    Unopenable,
}

impl Vault {
    /// With a configured key: base64 or hex of 32 bytes.
    pub fn from_key(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok()).ok_or(Error::BadKey)?;
        Self::from_bytes(&bytes)
    }

    /// With the key in the data directory, made at the first start with mode 0600.
    pub fn from_data_dir(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(KEY_FILE);
        let failed = |what: &str, e: &std::io::Error| Error::File(format!("{} {what}: {e}", path.display()));
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::from_key(&text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key: [u8; 32] = rand::random();
                std::fs::create_dir_all(dir).map_err(|e| failed("cannot be made", &e))?;
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)
                    .map_err(|e| failed("cannot be made", &e))?;
                writeln!(file, "{}", STANDARD.encode(key))
                    .and_then(|()| file.sync_all())
                    .and_then(|()| std::fs::File::open(dir)?.sync_all())
                    .map_err(|e| failed("cannot be written", &e))?;
                Self::from_bytes(&key)
            }
            Err(e) => Err(failed("cannot be read", &e)),
        }
    }

    fn from_bytes(key: &[u8]) -> Result<Self, Error> {
        Ok(Self { cipher: XChaCha20Poly1305::new_from_slice(key).map_err(|_| Error::BadKey)? })
    }

    /// Seals `text` for `place`; base64 of nonce and ciphertext.
    #[must_use]
    pub fn seal(&self, place: &str, text: &str) -> String {
        let nonce: [u8; 24] = rand::random();
        let payload = Payload { msg: text.as_bytes(), aad: place.as_bytes() };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("XChaCha20-Poly1305 refuses nothing below 256 GiB");
        STANDARD.encode([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for `place`.
    pub fn open(&self, place: &str, sealed: &str) -> Result<String, Error> {
        let bytes = STANDARD.decode(sealed).map_err(|_| Error::Unopenable)?;
        let (nonce, sealed) = bytes.split_first_chunk::<24>().ok_or(Error::Unopenable)?;
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        let text = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Error::Unopenable)?;
        String::from_utf8(text).map_err(|_| Error::Unopenable)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_sealed_opens_only_at_its_place_and_under_its_key() {
        let vault = Vault::from_key(&hex::encode([7; 32])).unwrap();
        let other = Vault::from_key(&STANDARD.encode([8; 32])).unwrap();
        let sealed = vault.seal("acme|secrets/KEY|1", "hunter2");
        assert_eq!(vault.open("acme|secrets/KEY|1", &sealed).unwrap(), "hunter2");
        assert_eq!(vault.open("evil|secrets/KEY|1", &sealed), Err(Error::Unopenable));
        assert_eq!(other.open("acme|secrets/KEY|1", &sealed), Err(Error::Unopenable));
        assert_ne!(sealed, vault.seal("acme|secrets/KEY|1", "hunter2"));
        let mut bytes = STANDARD.decode(&sealed).unwrap();
        for i in 0..bytes.len() {
            bytes[i] ^= 1;
            assert_eq!(vault.open("acme|secrets/KEY|1", &STANDARD.encode(&bytes)), Err(Error::Unopenable));
            bytes[i] ^= 1;
        }
        for cut in ["", "x", "AAAA"] {
            assert_eq!(vault.open("p", cut), Err(Error::Unopenable));
        }
    }

    #[test]
    fn a_key_that_is_not_32_bytes_is_refused() {
        for bad in ["", "passphrase", &hex::encode([1; 16]), &STANDARD.encode([1; 31])] {
            assert_eq!(Vault::from_key(bad).err(), Some(Error::BadKey), "{bad}");
        }
    }

    #[test]
    fn a_generated_key_is_private_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Vault::from_data_dir(dir.path()).unwrap().seal("p", "x");
        let mode = std::fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Vault::from_data_dir(dir.path()).unwrap().open("p", &sealed).unwrap(), "x");
    }
}
