//! The one guard that every outgoing connection goes through: HTTP, SMTP, Redis, Kafka, and what guests send.
//!
//! The decision is made on the address that is connected to, after the name was resolved and before a packet is
//! sent, so that neither a spelling, a name that changes between check and use, nor a redirect leads inside.
//! Whatever is refused is refused with the same words: a tenant learns nothing about what listens where.

mod address;
mod client;
mod http;
mod retry_after;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use triggerd_core::outcome::{Failure, Outcome};

pub use address::{carried, is_global};
pub use http::{Answer, Request, Url, url_mistake};

use crate::config::Net;

/// The longest that a name's resolution may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that opening a connection to one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What outgoing connections may reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Ranges that may be reached although they are no part of the public Internet.
    pub allow_nets: Vec<Net>,
    /// Ports that no HTTP request may go to: other protocols live there that a request could be made to speak.
    pub block_ports: Vec<u16>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { allow_nets: Vec::new(), block_ports: BLOCKED_PORTS.to_vec() }
    }
}

/// The Fetch standard's "bad ports" below 1024 and above, plus Redis and memcached.
const BLOCKED_PORTS: &[u16] = &[
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
    111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532,
    540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061,
    6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, 11211,
];

/// Why something outside could not be reached.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The guard refuses it; permanent, and the same for everything it refuses.
    #[error("destination not allowed")]
    Denied,
    /// What was given is no address of anything.
    #[error("{0}")]
    Invalid(String),
    /// No such name.
    #[error("the name could not be resolved")]
    NotFound,
    /// Nothing accepts connections there.
    #[error("connection refused")]
    Refused,
    /// The connection ended in the middle.
    #[error("the connection was cut")]
    Reset,
    /// It took too long.
    #[error("timed out")]
    TimedOut,
    /// The other side does not speak the protocol: bad TLS certificate, bad HTTP.
    #[error("{0}")]
    Protocol(String),
}

impl Error {
    /// The stable code of docs/errors.md.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied => "EGRESS_DENIED",
            Self::Invalid(_) => "URL_INVALID",
            Self::NotFound => "ENOTFOUND",
            Self::Refused => "ECONNREFUSED",
            Self::Reset => "ECONNRESET",
            Self::TimedOut => "ETIMEDOUT",
            Self::Protocol(_) => "EPROTO",
        }
    }

    /// Whether another try cannot help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Denied | Self::Invalid(_))
    }

    /// The failure, with what was attempted in front of it.
    #[must_use]
    pub fn failure(&self, attempted: &str) -> Failure {
        Failure::new(self.code(), format!("{attempted}: {self}"))
    }

    /// The outcome of an attempt that ended with it.
    #[must_use]
    pub fn outcome(&self, attempted: &str) -> Outcome {
        let failure = self.failure(attempted);
        if self.is_permanent() { Outcome::Dead(failure) } else { Outcome::Retry { failure, after: None } }
    }

    /// What an I/O error means.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        match error.kind() {
            K::ConnectionRefused | K::HostUnreachable | K::NetworkUnreachable => Self::Refused,
            K::TimedOut => Self::TimedOut,
            K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof | K::NotConnected => {
                Self::Reset
            }
            _ => Self::Protocol(error.to_string()),
        }
    }
}

/// The guard. Cheap to clone.
#[derive(Clone)]
pub struct Egress {
    policy: Arc<Policy>,
    client: client::Client,
}

impl Egress {
    /// A guard with its HTTP client; fails where the TLS stack cannot be set up.
    pub fn new(policy: Policy) -> Result<Self, String> {
        // Several dependencies bring TLS along; they must agree on one provider. An error here means that one
        // is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let policy = Arc::new(policy);
        let client = client::trusting(policy.clone(), None)?;
        Ok(Self { policy, client })
    }

    /// The same guard with an HTTP client that also trusts the authority of `ca` (PEM, one certificate or several).
    pub fn trusting(&self, ca: &str) -> Result<Self, String> {
        let client = client::trusting(self.policy.clone(), Some(ca))?;
        Ok(Self { policy: self.policy.clone(), client })
    }

    /// Whether every address of `host` is one of this machine or of a private network, and may be reached.
    pub async fn is_local(&self, host: &str, port: u16) -> bool {
        let found = self.resolve(host, port).await;
        found.is_ok_and(|addresses| addresses.iter().all(|a| !is_global(a.ip())))
    }

    /// The addresses of `host` that may be connected to, at least one.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        self.policy.resolve(host, port).await
    }

    /// Whether a connection to `ip` may be opened, for clients that resolve names by themselves and ask before each
    /// connection.
    #[must_use]
    pub fn permits(&self, ip: IpAddr) -> bool {
        self.policy.permits(ip)
    }

    /// A connection to `host`, for protocols that are not HTTP.
    pub async fn connect_tcp(&self, host: &str, port: u16) -> Result<tokio::net::TcpStream, Error> {
        let mut last = Error::NotFound;
        for address in self.resolve(host, port).await? {
            match tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Only a loss of latency where it fails.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Error::of_io(&error),
                Err(_) => last = Error::TimedOut,
            }
        }
        Err(last)
    }
}

impl Policy {
    /// Whether a connection to `ip` may be opened.
    #[must_use]
    pub fn permits(&self, ip: IpAddr) -> bool {
        let inner = match ip {
            IpAddr::V6(v6) => carried(v6).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        let allowed = |ip: IpAddr| self.allow_nets.iter().any(|net| net.contains(ip));
        is_global(ip) || allowed(ip) || inner.is_some_and(allowed)
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let name = http::normal_host(host).ok_or(Error::Denied)?;
        let name = name.as_str();
        // Where nothing inside may be reached, an inside name need not be looked up: how long that takes would tell, too.
        if self.allow_nets.is_empty() && name.parse::<IpAddr>().is_err() && is_inside_name(name) {
            return Err(Error::Denied);
        }
        let found: Vec<SocketAddr> = match name.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => match tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((name, port))).await {
                Ok(Ok(addresses)) => addresses.collect(),
                Ok(Err(_)) => Vec::new(),
                Err(_) => return Err(Error::TimedOut),
            },
        };
        if found.is_empty() {
            // Whether an inside name exists is nobody's business either.
            return Err(if is_inside_name(name) { Error::Denied } else { Error::NotFound });
        }
        let permitted: Vec<SocketAddr> = found.into_iter().filter(|a| self.permits(a.ip())).collect();
        if permitted.is_empty() { Err(Error::Denied) } else { Ok(permitted) }
    }
}

/// Names that are never of the public Internet (RFC 6761, RFC 9476 and practice).
fn is_inside_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or("");
    !name.contains('.')
        || matches!(last, "internal" | "local" | "localhost" | "localdomain" | "lan" | "intranet")
        || name.ends_with(".home.arpa")
}
