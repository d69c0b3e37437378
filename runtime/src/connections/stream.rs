//! Byte streams to brokers: through the guard, with TLS to the name in the settings.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use triggerd_core::mistake::Mistake;

use super::line::Error;
use crate::egress::{self, Egress};

/// The longest that connecting may take, from the name's resolution to the login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What a protocol is spoken over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open stream.
pub type Socket = Box<dyn Stream>;

/// Where a broker is, and who logs in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the stream must be encrypted.
    pub tls: bool,
    /// From the URL, decoded.
    pub username: Option<String>,
    /// From the URL, decoded.
    pub password: Option<String>,
    /// What follows the host in the URL, without the slash, decoded.
    pub path: String,
}

/// A scheme that a system's URLs may have.
pub struct Scheme {
    /// As it is written.
    pub name: &'static str,
    /// The port where the URL has none.
    pub port: u16,
    /// Whether it means TLS.
    pub tls: bool,
}

impl Address {
    /// Of a URL that has one of `schemes`.
    pub fn parse(url: &str, schemes: &[Scheme]) -> Result<Self, String> {
        let wanted = || {
            let names: Vec<String> = schemes.iter().map(|s| format!("`{}://host:{}`", s.name, s.port)).collect();
            format!("write it like {}", names.join(" or "))
        };
        let parsed = reqwest::Url::parse(url).map_err(|error| format!("this is no URL ({error}); {}", wanted()))?;
        let Some(scheme) = schemes.iter().find(|scheme| scheme.name == parsed.scheme()) else {
            return Err(format!("the scheme `{}` is another system's; {}", parsed.scheme(), wanted()));
        };
        let host = parsed.host_str().filter(|host| !host.is_empty()).ok_or_else(|| format!("no host; {}", wanted()))?;
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err("the URL may have no `?` and no `#`: what is to be set has settings of its own".to_owned());
        }
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(|text| text.into_owned()).map_err(|_| "the URL is not UTF-8 once it is decoded".to_owned())
        };
        Ok(Self {
            host: host.to_owned(),
            port: parsed.port().unwrap_or(scheme.port),
            tls: scheme.tls,
            username: Some(parsed.username()).filter(|name| !name.is_empty()).map(decoded).transpose()?,
            password: parsed.password().map(decoded).transpose()?,
            path: decoded(parsed.path().trim_start_matches('/'))?,
        })
    }
}

/// Mistakes in the settings `url` and `ca` of a resource.
pub fn mistakes(settings: &serde_json::Value, schemes: &[Scheme]) -> Vec<Mistake> {
    let text = |name: &str| settings.get(name).and_then(serde_json::Value::as_str).filter(|text| !text.contains("{{"));
    let url = text("url").and_then(|url| Address::parse(url, schemes).err()).map(|detail| Mistake::new("/url", detail));
    let ca = text("ca").and_then(|pem| config(Some(pem)).err()).map(|detail| Mistake::new("/ca", detail));
    url.into_iter().chain(ca).collect()
}

/// What `connecting` gives, within a bound.
pub async fn bounded<T>(connecting: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(Err(egress::Error::TimedOut.into()))
}

/// Connects; encrypted where the address says so, to a server that `ca` or a public authority vouches for.
pub async fn open(egress: &Egress, address: &Address, ca: Option<&str>) -> Result<Socket, Error> {
    let tcp = egress.connect_tcp(&address.host, address.port).await?;
    if address.tls { encrypt(Box::new(tcp), &address.host, ca).await } else { Ok(Box::new(tcp)) }
}

/// TLS on top of `socket`, to the name in the settings, whichever address it was resolved to.
pub async fn encrypt(socket: Socket, host: &str, ca: Option<&str>) -> Result<Socket, Error> {
    let config = config(ca).map_err(|detail| Error::Refused(format!("/ca: {detail}")))?;
    let name = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_owned();
    let name = ServerName::try_from(name)
        .map_err(|_| Error::Refused("/url: the host is no name that a certificate could be for".to_owned()))?;
    let connecting = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket);
    match connecting.await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(egress::Error::of_io(&error).into()),
    }
}

fn config(ca: Option<&str>) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| format!("this is no PEM: {error}"))?;
                roots.add(certificate).map_err(|error| format!("a certificate cannot be used: {error}"))?;
            }
            if roots.is_empty() {
                return Err("there is no certificate in it; write it as PEM".to_owned());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SCHEMES: &[Scheme] =
        &[Scheme { name: "amqp", port: 5672, tls: false }, Scheme { name: "amqps", port: 5671, tls: true }];

    #[test]
    fn urls_are_taken_apart_and_decoded() {
        let address = Address::parse("amqps://us%40er:p%2Fw@host/v%2Fh", SCHEMES).unwrap();
        assert_eq!((address.host.as_str(), address.port, address.tls), ("host", 5671, true));
        assert_eq!((address.username.as_deref(), address.password.as_deref()), (Some("us@er"), Some("p/w")));
        assert_eq!(address.path, "v/h");
        let plain = Address::parse("amqp://[::1]:1", SCHEMES).unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.username), ("[::1]", 1, None));
        for bad in
            ["", "host", "http://host", "amqp:///x", "amqp://", "amqp://h?heartbeat=0", "amqp://h/#x", "amqp://h/%ff"]
        {
            assert!(Address::parse(bad, SCHEMES).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_authority_is_pem_with_a_certificate() {
        for bad in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(config(Some(bad)).is_err(), "{bad}");
        }
        assert!(config(None).is_ok());
    }
}
