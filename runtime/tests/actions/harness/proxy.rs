//! A TCP proxy that cuts a connection around the next message, or holds it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// When the connection is cut.
#[derive(Clone, Copy)]
pub enum Cut {
    /// Instead of handing the client's next bytes on.
    Before,
    /// Some time after they were handed on.
    After(Duration),
    /// Not at all, but nothing that the client says is handed on any more.
    Never,
}

pub struct Proxy {
    pub port: u16,
    next: Arc<Mutex<Option<Cut>>>,
}

impl Proxy {
    pub async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), next: Arc::default() };
        let next = proxy.next.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, upstream, next.clone()));
            }
        });
        proxy
    }

    /// Cuts the connection around the next bytes of the client.
    pub fn cut_next(&self, cut: Cut) {
        *self.next.lock() = Some(cut);
    }
}

async fn serve(client: TcpStream, upstream: u16, next: Arc<Mutex<Option<Cut>>>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let cut = Arc::new(Notify::new());
    let up = async {
        let mut buffer = vec![0; 64 << 10];
        let mut held = false;
        while let Ok(size @ 1..) = from_client.read(&mut buffer).await {
            match next.lock().take() {
                Some(Cut::Before) => return,
                Some(Cut::Never) => held = true,
                Some(Cut::After(delay)) => {
                    let cut = cut.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        cut.notify_one();
                    });
                }
                None => {}
            }
            if held {
                continue;
            }
            if to_server.write_all(&buffer[..size]).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    tokio::select! {
        () = up => {}
        () = down => {}
        () = cut.notified() => {}
    }
}
