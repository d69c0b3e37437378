//! The server's loop: accepts connections, bounds what each may take, and lets them end when the server stops.
//!
//! Told to stop, it still answers for as long as load balancers need to notice (`server.drain_delay`), and ends each connection
//! after its answer. Then nobody is let in any more: connections that wait for a request end at once, the others after their
//! answer (HTTP/1.1 says `Connection: close`, HTTP/2 GOAWAY), and what has not ended in time is cut off.
//!
//! Our own loop over hyper rather than `axum::serve`, which sets no timer: there a connection that never sends its
//! head stays open for ever. The version of HTTP is found out before hyper sees the connection, since hyper-util's own
//! detection has no time limit either.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::certificate::{Certificate, HTTP2};
use super::front::{Front, Line};
use super::peer::Peer;
use crate::app::App;
use crate::config::Server;
use crate::telemetry;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest head of a request.
const MAX_HEAD: usize = 64 * 1024;
/// Header fields of a request at most.
const MAX_HEADERS: usize = 128;
/// How long to wait where the process is out of file descriptors.
const OUT_OF_FILES: Duration = Duration::from_millis(50);
/// How often histograms are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// Listens.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(named)?;
    socket.set_reuseaddr(true).map_err(named)?;
    socket.bind(address).map_err(named)?;
    socket.listen(4096).map_err(named)
}

/// Serves until `stop`, then lets requests under way end, at most as long as the drain may take.
pub async fn run(
    listener: TcpListener,
    app: Arc<App>,
    certificate: Option<Arc<Certificate>>,
    stop: CancellationToken,
) -> Result<(), rustls::Error> {
    let config = app.config.clone();
    tokio::spawn(keep_metrics_up(stop.clone()));
    let front = Front::new(super::router(app.clone(), stop.clone()), &config, app.clock.clone());
    let tls = certificate.as_ref().map(|certificate| certificate.acceptor()).transpose()?;
    if let Some(certificate) = certificate {
        tokio::spawn(certificate.watch(stop.clone()));
    }
    serve(listener, front, tls, &config.server, stop).await;
    Ok(())
}

/// Serves any router.
async fn serve(
    listener: TcpListener,
    front: Front,
    tls: Option<TlsAcceptor>,
    config: &Server,
    stop: CancellationToken,
) {
    let connections = Connections {
        front: Arc::new(front),
        tls,
        builder: builder(config),
        header_timeout: config.header_timeout,
        graceful: GracefulShutdown::new(),
        stop: CancellationToken::new(),
    };
    let front = connections.front.clone();
    let told = async {
        stop.cancelled().await;
        front.begin_drain();
        tokio::time::sleep(config.drain_delay.0).await;
    };
    tokio::pin!(told);
    let places = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
    loop {
        // The place first: with none free, connections wait in the kernel's queue.
        let accepted = tokio::select! {
            () = &mut told => break,
            accepted = async { (places.clone().acquire_owned().await, listener.accept().await) } => accepted,
        };
        match accepted {
            (Ok(place), Ok((stream, _))) => {
                let connection = connections.serve(stream);
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            (_, Err(error)) => pause_after(&error).await,
            (Err(_), _) => break,
        }
    }
    drop(listener);
    connections.stop.cancel();
    if tokio::time::timeout(config.drain_timeout, connections.graceful.shutdown()).await.is_err() {
        tracing::warn!("Requests did not end within {} s and are cut off", config.drain_timeout.as_secs());
    }
}

/// What all connections share.
struct Connections {
    front: Arc<Front>,
    tls: Option<TlsAcceptor>,
    builder: Builder<TokioExecutor>,
    header_timeout: Duration,
    graceful: GracefulShutdown,
    /// Cancelled once no more requests are taken.
    stop: CancellationToken,
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

impl Connections {
    /// Serves one connection to its end.
    fn serve(&self, stream: TcpStream) -> impl Future<Output = ()> + use<> {
        let (front, builder, stop) = (self.front.clone(), self.builder.clone(), self.stop.clone());
        let tls = self.tls.clone();
        let (timeout, watcher) = (self.header_timeout, self.graceful.watcher());
        async move {
            // Nothing is under way before the first bytes: such a connection ends with the server at once.
            let opened = tokio::select! {
                () = stop.cancelled() => return,
                opened = tokio::time::timeout(timeout, open(stream, tls)) => opened,
            };
            let served = match opened {
                Ok(Ok((Opened::Plain(stream), line, is_http2))) => {
                    connection(stream, line, is_http2, front, builder, watcher).await
                }
                Ok(Ok((Opened::Tls(stream), line, is_http2))) => {
                    connection(stream, line, is_http2, front, builder, watcher).await
                }
                Ok(Err(error)) => Err(error.into()),
                Err(late) => Err(late.into()),
            };
            if let Err(error) = served {
                // A client that breaks off is no fault of ours.
                tracing::debug!(%error, "A connection broke off: {error}");
            }
        }
    }
}

/// A connection over which HTTP can be spoken.
enum Opened {
    Plain(TcpStream),
    /// Boxed: it is large, and plain connections would have room for it.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Finds out what is spoken: over TLS by what was agreed on, else by what the client begins with.
async fn open(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<(Opened, Line, bool)> {
    stream.set_nodelay(true)?;
    let line = Line { peer: Peer(stream.peer_addr()?.ip()), is_tls: tls.is_some() };
    let Some(tls) = tls else {
        let is_http2 = is_http2(&stream).await?;
        return Ok((Opened::Plain(stream), line, is_http2));
    };
    let stream = tls.accept(stream).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    Ok((Opened::Tls(Box::new(stream)), line, is_http2))
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    line: Line,
    is_http2: bool,
    front: Arc<Front>,
    builder: Builder<TokioExecutor>,
    watcher: Watcher,
) -> Result<(), Broken> {
    let builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.answer(request, line).await) }
    });
    watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()).await
}

/// Whether the client begins with HTTP/2's preface. Looks at the bytes without taking them.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let n = stream.peek(&mut seen).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if seen[..n] != PREFACE[..n] {
            return Ok(false);
        }
        if n == PREFACE.len() {
            return Ok(true);
        }
        // The beginning of the preface and no more: what is there is readable at once, so waiting takes a pause.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn builder(config: &Server) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(MAX_HEAD as u32)
        // A peer that does not answer pings is gone.
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(config.header_timeout);
    builder
}

async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    tracing::error!(%error, "A connection could not be accepted: {error}");
    tokio::time::sleep(OUT_OF_FILES).await;
}

async fn keep_metrics_up(stop: CancellationToken) {
    while tokio::time::timeout(UPKEEP, stop.cancelled()).await.is_err() {
        telemetry::keep_up();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use axum::Router;
    use axum::routing::get;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    struct Running {
        address: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn start(router: Router) -> Running {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config::default();
        let front = Front::new(router, &config, Clock::system());
        let mut config = config.server;
        config.header_timeout = Duration::from_millis(300);
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { serve(listener, front, None, &config, stop).await }
        });
        Running { address, stop, task }
    }

    /// How long a connection that sends `bytes` and no more stays open.
    async fn open_for(address: SocketAddr, bytes: &[u8]) -> Duration {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        // A reset is an end like any other.
        let _ = stream.read_to_end(&mut answer).await;
        began.elapsed()
    }

    #[tokio::test]
    async fn a_connection_that_does_not_send_its_head_is_closed() {
        let running = start(Router::new().route("/", get(|| async { "hi" }))).await;
        for bytes in [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: "] {
            let open = open_for(running.address, bytes).await;
            assert!(open >= Duration::from_millis(250) && open < Duration::from_secs(5), "{open:?} for {bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_request_under_way_ends_before_the_server_does() {
        let (entered, enter) = tokio::sync::oneshot::channel::<()>();
        let (leave, left) = tokio::sync::oneshot::channel::<()>();
        let ends = Arc::new(parking_lot::Mutex::new(Some((entered, left))));
        let router = Router::new().route(
            "/",
            get(move || {
                let ends = ends.lock().take();
                async move {
                    if let Some((entered, left)) = ends {
                        let _ = entered.send(());
                        let _ = left.await;
                    }
                    "done"
                }
            }),
        );
        let running = start(router).await;
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        enter.await.unwrap();
        running.stop.cancel();
        leave.send(()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        running.task.await.unwrap();
        assert!(TcpStream::connect(running.address).await.is_err(), "nobody is let in any more");
    }

    #[tokio::test]
    async fn a_connection_of_http2_is_told_to_go_away() {
        const GOAWAY: u8 = 7;
        let running = start(Router::new().route("/", get(|| async { "hi" }))).await;
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        // An empty SETTINGS frame; the server's own comes once it has read it.
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut kinds = vec![frame(&mut stream).await.unwrap()];
        running.stop.cancel();
        while let Some(kind) = frame(&mut stream).await {
            kinds.push(kind);
        }
        assert!(kinds.contains(&GOAWAY), "{kinds:?}");
        running.task.await.unwrap();
    }

    /// The kind of the next frame of HTTP/2; `None` at the end. Answers pings: the server waits for that before it closes.
    async fn frame(stream: &mut TcpStream) -> Option<u8> {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.ok()?;
        if head[3] == 6 && head[4] & 1 == 0 {
            head[4] = 1;
            stream.write_all(&head).await.ok()?;
            stream.write_all(&payload).await.ok()?;
        }
        Some(head[3])
    }

    #[tokio::test]
    async fn both_versions_of_http_are_spoken() {
        let running = start(Router::new().route("/", get(|| async { "hi" }))).await;
        let url = format!("http://{}/", running.address);
        for builder in [reqwest::Client::builder().http1_only(), reqwest::Client::builder().http2_prior_knowledge()] {
            let client = builder.no_proxy().build().unwrap();
            assert_eq!(client.get(&url).send().await.unwrap().text().await.unwrap(), "hi");
        }
    }
}
