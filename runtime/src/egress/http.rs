//! HTTP through the guard: one pooled client, redirects never followed, proxies never read from the environment,
//! answers read up to a bound and never decompressed.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Method};
use bytes::{Bytes, BytesMut};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

pub use reqwest::Url;

use super::{CONNECT_TIMEOUT, Egress, Error, Policy};

/// A request that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Where; from [`Egress::check_url`].
    pub url: Url,
    /// Headers, without those of the connection itself.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came, up to the bound.
    pub body: Bytes,
    /// There was more of it.
    pub truncated: bool,
}

/// Reports the guard's refusal through the client's layers.
#[derive(Debug)]
struct Refusal(Error);

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Refusal {}

/// Resolves names to the addresses that may be connected to.
struct Guarded(Arc<Policy>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            match policy.resolve(name.as_str(), 0).await {
                Ok(addresses) => Ok(Box::new(addresses.into_iter()) as Addrs),
                Err(error) => Err(Box::new(Refusal(error)) as Box<dyn StdError + Send + Sync>),
            }
        })
    }
}

/// The client that all HTTP goes through; `ca` is trusted beside the public authorities.
pub(super) fn client_trusting(policy: Arc<Policy>, ca: Option<&str>) -> Result<reqwest::Client, String> {
    let certificates = ca.map(|pem| reqwest::Certificate::from_pem_bundle(pem.as_bytes())).transpose();
    let certificates = certificates.map_err(|_| "this is no certificate as PEM".to_owned())?.unwrap_or_default();
    if ca.is_some() && certificates.is_empty() {
        return Err("this is no certificate as PEM".to_owned());
    }
    let mut builder = reqwest::Client::builder();
    if !certificates.is_empty() {
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .user_agent(concat!("triggerd/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Guarded(policy))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(64)
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15))
        .tcp_user_timeout(Duration::from_secs(20))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .build()
        .map_err(|e| format!("the HTTP client could not be set up: {e}"))
}

impl Egress {
    /// Reads a URL and refuses what the guard can refuse without resolving it: other schemes, credentials in the
    /// URL, ports of other protocols, and addresses written as numbers in whatever spelling.
    pub fn check_url(&self, text: &str) -> Result<Url, Error> {
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(Error::Invalid(format!("the URL holds the control character {}", c.escape_default())));
        }
        let url = Url::parse(text).map_err(|reason| match text.split_once("://") {
            // Something that is meant to be a URL and is not: most often a trick with the host.
            Some((_, rest)) if !rest.is_empty() => Error::Denied,
            _ => Error::Invalid(format!("the URL is not valid ({reason}); write it like `https://host/path`")),
        })?;
        self.check(&url)?;
        Ok(url)
    }

    fn check(&self, url: &Url) -> Result<(), Error> {
        let plain = url.username().is_empty() && url.password().is_none();
        if !matches!(url.scheme(), "http" | "https") || !plain || url.cannot_be_a_base() {
            return Err(Error::Denied);
        }
        let port = url.port_or_known_default().ok_or(Error::Denied)?;
        if port == 0 || self.policy.block_ports.contains(&port) {
            return Err(Error::Denied);
        }
        // The connector resolves names through the guard, but never asks it about an address.
        let host = url.host_str().ok_or(Error::Denied)?;
        match literal(host) {
            Some(ip) if !self.policy.permits(ip) => Err(Error::Denied),
            _ => Ok(()),
        }
    }

    /// Sends `request` and reads at most `limit` bytes of the answer's body. The caller brings the time-out.
    pub async fn send(&self, request: Request, limit: usize) -> Result<Answer, Error> {
        self.check(&request.url)?;
        let mut outgoing = reqwest::Request::new(request.method, request.url);
        *outgoing.headers_mut() = request.headers;
        if !request.body.is_empty() {
            *outgoing.body_mut() = Some(request.body.into());
        }
        let mut response = self.client.execute(outgoing).await.map_err(|e| classify(&e))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = BytesMut::new();
        let mut truncated = false;
        while let Some(chunk) = response.chunk().await.map_err(|e| classify(&e))? {
            let room = limit - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                truncated = true;
                break;
            }
        }
        Ok(Answer { status, headers, body: body.freeze(), truncated })
    }
}

/// A host as URLs have it, so that every client means the same by a spelling: numbers and other digits as the address
/// that they are, names in ASCII and small letters. `None` for what is no host in a URL.
pub(super) fn normal_host(host: &str) -> Option<String> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(ip.to_string());
    }
    if host.contains(['/', '?', '#', '@', '\\', ':']) || host.chars().any(char::is_control) {
        return None;
    }
    let url = Url::parse(&format!("http://{host}/")).ok()?;
    url.host_str().map(str::to_owned)
}

/// The address that a URL's host is, where it is one; a trailing dot does not make it a name.
fn literal(host: &str) -> Option<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    host.parse::<IpAddr>().ok().or_else(|| host.parse::<SocketAddr>().ok().map(|a| a.ip()))
}

/// What the client's error means. Never its text as a whole: that holds the URL, and with it perhaps secrets.
fn classify(error: &reqwest::Error) -> Error {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    let mut deepest = String::new();
    while let Some(cause) = source {
        if let Some(Refusal(refusal)) = cause.downcast_ref::<Refusal>() {
            return refusal.clone();
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            // TLS errors travel inside I/O errors: look further in.
            let inner = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return inner.map_or_else(|| Error::of_io(io), |tls| Error::Protocol(format!("TLS: {tls}")));
        }
        let http = cause.downcast_ref::<hyper::Error>();
        if http.is_some_and(|e| e.is_incomplete_message() || e.is_closed() || e.is_canceled()) {
            return Error::Reset;
        }
        deepest = cause.to_string();
        source = cause.source();
    }
    if error.is_timeout() { Error::TimedOut } else { Error::Protocol(deepest) }
}
