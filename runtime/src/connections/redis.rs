//! Redis: one multiplexed connection per resource, through the guard, dropped when it breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError};
use triggerd_core::mistake::Mistake;

use crate::egress::{self, Egress};
use crate::resources::Identity;

/// The longest that one command may take; the action's own timeout is usually shorter or ends it anyway.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that nobody used for this long are closed.
const IDLE: Duration = Duration::from_secs(600);
/// Resources with an open connection, over all tenants.
const MAX_OPEN: u64 = 4096;

/// Where a Redis server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// `redis://` or `rediss://`.
    pub url: String,
    /// Its certificate authority, as PEM.
    pub ca: Option<String>,
}

/// Why a command did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be reached.
    #[error(transparent)]
    Egress(#[from] egress::Error),
    /// The server cannot do it now: loading, read-only, out of memory.
    #[error("{0}")]
    Unavailable(String),
    /// The server will not do it: wrong type, no permission, bad credentials.
    #[error("{0}")]
    Refused(String),
}

/// Open connections by resource. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    egress: Egress,
    open: moka::future::Cache<Identity, MultiplexedConnection>,
}

/// Resolves to the addresses that the guard let pass, and to no others.
struct Checked(Vec<SocketAddr>);

impl redis::io::AsyncDNSResolver for Checked {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _host: &'b str,
        _port: u16,
    ) -> redis::RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let addresses: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(self.0.iter().copied());
        Box::pin(async move { Ok(addresses) })
    }
}

impl Pool {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        let open = moka::future::Cache::builder().max_capacity(MAX_OPEN).time_to_idle(IDLE).build();
        Self { egress, open }
    }

    /// Runs `command` on the resource's connection, which is opened where it is not.
    pub async fn run<T, F>(&self, identity: &Identity, server: &Server, command: F) -> Result<T, Error>
    where
        F: AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    {
        let connecting = self.open.try_get_with_by_ref(identity, self.connect(server)).await;
        let connection = connecting.map_err(|error| Error::clone(&error))?;
        let answer = command(connection).await;
        if let Err(error) = &answer
            && error.is_unrecoverable_error()
        {
            // The next command opens another one.
            self.open.invalidate(identity).await;
        }
        answer.map_err(|error| classify(&error))
    }

    /// Connects and asks for a sign of life: what was found, or what is wrong.
    pub async fn check(&self, server: &Server) -> Result<String, String> {
        let checked = async {
            let mut connection = self.connect(server).await?;
            redis::cmd("PING").query_async::<String>(&mut connection).await.map_err(|error| classify(&error))
        };
        checked.await.map(|_| "the server answers PING".to_owned()).map_err(|error| error.to_string())
    }

    async fn connect(&self, server: &Server) -> Result<MultiplexedConnection, Error> {
        let info = info(&server.url).map_err(Error::Refused)?;
        let (host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
                (host.clone(), *port)
            }
            _ => return Err(egress::Error::Denied.into()),
        };
        let addresses = self.egress.resolve(&host, port).await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_dns_resolver(Checked(addresses));
        let client = match &server.ca {
            Some(pem) if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) => redis::Client::build_with_tls(
                info,
                redis::TlsCertificates { client_tls: None, root_cert: Some(pem.clone().into_bytes()) },
            ),
            _ => redis::Client::open(info),
        };
        let client = client.map_err(|error| classify(&error))?;
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| classify(&error))
    }
}

impl Error {
    /// The failure's code, given what systems of this sort use where no network code fits.
    #[must_use]
    pub fn code(&self, unavailable: &'static str, refused: &'static str) -> &'static str {
        match self {
            Self::Egress(error) => error.code(),
            Self::Unavailable(_) => unavailable,
            Self::Refused(_) => refused,
        }
    }

    /// Whether another try cannot help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Egress(error) => error.is_permanent(),
            Self::Unavailable(_) => false,
            Self::Refused(_) => true,
        }
    }
}

/// Mistakes in a server's URL.
#[must_use]
pub fn url_mistakes(url: &str) -> Vec<Mistake> {
    if url.contains("{{") {
        return Vec::new();
    }
    match info(url) {
        Ok(_) => Vec::new(),
        Err(detail) => vec![Mistake::new("/url", detail)],
    }
}

fn info(url: &str) -> Result<ConnectionInfo, String> {
    let wanted = "write it like `redis://host:6379` or, with TLS, `rediss://host:6379`";
    let info = url.into_connection_info().map_err(|_| format!("this is no Redis URL; {wanted}"))?;
    match info.addr() {
        ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { insecure: false, .. } => Ok(info),
        ConnectionAddr::TcpTls { .. } => Err("certificates are always checked; name the authority in `ca`".to_owned()),
        _ => Err(format!("only TCP servers can be reached; {wanted}")),
    }
}

/// What an error of the client means, by its kind and the server's code, never by its text.
fn classify(error: &RedisError) -> Error {
    if let Some(io) = io_error(error) {
        return egress::Error::of_io(io).into();
    }
    let words = Arc::<str>::from(error.to_string());
    if error.is_timeout() {
        return egress::Error::TimedOut.into();
    }
    if error.is_connection_refusal() {
        return egress::Error::Refused.into();
    }
    if error.is_connection_dropped() {
        return egress::Error::Reset.into();
    }
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig, _) => Error::Refused(words.to_string()),
        (
            _,
            Some(
                "LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" | "CLUSTERDOWN" | "READONLY" | "OOM" | "MISCONF"
                | "NOREPLICAS",
            ),
        ) => Error::Unavailable(words.to_string()),
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => Error::Refused(words.to_string()),
        (ErrorKind::Parse, _) => egress::Error::Protocol(words.to_string()).into(),
        _ => Error::Unavailable(words.to_string()),
    }
}

fn io_error(error: &RedisError) -> Option<&std::io::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return Some(io);
        }
        source = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tcp_servers_with_checked_certificates_are_taken() {
        for good in ["redis://localhost", "redis://u:p@host:6380/2", "rediss://host", "{{secrets.URL}}"] {
            assert!(url_mistakes(good).is_empty(), "{good}");
        }
        for bad in
            ["", "host:6379", "http://host", "unix:///run/redis.sock", "redis+unix:///run/x", "rediss://host/#insecure"]
        {
            assert_eq!(url_mistakes(bad).len(), 1, "{bad}");
        }
    }
}
