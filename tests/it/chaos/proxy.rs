//! A proxy in front of PostgreSQL that cuts a connection when an event is committed on it.
//!
//! It reads what the clients say: which statements keep events, and what commits them, the `COMMIT` of a transaction or the
//! statement itself where it is its own. That is where it cuts: before the server hears of it, after it has been done and before
//! the answer is passed on, or in between, when nobody knows which came first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Where a connection is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    /// The server never hears of the commit.
    Before,
    /// The server has committed; the answer is kept back.
    After,
    /// The commit is passed on, and both sides are left at once.
    Between,
}

/// What a statement means here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Begin,
    Keeps,
    Commit,
    Rollback,
    Other,
}

impl Kind {
    fn of(sql: &str) -> Self {
        match sql.trim() {
            "BEGIN" => Self::Begin,
            "COMMIT" => Self::Commit,
            "ROLLBACK" => Self::Rollback,
            sql if sql.contains("INSERT INTO events ") => Self::Keeps,
            _ => Self::Other,
        }
    }
}

/// The proxy. Dropping it ends it for new connections.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    upstream: u16,
    /// Cuts that are still to be made.
    left: AtomicU64,
    random: Mutex<rand::rngs::StdRng>,
    made: [AtomicU64; 3],
    commits: AtomicU64,
    done: Notify,
}

impl Proxy {
    /// In front of the server on that port; it cuts nothing yet.
    pub async fn start(upstream: u16, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream,
            left: AtomicU64::new(0),
            random: Mutex::new(rand::rngs::StdRng::seed_from_u64(seed)),
            made: Default::default(),
            commits: AtomicU64::new(0),
            done: Notify::new(),
        });
        let accepting = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, accepting.clone()));
            }
        });
        Self { port, shared, task }
    }

    /// Cuts every other commit from now on, that many times, and waits until it has.
    pub async fn cut(&self, cuts: u64) {
        self.shared.left.store(cuts, Ordering::SeqCst);
        while self.shared.left.load(Ordering::SeqCst) > 0 {
            // Told of each: the last may come between the look and the wait.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(100), self.shared.done.notified()).await;
        }
    }

    /// How many cuts were made before, after and in the middle of commits, and how many commits of events were seen.
    pub fn figures(&self) -> serde_json::Value {
        let [before, after, between] = [0, 1, 2].map(|n: usize| self.shared.made[n].load(Ordering::SeqCst));
        let commits = self.shared.commits.load(Ordering::SeqCst);
        serde_json::json!({
            "cuts": before + after + between, "cuts_before": before, "cuts_after": after, "cuts_between": between,
            "commits_seen": commits,
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Whether this commit is one that is cut, and where.
    fn decide(&self) -> Option<Cut> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        let mut random = self.random.lock().unwrap();
        if self.left.load(Ordering::SeqCst) == 0 || random.random_bool(0.5) {
            return None;
        }
        self.left.fetch_sub(1, Ordering::SeqCst);
        let cut = [Cut::Before, Cut::After, Cut::Between][random.random_range(0..3)];
        self.made[cut as usize].fetch_add(1, Ordering::SeqCst);
        self.done.notify_waiters();
        Some(cut)
    }
}

async fn pass(client: TcpStream, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.upstream)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // Set before a commit is passed on whose answer is to be kept back.
    let muted = Arc::new(AtomicBool::new(false));
    let answers = tokio::spawn(pass_answers(from_server, to_client, muted.clone()));
    // Both stay open until the answer is there: a server that sees its client gone may not answer.
    let mut open = (from_client, to_server);
    let cut = pass_requests(&mut open.0, &mut open.1, &shared, &muted).await;
    let mut answers = answers;
    if cut == Some(Cut::After) {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(10), &mut answers).await;
    }
    answers.abort();
}

/// Passes messages on until a side goes away or the connection is cut.
async fn pass_requests(
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
    shared: &Shared,
    muted: &AtomicBool,
) -> Option<Cut> {
    let mut session = Session::default();
    let mut bytes = Vec::with_capacity(1 << 16);
    loop {
        let read = client.read_buf(&mut bytes).await.ok()?;
        if read == 0 {
            return None;
        }
        let mut cut = None;
        let mut whole = 0;
        while let Some(message) = session.next(&bytes[whole..]) {
            if session.commits(&bytes[whole..whole + message]) {
                cut = shared.decide();
                if cut == Some(Cut::Before) {
                    return cut;
                }
            }
            whole += message;
        }
        muted.fetch_or(cut.is_some(), Ordering::SeqCst);
        server.write_all(&bytes[..whole]).await.ok()?;
        bytes.drain(..whole);
        if cut.is_some() {
            // What belongs to the commit may come in a later piece: the client waits for its answer, and sends no more than that.
            while cut == Some(Cut::After) && !session.synced {
                client.read_buf(&mut bytes).await.ok()?;
                while let Some(message) = session.next(&bytes) {
                    session.commits(&bytes[..message]);
                    server.write_all(&bytes[..message]).await.ok()?;
                    bytes.drain(..message);
                }
            }
            return cut;
        }
    }
}

/// Passes answers on. Once they are to be kept back: reads until the server is ready for the next request.
async fn pass_answers(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, muted: Arc<AtomicBool>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(read @ 1..) = server.read(&mut bytes).await {
        if muted.load(Ordering::SeqCst) {
            // `ReadyForQuery` is the last of an answer: six bytes that begin with `Z`.
            if read >= 6 && bytes[read - 6] == b'Z' {
                return;
            }
            continue;
        }
        if client.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// What a connection's client has said so far.
#[derive(Default)]
struct Session {
    /// Whether the first message, which has no kind, has come.
    begun: bool,
    statements: HashMap<Vec<u8>, Kind>,
    in_transaction: bool,
    keeps: bool,
    /// Whether the last message ended a request.
    synced: bool,
}

impl Session {
    /// The length of the first message in `bytes`, once all of it is there.
    fn next(&self, bytes: &[u8]) -> Option<usize> {
        let kind = usize::from(self.begun);
        let length = bytes.get(kind..kind + 4)?;
        let whole = kind + u32::from_be_bytes(length.try_into().ok()?) as usize;
        (bytes.len() >= whole).then_some(whole)
    }

    /// Takes note of a message; whether it commits an event.
    fn commits(&mut self, message: &[u8]) -> bool {
        if !self.begun {
            self.begun = true;
            return false;
        }
        self.synced = matches!(message[0], b'S' | b'Q');
        let mut parts = message[5..].split(|byte| *byte == 0);
        let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let kind = match message[0] {
            b'P' => {
                self.statements.insert(first.to_vec(), Kind::of(&String::from_utf8_lossy(second)));
                return false;
            }
            b'B' => self.statements.get(second).copied().unwrap_or(Kind::Other),
            b'Q' => Kind::of(&String::from_utf8_lossy(first)),
            _ => return false,
        };
        match kind {
            Kind::Begin => (self.in_transaction, self.keeps) = (true, false),
            Kind::Keeps if !self.in_transaction => return true,
            Kind::Keeps => self.keeps = true,
            Kind::Commit | Kind::Rollback => {
                let commits = kind == Kind::Commit && self.keeps;
                (self.in_transaction, self.keeps) = (false, false);
                return commits;
            }
            Kind::Other => {}
        }
        false
    }
}
