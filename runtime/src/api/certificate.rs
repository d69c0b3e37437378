//! The server's certificate: read at the start, and again whenever its files have changed, while connections go on.
//!
//! A pair that cannot be used is never taken over: at the start it ends the start, later it is told of once, and the one that is
//! in force stays. Files are compared by what is in them, every few seconds and at SIGHUP: a volume that swaps a link, a
//! copy that keeps the time and a network that tells of no change are all seen that way.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Tls;
use crate::signals;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The protocols that are spoken over TLS, the better one first.
pub const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Why a pair cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{0}: {1}")]
    Read(PathBuf, io::Error),
    /// A file is not what it should be.
    #[error("{0}: {1}")]
    Content(PathBuf, String),
    /// They do not belong together.
    #[error("{cert} and {key} are of no use together: {why}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
        /// What the TLS library says.
        why: rustls::Error,
    },
}

/// The pair in force, and where it comes from.
pub struct Certificate {
    files: Tls,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    /// Of what the files had in them when they were last read.
    seen: parking_lot::Mutex<[u8; 32]>,
}

/// What handshakes ask for.
struct Current(ArcSwap<CertifiedKey>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// What is in the files.
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// A pair that can be used.
struct Pair {
    certified: CertifiedKey,
    /// Seconds since 1970.
    expires: i64,
}

impl Certificate {
    /// Reads the pair.
    pub fn open(files: Tls) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let contents = Contents::read(&files)?;
        let pair = contents.pair(&files, &provider)?;
        pair.tell();
        let current = Arc::new(Current(ArcSwap::from_pointee(pair.certified)));
        Ok(Self { files, provider, current, seen: parking_lot::Mutex::new(contents.digest()) })
    }

    /// What takes connections over; one for all of them, whichever certificate is in force.
    pub fn acceptor(&self) -> Result<TlsAcceptor, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(self.provider.clone());
        let mut config = builder
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Looks at the files until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut told = signals::hang_ups();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = told.next() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            let this = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || this.look()).await {
                tracing::error!(%error, "Looking at the certificate failed: {error}");
            }
        }
    }

    /// Takes over what has changed, if it can be used.
    fn look(&self) {
        let read = Contents::read(&self.files);
        let digest = read.as_ref().map_or_else(|error| digest(&[error.to_string().as_bytes()]), Contents::digest);
        // Told of once, not at every look.
        if std::mem::replace(&mut *self.seen.lock(), digest) == digest {
            return;
        }
        match read.and_then(|contents| contents.pair(&self.files, &self.provider)) {
            Ok(pair) => {
                pair.tell();
                self.current.0.store(Arc::new(pair.certified));
                count("taken_over");
                tracing::info!("The certificate of {} is in force now", self.files.cert.display());
            }
            Err(error) => {
                count("refused");
                tracing::error!(
                    %error,
                    "The changed certificate cannot be used, and the one before it stays in force: {error}"
                );
            }
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("triggerd_tls_certificate_changes_total", "outcome" => outcome).increment(1);
}

impl Contents {
    fn read(files: &Tls) -> Result<Self, Error> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| Error::Read(path.to_owned(), error));
        Ok(Self { cert: read(&files.cert)?, key: read(&files.key)? })
    }

    fn digest(&self) -> [u8; 32] {
        digest(&[&self.cert, &self.key])
    }

    fn pair(&self, files: &Tls, provider: &CryptoProvider) -> Result<Pair, Error> {
        let content = |path: &Path, why: String| Error::Content(path.to_owned(), why);
        let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let chain = chain.map_err(|error| content(&files.cert, format!("it cannot be read as PEM: {error}")))?;
        let leaf = chain.first().ok_or_else(|| content(&files.cert, "there is no CERTIFICATE in it".to_owned()))?;
        let expires = expiry(leaf).map_err(|why| content(&files.cert, why))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| content(&files.key, format!("there is no private key in it that can be read: {error}")))?;
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|why| Error::Pair {
            cert: files.cert.clone(),
            key: files.key.clone(),
            why,
        })?;
        Ok(Pair { certified, expires })
    }
}

impl Pair {
    fn tell(&self) {
        metrics::gauge!("triggerd_tls_certificate_expiry_timestamp_seconds").set(self.expires as f64);
        let left = self.expires - jiff::Timestamp::now().as_second();
        if left <= 0 {
            tracing::warn!("The certificate has expired: clients will refuse it");
        }
    }
}

/// When the certificate expires, in seconds since 1970.
fn expiry(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| format!("its first certificate is no X.509 certificate: {error}"))?;
    Ok(parsed.validity().not_after.timestamp())
}

/// Of the parts with their lengths, so that no two lists of parts have the same.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Made {
        dir: tempfile::TempDir,
        files: Tls,
    }

    fn made() -> Made {
        let dir = tempfile::tempdir().unwrap();
        let files = Tls { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let made = Made { dir, files };
        made.put();
        made
    }

    impl Made {
        /// A new pair; the certificate as PEM.
        fn put(&self) -> String {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(&self.files.cert, made.cert.pem()).unwrap();
            std::fs::write(&self.files.key, made.signing_key.serialize_pem()).unwrap();
            made.cert.pem()
        }
    }

    fn in_force(certificate: &Certificate) -> Vec<u8> {
        certificate.current.0.load().cert[0].to_vec()
    }

    fn error(files: &Tls) -> String {
        Certificate::open(files.clone()).err().unwrap().to_string()
    }

    #[test]
    fn a_pair_that_is_of_no_use_is_refused_with_its_file_and_why() {
        let made = made();
        let key = std::fs::read(&made.files.key).unwrap();
        made.put();
        std::fs::write(&made.files.key, key).unwrap();
        assert!(error(&made.files).contains("are of no use together"), "{}", error(&made.files));
        std::fs::write(&made.files.key, "no key").unwrap();
        assert!(error(&made.files).contains("key.pem: there is no private key in it"), "{}", error(&made.files));
        std::fs::write(&made.files.cert, "").unwrap();
        assert!(error(&made.files).contains("cert.pem: there is no CERTIFICATE in it"), "{}", error(&made.files));
        std::fs::remove_file(&made.files.cert).unwrap();
        assert!(error(&made.files).contains("cert.pem: No such file"), "{}", error(&made.files));
        drop(made.dir);
    }

    #[test]
    fn a_changed_pair_is_taken_over_and_a_broken_one_is_not() {
        let made = made();
        let certificate = Certificate::open(made.files.clone()).unwrap();
        let first = in_force(&certificate);
        certificate.look();
        assert_eq!(in_force(&certificate), first);
        // The certificate is there already, the key is still the old one: as somebody who looks in between sees it.
        let key = std::fs::read(&made.files.key).unwrap();
        made.put();
        let new_key = std::fs::read(&made.files.key).unwrap();
        std::fs::write(&made.files.key, key).unwrap();
        certificate.look();
        assert_eq!(in_force(&certificate), first);
        std::fs::write(&made.files.key, new_key).unwrap();
        certificate.look();
        assert_ne!(in_force(&certificate), first);
        std::fs::remove_file(&made.files.cert).unwrap();
        let second = in_force(&certificate);
        certificate.look();
        assert_eq!(in_force(&certificate), second);
    }
}
