//! The receiver of the workloads `http` and `backlog`: answers every request 204 and nothing else, while it is open.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Listens on loopback until the program ends.
pub struct Receiver {
    address: SocketAddr,
    url: String,
    open: watch::Sender<bool>,
}

impl Receiver {
    /// Starts listening on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(answer(connection, is_open.clone()));
            }
        });
        Ok(Self { address, url: format!("http://{address}/"), open })
    }

    /// Answers from now on, or reads and does not answer.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn answer(mut connection: TcpStream, mut is_open: watch::Receiver<bool>) {
    // An answer is a packet of its own, and nothing follows it until it has arrived.
    let _ = connection.set_nodelay(true);
    let mut buffer = Vec::with_capacity(4096);
    // A connection that breaks off ends its task: there is nobody to tell.
    while let Ok(read) = connection.read_buf(&mut buffer).await {
        if read == 0 {
            return;
        }
        while let Some(length) = whole_request(&buffer) {
            buffer.drain(..length);
            if is_open.wait_for(|open| *open).await.is_err() {
                return;
            }
            if connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}

/// The length of the first request in the buffer, once it is there whole.
fn whole_request(buffer: &[u8]) -> Option<usize> {
    let head_end = buffer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&buffer[..head_end]).ok()?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse::<usize>().ok()).unwrap_or(0);
    let whole = head_end + 4 + length;
    (buffer.len() >= whole).then_some(whole)
}
