//! An S3 server of its own: it checks signatures and keeps its objects in a directory that goes with it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

pub const KEY_ID: &str = "AKIAEXAMPLEKEYID";
pub const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

pub struct S3Server {
    pub address: SocketAddr,
    /// PEM, where it speaks TLS.
    pub authority: Option<String>,
    dir: TempDir,
    task: JoinHandle<()>,
}

impl S3Server {
    /// With an empty bucket `orders`.
    pub async fn start() -> Self {
        Self::with(None).await
    }

    /// The same over TLS, with a certificate of an authority that nobody else knows.
    pub async fn start_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        Self::with(Some((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))).await
    }

    async fn with(tls: Option<(TlsAcceptor, String)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("orders")).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(dir.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, authority) = tls.unzip();
        let task = tokio::spawn(async move {
            // Dropped with this task: a server that is stopped holds no connection.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (service, acceptor) = (service.clone(), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => serve(stream, service).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, service).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, authority, dir, task }
    }

    /// Settings of a storage in the bucket.
    pub fn settings(&self) -> Value {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        json!({"kind": "s3", "bucket": "orders", "endpoint": format!("{scheme}://localhost:{}", self.address.port()),
            "accessKeyId": KEY_ID, "secretAccessKey": KEY, "prefix": "acme/"})
    }

    /// The file that holds an object.
    pub fn file(&self, key: &str) -> PathBuf {
        self.dir.path().join("orders").join(key)
    }

    /// The objects' bytes; `None` where there is none of that name.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        std::fs::read(self.file(key)).ok()
    }

    /// Everything that the server keeps besides objects: metadata, parts of uploads.
    pub fn bookkeeping(&self) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap().flatten().map(|entry| entry.path());
        let files = entries.filter(|path| path.is_file());
        let named = |path: PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned())
        };
        files.map(named).collect()
    }

    /// Ends it, with every connection.
    pub fn stop(&self) {
        self.task.abort();
    }
}

async fn serve<S>(stream: S, service: S3Service)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
