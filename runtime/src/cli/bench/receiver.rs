//! The receiver of `--scenario http`: answers every request 204 and nothing else.

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Listens on loopback until the program ends.
pub struct Receiver {
    url: String,
}

impl Receiver {
    /// Starts listening on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
        let url = format!("http://{}/", listener.local_addr()?);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(answer(connection));
            }
        });
        Ok(Self { url })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn answer(mut connection: TcpStream) {
    let mut buffer = Vec::with_capacity(4096);
    // A connection that breaks off ends its task: there is nobody to tell.
    while let Ok(read) = connection.read_buf(&mut buffer).await {
        if read == 0 {
            return;
        }
        while let Some(length) = whole_request(&buffer) {
            buffer.drain(..length);
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
