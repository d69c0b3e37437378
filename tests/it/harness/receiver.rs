//! An HTTP receiver that answers by script, remembers every request, and tells when one has come.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use super::wait::PATIENCE;

/// How one request is answered.
#[derive(Clone)]
pub enum Reply {
    /// With a status, headers and a body.
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// With this status, and everything that was sent: as it came, and encoded in the ways that people encode things.
    Echo(u16),
    /// Never: the connection stays open.
    Hang,
    /// With a reset of the connection.
    Reset,
    /// Once [`Receiver::release`] lets it.
    Held(Box<Reply>),
    /// After a while.
    Late(Duration, Box<Reply>),
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: b"{}".to_vec() }
    }

    pub fn json(status: u16, body: Value) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.to_string().into_bytes() }
            .header("content-type", "application/json")
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub fn held(self) -> Self {
        Self::Held(Box::new(self))
    }

    pub fn late(self, ms: u64) -> Self {
        Self::Late(Duration::from_millis(ms), Box::new(self))
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// With the query.
    pub target: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A header's text; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// A receiver. Dropping it closes its port.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    seen: Mutex<Vec<Seen>>,
    arrived: Notify,
    scripts: Mutex<HashMap<String, VecDeque<Reply>>>,
    connections: AtomicUsize,
    /// Requests that are being answered, and the most there ever were.
    busy: AtomicUsize,
    busiest: AtomicUsize,
    held: Semaphore,
}

impl Receiver {
    /// A receiver on a port of its own.
    pub async fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port of 127.0.0.1 can be listened on")
    }

    /// A receiver at an address.
    pub async fn at(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            seen: Mutex::default(),
            arrived: Notify::new(),
            scripts: Mutex::default(),
            connections: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            busiest: AtomicUsize::new(0),
            held: Semaphore::new(0),
        });
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let state = shared.clone();
                tokio::spawn(async move { state.serve(stream).await });
            }
        });
        Ok(Self { address, state, task })
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How the path's requests are answered, one after another; the last reply is for all that follow. Without a
    /// script: 200.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state.scripts.lock().unwrap().insert(path.to_owned(), replies.into_iter().collect());
    }

    /// Lets `count` held replies go.
    pub fn release(&self, count: usize) {
        self.state.held.add_permits(count);
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The most requests that waited for their answers at the same time.
    pub fn busiest(&self) -> usize {
        self.state.busiest.load(Ordering::SeqCst)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// The requests of one path so far.
    pub fn seen_at(&self, path: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path() == path).collect()
    }

    /// Waits until the path has got `count` requests; all that it has got then.
    pub async fn wait_for(&self, path: &str, count: usize) -> Vec<Seen> {
        let enough = |seen: &[Seen]| seen.iter().filter(|s| s.path() == path).count() >= count;
        self.wait_until(&format!("{count} requests of {path}"), enough).await;
        self.seen_at(path)
    }

    /// Waits until the requests fulfil something.
    pub async fn wait_until(&self, what: &str, enough: impl Fn(&[Seen]) -> bool) {
        let waiting = async {
            loop {
                let arrived = self.state.arrived.notified();
                tokio::pin!(arrived);
                // Armed before looking: what comes in between is not missed.
                arrived.as_mut().enable();
                if enough(&self.state.seen.lock().unwrap()) {
                    return;
                }
                arrived.await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let got: Vec<String> = self.seen().iter().map(|s| format!("{} {}", s.method, s.target)).collect();
            panic!("waited in vain for {what}; {} came: {:?}", got.len(), &got[..got.len().min(30)]);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn serve(&self, mut stream: TcpStream) {
        let Some(seen) = read_request(&mut stream).await else { return };
        let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.busiest.fetch_max(busy, Ordering::SeqCst);
        let mut reply = self.next_reply(seen.path());
        if let Reply::Echo(status) = reply {
            reply = echo(status, &seen);
        }
        self.seen.lock().unwrap().push(seen);
        self.arrived.notify_waiters();
        self.answer(stream, reply).await;
    }

    fn next_reply(&self, path: &str) -> Reply {
        let mut scripts = self.scripts.lock().unwrap();
        match scripts.get_mut(path) {
            Some(script) if script.len() > 1 => script.pop_front().expect("it has more than one"),
            Some(script) => script.front().cloned().unwrap_or_else(|| Reply::status(200)),
            None => Reply::status(200),
        }
    }

    async fn answer(&self, mut stream: TcpStream, mut reply: Reply) {
        loop {
            match reply {
                Reply::Late(delay, then) => {
                    tokio::time::sleep(delay).await;
                    reply = *then;
                }
                Reply::Held(then) => {
                    self.held.acquire().await.expect("the semaphore is never closed").forget();
                    reply = *then;
                }
                // Made into an answer where the request is known.
                Reply::Echo(status) => reply = Reply::status(status),
                Reply::Hang => {
                    // Until the other side gives up.
                    let mut rest = [0; 64];
                    while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
                    self.busy.fetch_sub(1, Ordering::SeqCst);
                    return;
                }
                Reply::Reset => {
                    self.busy.fetch_sub(1, Ordering::SeqCst);
                    let _ = stream.set_zero_linger();
                    return;
                }
                Reply::Answer { status, headers, body } => {
                    let mut head = format!(
                        "HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\nconnection: close\r\n",
                        body.len()
                    );
                    for (name, value) in headers {
                        head.push_str(&format!("{name}: {value}\r\n"));
                    }
                    head.push_str("\r\n");
                    // Before the last byte: whoever has it may send the next request at once.
                    self.busy.fetch_sub(1, Ordering::SeqCst);
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(&body).await;
                    let _ = stream.shutdown().await;
                    return;
                }
            }
        }
    }
}

fn echo(status: u16, seen: &Seen) -> Reply {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| {
        serde_json::json!({
            "plain": String::from_utf8_lossy(bytes),
            "base64": base64::engine::general_purpose::STANDARD.encode(bytes),
            "base64url": base64::engine::general_purpose::URL_SAFE.encode(bytes),
            "hex": hex::encode(bytes),
            "HEX": hex::encode_upper(bytes),
            "url": percent_encoding::percent_encode(bytes, percent_encoding::NON_ALPHANUMERIC).to_string(),
        })
    };
    let headers: serde_json::Map<String, Value> =
        seen.headers.iter().map(|(name, value)| (name.clone(), encode(value.as_bytes()))).collect();
    let body =
        serde_json::json!({"target": encode(seen.target.as_bytes()), "headers": headers, "body": encode(&seen.body)});
    let mut reply = Reply::json(status, body).header("x-target", &seen.target);
    for (name, value) in seen.headers.iter().filter(|(_, value)| value.is_ascii()) {
        reply = reply.header(&format!("x-echo-{name}"), value);
    }
    reply
}

/// Reads one HTTP/1.1 request whose body, if any, has a length; `None` where the other side went away.
async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes.split_off(end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { method, target, headers, body, at: Instant::now() })
}
