//! Plain sockets: who comes, and what is said on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A listener that counts who connects, and closes at once.
pub struct Accepted {
    pub port: u16,
    count: Arc<AtomicUsize>,
}

impl Accepted {
    pub async fn count(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let accepted = Self { port: listener.local_addr().unwrap().port(), count: Arc::default() };
        let count = accepted.count.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        accepted
    }

    pub fn connections(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

/// A proxy on 127.0.0.1 to a port there, which puts `to` for `from`, of equal length, into what comes back: its port.
pub async fn rewriting_proxy(port: u16, from: &'static [u8], to: &'static [u8]) -> u16 {
    assert_eq!(from.len(), to.len());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                loop {
                    let read = from_server.read(&mut buffer).await.unwrap_or(0);
                    if read == 0 {
                        return;
                    }
                    let said = &mut buffer[..read];
                    for at in 0..=said.len().saturating_sub(from.len()) {
                        if said[at..].starts_with(from) {
                            said[at..at + to.len()].copy_from_slice(to);
                        }
                    }
                    if to_client.write_all(said).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    own
}
