//! A certificate for `localhost` that is its own authority.

use std::path::{Path, PathBuf};

pub struct Certificate {
    pub pem: String,
    key: String,
}

impl Certificate {
    pub fn for_localhost() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self { pem: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// Writes certificate and key for a server, which may run as somebody else.
    pub fn write(&self, dir: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&certificate, &self.pem).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        (certificate, key)
    }
}
