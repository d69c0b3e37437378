//! A provider of messages: HTTP/1.1 or, over TLS, HTTP/2, answered by a function, with everything kept that came.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What came.
#[derive(Clone, Debug)]
pub struct Got {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub version: Version,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A field of a form.
    pub fn field(&self, name: &str) -> String {
        let url = reqwest::Url::parse(&format!("http://x/?{}", String::from_utf8_lossy(&self.body))).unwrap();
        url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    }
}

/// What is answered.
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    hangs: bool,
}

impl Reply {
    pub fn new(status: u16, body: impl ToString) -> Self {
        Self { status, headers: Vec::new(), body: body.to_string(), hangs: false }
    }

    pub fn hang() -> Self {
        Self { hangs: true, ..Self::new(200, "") }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

type Answer = Arc<dyn Fn(&Got) -> Reply + Send + Sync>;

/// A running one. Dropping it closes its port.
pub struct Provider {
    pub address: SocketAddr,
    /// What its certificate is to be trusted by, as PEM, where it speaks TLS.
    pub ca: Option<String>,
    got: Arc<Mutex<Vec<Got>>>,
    task: JoinHandle<()>,
}

impl Provider {
    pub async fn start(answer: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(Arc::new(answer), None).await
    }

    /// Speaks TLS, and HTTP/2 alone.
    pub async fn http2(answer: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut tls =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self::serve(Arc::new(answer), Some((TlsAcceptor::from(Arc::new(tls)), made.cert.pem()))).await
    }

    async fn serve(answer: Answer, tls: Option<(TlsAcceptor, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (acceptor, ca) = tls.unzip();
        let kept = got.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, got) = (acceptor.clone(), answer.clone(), kept.clone());
                tokio::spawn(async move {
                    let service =
                        hyper::service::service_fn(move |request| reply(request, answer.clone(), got.clone()));
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A client that goes away is no mistake of the server's.
                    match acceptor {
                        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                drop(server.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        Self { address, ca, got, task }
    }

    pub fn url(&self, path: &str) -> String {
        match self.ca {
            None => format!("http://{}{path}", self.address),
            Some(_) => format!("https://localhost:{}{path}", self.address.port()),
        }
    }

    /// All that came.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().clone()
    }

    /// What came to one path.
    pub fn got_at(&self, path: &str) -> Vec<Got> {
        self.got().into_iter().filter(|got| got.path == path).collect()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn reply(
    request: Request<Incoming>,
    answer: Answer,
    kept: Arc<Mutex<Vec<Got>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let got = Got {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: body.collect().await?.to_bytes(),
        version: parts.version,
    };
    kept.lock().push(got.clone());
    let reply = answer(&got);
    if reply.hangs {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(Bytes::from(reply.body))).unwrap())
}
