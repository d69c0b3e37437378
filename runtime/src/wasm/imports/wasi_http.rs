//! `wasi:http/outgoing-handler`: the same grant and the same services as `http`, for toolchains that speak it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use reqwest::Url;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::http::{belongs_to_connection, forbidden};
use crate::wasm::guest::{Forbidden, Reach};
use crate::wasm::limits::Limits;
use crate::wasm::services::{HttpRequest, HttpResponse, ServiceError};

/// Sends the requests of one call.
pub(in crate::wasm) struct Hooks {
    reach: Reach,
    in_flight: Arc<Semaphore>,
    body_bytes: usize,
    /// The first request that was not granted.
    forbidden: Option<Forbidden>,
}

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl Hooks {
    pub(super) fn new(reach: Reach, limits: &Limits) -> Self {
        let in_flight = Arc::new(Semaphore::new(limits.in_flight));
        Self { reach, in_flight, body_bytes: limits.body_bytes, forbidden: None }
    }

    pub(super) fn take_forbidden(&mut self) -> Option<Forbidden> {
        self.forbidden.take()
    }

    fn admit(&mut self, request: &http::Request<WasiBody>) -> Result<Url, Error> {
        if !self.reach.count_call() {
            return Err(Error::ConnectionLimitReached);
        }
        let url = Url::parse(&request.uri().to_string()).map_err(|_| Error::HttpRequestUriInvalid)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::HttpRequestUriInvalid);
        }
        if !self.reach.capabilities.grants_url(&url) {
            self.forbidden.get_or_insert_with(|| forbidden(&url));
            return Err(Error::HttpRequestDenied);
        }
        Ok(url)
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let admitted = self.admit(&request);
        let (reach, limit) = (self.reach.clone(), self.body_bytes);
        let slot = Arc::clone(&self.in_flight).try_acquire_owned();
        Box::new(async move {
            let url = admitted?;
            let _slot = slot.map_err(|_| Error::ConnectionLimitReached)?;
            let request = collect(request, &url, options, limit, reach.time_left()).await?;
            let response = reach.ask(move |to, cx| to.http(cx, request)).await.map_err(told)?;
            let nothing_left: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((answered(response)?, nothing_left))
        })
    }
}

async fn collect(
    request: http::Request<WasiBody>,
    url: &Url,
    options: Option<RequestOptions>,
    limit: usize,
    time_left: Duration,
) -> Result<HttpRequest, Error> {
    let (parts, body) = request.into_parts();
    let mut headers = Vec::with_capacity(parts.headers.len());
    for (name, value) in parts.headers.iter().filter(|(name, _)| !belongs_to_connection(name.as_str())) {
        let value = value.to_str().map_err(|_| Error::HttpProtocolError)?;
        headers.push((name.as_str().to_owned(), value.to_owned()));
    }
    let body = Limited::new(body, limit).collect().await.map_err(|_| Error::HttpRequestBodySize(None))?.to_bytes();
    let wanted = options.and_then(|options| options.first_byte_timeout).unwrap_or(time_left);
    Ok(HttpRequest {
        method: parts.method.as_str().to_owned(),
        url: url.as_str().to_owned(),
        headers,
        body,
        timeout: wanted.min(time_left),
        max_response_bytes: limit,
    })
}

fn answered(response: HttpResponse) -> Result<http::Response<WasiBody>, Error> {
    let mut builder = http::Response::builder().status(response.status);
    for (name, value) in response.headers.iter().filter(|(name, _)| !belongs_to_connection(name)) {
        builder = builder.header(name, value);
    }
    let body = Full::<Bytes>::new(response.body).map_err(Error::from).boxed_unsync();
    builder.body(body).map_err(|_| Error::HttpProtocolError)
}

/// The nearest that `wasi:http` has for a failure of the services.
fn told(error: ServiceError) -> Error {
    match error.code.as_str() {
        "ECONNREFUSED" => Error::ConnectionRefused,
        "ECONNRESET" => Error::ConnectionTerminated,
        "ETIMEDOUT" => Error::HttpResponseTimeout,
        "ENOTFOUND" => Error::DnsError { rcode: Some(error.message), info_code: None },
        "EPROTO" => Error::TlsProtocolError,
        _ => Error::InternalError(Some(error.to_string())),
    }
}
