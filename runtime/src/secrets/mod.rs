//! Secrets at rest: sealed with XChaCha20-Poly1305 under the master key, bound to where they belong.
//!
//! What is sealed for one place (tenant, resource, field) does not open at another: a copied or swapped row is
//! refused. Plain values are never kept in memory longer than a call.
//!
//! A sealed text is `KEY.BASE64`, where KEY names the master key that sealed it and BASE64 is nonce and ciphertext.
//! New values are sealed with the current key; those of the keys before it open for as long as they are known. Texts
//! of versions that knew one key alone have no `KEY.`: every key is tried.

mod key_file;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

pub use crate::redact::redact;
pub use key_file::{KEY_FILE, PREVIOUS_FILE};

/// Seals and opens. Cheap to clone; clones see the same keys.
#[derive(Clone)]
pub struct Vault {
    keys: Arc<ArcSwap<Keys>>,
    /// Where the key's file is, where it is the file's.
    dir: Option<Arc<PathBuf>>,
}

/// The keys in use.
#[derive(Clone)]
struct Keys {
    current: Key,
    previous: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    /// Names it in sealed texts: the first eight hex digits of a digest.
    id: Arc<str>,
    text: Arc<str>,
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

impl Key {
    fn read(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok()).ok_or(Error::BadKey)?;
        let digest = Sha256::new().chain_update("triggerd master key id").chain_update(&bytes).finalize();
        Ok(Self {
            id: Arc::from(&hex::encode(digest)[..8]),
            text: Arc::from(text),
            cipher: XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| Error::BadKey)?,
        })
    }

    fn open(&self, place: &str, sealed: &str) -> Result<String, Error> {
        let bytes = STANDARD.decode(sealed).map_err(|_| Error::Unopenable)?;
        let (nonce, sealed) = bytes.split_first_chunk::<24>().ok_or(Error::Unopenable)?;
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        let text = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Error::Unopenable)?;
        String::from_utf8(text).map_err(|_| Error::Unopenable)
    }
}

impl Vault {
    /// With a configured key: base64 or hex of 32 bytes.
    pub fn from_key(text: &str) -> Result<Self, Error> {
        Ok(Self::of(Key::read(text)?, Vec::new(), None))
    }

    /// With the key in the data directory, made at the first start with mode 0600.
    pub fn from_data_dir(dir: &Path) -> Result<Self, Error> {
        Self::load(None, None, dir)
    }

    /// With the configured keys, else with those in the data directory. A configured key takes over from the file's,
    /// which still opens what it sealed.
    pub fn load(current: Option<&str>, previous: Option<&str>, dir: &Path) -> Result<Self, Error> {
        let own_dir = current.is_none().then(|| dir.to_owned());
        let (current, of_file) = match current {
            Some(text) => (Key::read(text)?, key_file::existing(dir)?),
            None => (Key::read(&key_file::load_or_make(dir)?)?, key_file::previous(dir)?),
        };
        let mut before = Vec::new();
        for text in previous.map(str::to_owned).into_iter().chain(of_file) {
            let key = Key::read(&text)?;
            if key.id != current.id && !before.iter().any(|known: &Key| known.id == key.id) {
                before.push(key);
            }
        }
        Ok(Self::of(current, before, own_dir))
    }

    fn of(current: Key, previous: Vec<Key>, dir: Option<PathBuf>) -> Self {
        Self { keys: Arc::new(ArcSwap::from_pointee(Keys { current, previous })), dir: dir.map(Arc::new) }
    }

    /// Seals `text` for `place`.
    #[must_use]
    pub fn seal(&self, place: &str, text: &str) -> String {
        let key = &self.keys.load().current;
        let nonce: [u8; 24] = rand::random();
        let payload = Payload { msg: text.as_bytes(), aad: place.as_bytes() };
        let sealed = key
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("XChaCha20-Poly1305 refuses nothing below 256 GiB");
        format!("{}.{}", key.id, STANDARD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed for `place`.
    pub fn open(&self, place: &str, sealed: &str) -> Result<String, Error> {
        let keys = self.keys.load();
        let mut all = std::iter::once(&keys.current).chain(&keys.previous);
        match sealed.split_once('.') {
            Some((id, sealed)) => all.find(|key| &*key.id == id).ok_or(Error::Unopenable)?.open(place, sealed),
            None => all.find_map(|key| key.open(place, sealed).ok()).ok_or(Error::Unopenable),
        }
    }

    /// Whether the current key sealed it.
    #[must_use]
    pub fn is_current(&self, sealed: &str) -> bool {
        sealed.split_once('.').is_some_and(|(id, _)| id == &*self.keys.load().current.id)
    }

    /// Whether the current key is one that was made here, in the data directory.
    #[must_use]
    pub fn is_generated(&self) -> bool {
        self.dir.is_some()
    }

    /// The name of the current key.
    #[must_use]
    pub fn current(&self) -> String {
        self.keys.load().current.id.to_string()
    }

    /// The names of the keys before it that are still known.
    #[must_use]
    pub fn previous(&self) -> Vec<String> {
        self.keys.load().previous.iter().map(|key| key.id.to_string()).collect()
    }

    /// Makes a new key and seals with it from now on, where the key is the data directory's and no earlier rotation
    /// is still to be ended. A configured key is replaced by starting with another one. Called by one at a time.
    pub fn begin_rotation(&self) -> Result<(), Error> {
        let keys = self.keys.load_full();
        let Some(dir) = self.dir.as_ref().filter(|_| keys.previous.is_empty()) else { return Ok(()) };
        let current = Key::read(&key_file::replace(dir, &keys.current.text)?)?;
        self.keys.store(Arc::new(Keys { current, previous: vec![keys.current.clone()] }));
        Ok(())
    }

    /// Nothing is sealed with the keys before the current one any more: forgets those that are the data directory's.
    pub fn end_rotation(&self) -> Result<(), Error> {
        let Some(dir) = &self.dir else { return Ok(()) };
        key_file::forget_previous(dir)?;
        let current = self.keys.load().current.clone();
        self.keys.store(Arc::new(Keys { current, previous: Vec::new() }));
        Ok(())
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
        let (id, text) = sealed.split_once('.').unwrap();
        let mut bytes = STANDARD.decode(text).unwrap();
        for i in 0..bytes.len() {
            bytes[i] ^= 1;
            let damaged = STANDARD.encode(&bytes);
            for sealed in [format!("{id}.{damaged}"), damaged] {
                assert_eq!(vault.open("acme|secrets/KEY|1", &sealed), Err(Error::Unopenable));
            }
            bytes[i] ^= 1;
        }
        for cut in ["", "x", "AAAA", ".", "x.AAAA", id, &format!("{id}."), &format!("00000000.{text}")] {
            assert_eq!(vault.open("acme|secrets/KEY|1", cut), Err(Error::Unopenable), "{cut}");
        }
        // As versions wrote it that knew one key alone.
        assert_eq!(vault.open("acme|secrets/KEY|1", text).unwrap(), "hunter2");
        assert!(vault.is_current(&sealed) && !vault.is_current(text) && !other.is_current(&sealed));
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

    #[test]
    fn a_rotation_keeps_both_keys_until_it_is_ended_also_over_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::from_data_dir(dir.path()).unwrap();
        let before = vault.seal("p", "x");
        vault.begin_rotation().unwrap();
        let after = vault.seal("p", "x");
        assert!(!vault.is_current(&before) && vault.is_current(&after));
        for vault in [vault, Vault::from_data_dir(dir.path()).unwrap()] {
            let current = vault.current();
            vault.begin_rotation().unwrap();
            assert_eq!(vault.current(), current, "a rotation that has begun goes on");
            assert!([&before, &after].iter().all(|sealed| vault.open("p", sealed).is_ok()));
        }
        let mode = std::fs::metadata(dir.path().join(PREVIOUS_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let vault = Vault::from_data_dir(dir.path()).unwrap();
        vault.end_rotation().unwrap();
        for vault in [vault, Vault::from_data_dir(dir.path()).unwrap()] {
            assert_eq!((vault.open("p", &before), vault.open("p", &after)), (Err(Error::Unopenable), Ok("x".into())));
        }
        assert!(!dir.path().join(PREVIOUS_FILE).exists());
    }

    #[test]
    fn a_crash_between_the_two_files_leaves_the_old_key_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::from_data_dir(dir.path()).unwrap();
        std::fs::copy(dir.path().join(KEY_FILE), dir.path().join(PREVIOUS_FILE)).unwrap();
        std::fs::write(dir.path().join("master.key.draft"), "half a k").unwrap();
        let again = Vault::from_data_dir(dir.path()).unwrap();
        assert_eq!((again.current(), again.previous()), (vault.current(), vec![]));
        again.begin_rotation().unwrap();
        assert_eq!(again.previous(), [vault.current()]);
    }

    #[test]
    fn a_configured_key_takes_over_from_the_one_before_it_and_from_the_file_s() {
        let dir = tempfile::tempdir().unwrap();
        let of_file = Vault::from_data_dir(dir.path()).unwrap().seal("p", "x");
        let (old, new) = (hex::encode([1; 32]), hex::encode([2; 32]));
        let sealed = Vault::from_key(&old).unwrap().seal("p", "x");
        let vault = Vault::load(Some(&new), Some(&old), dir.path()).unwrap();
        assert!(vault.open("p", &of_file).is_ok() && vault.open("p", &sealed).is_ok());
        assert_eq!(vault.previous().len(), 2);
        vault.begin_rotation().unwrap();
        assert_eq!(vault.current(), Vault::from_key(&new).unwrap().current(), "it is the operator's to change");
        assert!(Vault::load(Some(&new), Some("no key"), dir.path()).is_err());
    }
}
