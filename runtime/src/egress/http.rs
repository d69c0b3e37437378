//! HTTP through the guard: URLs are checked before, and answers read up to a bound and never decompressed.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};

use ::http::header::{ACCEPT, USER_AGENT};
use ::http::{HeaderMap, HeaderValue, Method, Uri};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};

pub use reqwest::Url;

use super::client::Refusal;
use super::{Egress, Error};

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

/// What the client says of itself.
const USER_AGENT_OURS: HeaderValue = HeaderValue::from_static(concat!("triggerd/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

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
        let Request { method, url, mut headers, body } = request;
        let uri: Uri = url.as_str().parse().map_err(|e| Error::Invalid(format!("the URL is not valid ({e})")))?;
        headers.entry(USER_AGENT).or_insert(USER_AGENT_OURS);
        headers.entry(ACCEPT).or_insert(ANYTHING);
        let mut outgoing = ::http::Request::new(Full::new(body));
        (*outgoing.method_mut(), *outgoing.uri_mut(), *outgoing.headers_mut()) = (method, uri, headers);
        let (head, mut incoming) = self.client.request(outgoing).await.map_err(|e| classify(&e))?.into_parts();
        let (status, headers) = (head.status.as_u16(), head.headers);
        let mut body = BytesMut::new();
        let mut truncated = false;
        while let Some(frame) = incoming.frame().await {
            // Trailers tell nothing that is kept.
            let Ok(chunk) = frame.map_err(|e| classify(&e))?.into_data() else { continue };
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
fn classify(error: &(dyn StdError + 'static)) -> Error {
    let mut source = Some(error);
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
        if let Some(http) = cause.downcast_ref::<hyper::Error>() {
            if http.is_timeout() {
                return Error::TimedOut;
            }
            if http.is_incomplete_message() || http.is_closed() || http.is_canceled() {
                return Error::Reset;
            }
        }
        deepest = cause.to_string();
        source = cause.source();
    }
    Error::Protocol(deepest)
}

/// What can be seen of a literal URL before it is used; `instead` says what to do in place of credentials in it. Addresses are the
/// guard's, when the request is sent.
#[must_use]
pub fn url_mistake(url: &str, instead: &str) -> Option<String> {
    let parsed = match Url::parse(url) {
        Ok(parsed) => parsed,
        Err(reason) => return Some(format!("`{url}` is not a URL ({reason}); write it like `https://host/path`")),
    };
    if !matches!(parsed.scheme(), "http" | "https") {
        return Some(format!("`{}` URLs are not allowed; only `https` and `http` are", parsed.scheme()));
    }
    let has_credentials = !parsed.username().is_empty() || parsed.password().is_some();
    has_credentials.then(|| format!("credentials in a URL are refused; {instead}"))
}
