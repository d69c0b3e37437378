//! The guard's HTTP client: connections by destination, kept for later requests, opened only to addresses that are permitted.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;

use super::{CONNECT_TIMEOUT, Error, Policy};

/// Idle connections to one destination, at most: as many as may be used at once by two tenants.
const MAX_IDLE: usize = 64;
const IDLE: Duration = Duration::from_secs(30);
/// A connection whose other side is gone without a word is found out.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);
const TCP_UNACKNOWLEDGED: Duration = Duration::from_secs(20);
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP/1.1, or HTTP/2 where TLS agrees on it. It follows no redirects and knows no proxies.
pub(super) type Client = hyper_util::client::legacy::Client<HttpsConnector<HttpConnector<Guarded>>, Full<Bytes>>;

/// The client that all HTTP goes through; `ca` is trusted beside the system's authorities.
pub(super) fn trusting(policy: Arc<Policy>, ca: Option<&str>) -> Result<Client, String> {
    let mut connector = HttpConnector::new_with_resolver(Guarded(policy));
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(TCP_KEEPALIVE));
    connector.set_tcp_user_timeout(Some(TCP_UNACKNOWLEDGED));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(ca)?)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(connector);
    Ok(hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(MAX_IDLE)
        .pool_idle_timeout(IDLE)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(connector))
}

fn tls(ca: Option<&str>) -> Result<ClientConfig, String> {
    let failed = |error: rustls::Error| format!("the HTTP client could not be set up: {error}");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match ca {
        None => Verifier::new(provider.clone()),
        Some(pem) => Verifier::new_with_extra_roots(certificates(pem)?, provider.clone()),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        // The verifier is the library's own, for the system's certificates; only the setter is named like this.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier.map_err(failed)?));
    Ok(config.with_no_client_auth())
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let none = || "this is no certificate as PEM".to_owned();
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|_| none())?;
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

/// Resolves names to the addresses that may be connected to.
#[derive(Clone)]
pub(super) struct Guarded(Arc<Policy>);

impl tower::Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Refusal>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let policy = self.0.clone();
        Box::pin(async move { policy.resolve(name.as_str(), 0).await.map(Vec::into_iter).map_err(Refusal) })
    }
}

/// Reports the guard's refusal through the client's layers.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Error);

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refusal {}
