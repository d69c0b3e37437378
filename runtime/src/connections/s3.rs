//! Buckets that speak S3: one client per resource, over the guarded HTTP client. Retries are the actions'.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::path::Path;
use object_store::{ObjectStore, RetryConfig};

use crate::egress::{self, Egress, Request};
use crate::resources::Identity;

/// Clients that nobody used for this long are forgotten.
const IDLE: Duration = Duration::from_secs(600);
/// Resources with a client, over all tenants.
const MAX_OPEN: u64 = 4096;
/// The largest answer: what S3 says is short, the longest is a page of a listing.
const MAX_ANSWER: usize = 4 << 20;
/// The longest that a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a bucket is, and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The server: `https://host[:port]`.
    pub endpoint: String,
    /// The bucket is named in the path, not in front of the host.
    pub path_style: bool,
    /// Key id and key; without, requests are not signed.
    pub credentials: Option<(String, String)>,
    /// The server's certificate authority, as PEM.
    pub ca: Option<String>,
}

/// Why there is no client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The guard refuses the endpoint.
    #[error(transparent)]
    Egress(#[from] egress::Error),
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
}

/// An answer that is no success.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// S3's own code (`NoSuchBucket`); its words are left out, since they repeat parts of the request.
    pub code: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.code {
            Some(code) => write!(f, "the server answered {} {code}", self.status),
            None if (300..400).contains(&self.status) => {
                write!(f, "the server answered {}: `region` or `endpoint` is another bucket's", self.status)
            }
            None => write!(f, "the server answered {}", self.status),
        }
    }
}

impl Refusal {
    /// Whether another try may help. Source of the codes: Amazon S3 API Reference, "Error responses".
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let code = self.code.as_deref();
        matches!(self.status, 408 | 425 | 429 | 500..=599)
            || matches!(code, Some("RequestTimeout" | "SlowDown" | "OperationAborted" | "InternalError"))
    }
}

/// Clients by resource. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    egress: Egress,
    open: moka::sync::Cache<Identity, Arc<AmazonS3>>,
}

impl Pool {
    /// None is made before it is needed.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        let open = moka::sync::Cache::builder().max_capacity(MAX_OPEN).time_to_idle(IDLE).build();
        Self { egress, open }
    }

    /// The client of a resource. Nothing is connected yet.
    pub fn open(&self, identity: &Identity, bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, Error> {
        let made = self.open.try_get_with_by_ref(identity, || self.client(bucket).map(Arc::new));
        made.map(|client| client as Arc<dyn ObjectStore>).map_err(|error| Error::clone(&error))
    }

    /// Lists the bucket below `prefix`: what was found, or what is wrong.
    pub async fn check(&self, bucket: &Bucket, prefix: &str) -> Result<String, String> {
        let client = self.client(bucket).map_err(|error| error.to_string())?;
        let prefix = Path::parse(prefix).map_err(|error| error.to_string())?;
        let first = async { client.list(Some(&prefix)).next().await };
        match tokio::time::timeout(CHECK_TIMEOUT, first).await {
            Ok(None | Some(Ok(_))) => Ok("the bucket can be listed".to_owned()),
            Ok(Some(Err(error))) => Err(words(&error)),
            Err(_) => Err(egress::Error::TimedOut.to_string()),
        }
    }

    fn client(&self, bucket: &Bucket) -> Result<AmazonS3, Error> {
        // The client reads URLs in its own way: it is given one that has been read, with one meaning.
        let base = self.egress.check_url(&bucket.base())?;
        let egress = match &bucket.ca {
            Some(pem) => self.egress.trusting(pem).map_err(Error::Settings)?,
            None => self.egress.clone(),
        };
        let builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket.name)
            .with_region(&bucket.region)
            .with_endpoint(base.as_str().trim_end_matches('/'))
            .with_virtual_hosted_style_request(!bucket.path_style)
            // Whether a scheme is allowed is the guard's to say.
            .with_allow_http(true)
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() })
            .with_http_connector(Guarded(egress));
        let builder = match &bucket.credentials {
            Some((id, key)) => builder.with_access_key_id(id).with_secret_access_key(key),
            // Without this the client would ask the cloud's metadata service for credentials: the server's own.
            None => builder.with_skip_signature(true),
        };
        builder.build().map_err(|_| Error::Settings("the bucket's settings cannot be used".to_owned()))
    }
}

impl Bucket {
    /// The address that requests go to, for counting attempts in flight.
    #[must_use]
    pub fn origin(&self) -> String {
        self.base()
    }

    /// The endpoint with the bucket in front of the host where it belongs there.
    fn base(&self) -> String {
        let endpoint = self.endpoint.trim_end_matches('/');
        match endpoint.split_once("://") {
            Some((scheme, host)) if !self.path_style => format!("{scheme}://{}.{host}", self.name),
            _ => endpoint.to_owned(),
        }
    }
}

/// Sends what the S3 client makes through the guard.
#[derive(Clone)]
struct Guarded(Egress);

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guarded")
    }
}

impl HttpConnector for Guarded {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

type Called<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Guarded {
    fn call<'s, 'a>(&'s self, request: HttpRequest) -> Called<'a>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            // `Unknown`: the client must not try again by itself.
            let failed = |error: egress::Error| HttpError::new(HttpErrorKind::Unknown, error);
            let (parts, body) = request.into_parts();
            let url = self.0.check_url(&parts.uri.to_string()).map_err(failed)?;
            let body = body.collect().await?.to_bytes();
            let answers_twice = parts.method == ::http::Method::POST || parts.headers.contains_key("x-amz-copy-source");
            let sent = Request { method: parts.method, url, headers: parts.headers, body };
            let answer = self.0.send(sent, MAX_ANSWER).await.map_err(failed)?;
            if answer.truncated {
                return Err(failed(egress::Error::Protocol(format!("an answer of more than {MAX_ANSWER} bytes"))));
            }
            let code = code_of(&answer.body);
            // A copy, and the end of an upload in parts, may fail after the status was sent.
            if !(200..300).contains(&answer.status) || (answers_twice && code.is_some()) {
                let status = if (200..300).contains(&answer.status) { 500 } else { answer.status };
                return Err(HttpError::new(HttpErrorKind::Unknown, Refusal { status, code }));
            }
            let mut response = HttpResponse::new(answer.body.into());
            *response.status_mut() = ::http::StatusCode::from_u16(answer.status)
                .map_err(|error| HttpError::new(HttpErrorKind::Decode, error))?;
            *response.headers_mut() = answer.headers;
            Ok(response)
        })
    }
}

/// The code in `<Error><Code>NoSuchKey</Code>…`.
fn code_of(body: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(&body[..body.len().min(64 * 1024)]).ok()?;
    let (_, inside) = text.split_once("<Error>")?;
    let (_, code) = inside.split_once("<Code>")?;
    let (code, _) = code.split_once("</Code>")?;
    (code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| code.to_owned())
}

/// What went wrong, without the client's own words: those hold addresses.
fn words(error: &object_store::Error) -> String {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return refusal.to_string();
        }
        if let Some(egress) = cause.downcast_ref::<egress::Error>() {
            return egress.to_string();
        }
        source = cause.source();
    }
    "the answer is not S3's".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_is_taken_from_an_answer() {
        let body = |text: &'static str| code_of(&Bytes::from_static(text.as_bytes()));
        let full = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Key>secret</Key></Error>";
        assert_eq!(body(full).as_deref(), Some("NoSuchKey"));
        for none in ["", "<Error>", "<Error><Code>", "<Error><Code>a b</Code>", "<Code>X</Code>", "{}"] {
            assert_eq!(body(none), None, "{none}");
        }
    }

    #[test]
    fn the_bucket_stands_in_front_of_the_host_unless_in_the_path() {
        let bucket = |path_style| Bucket {
            name: "b".into(),
            region: "r".into(),
            endpoint: "https://h:9000/".into(),
            path_style,
            credentials: None,
            ca: None,
        };
        assert_eq!(bucket(true).origin(), "https://h:9000");
        assert_eq!(bucket(false).origin(), "https://b.h:9000");
    }
}
