//! A mail server that follows a script and keeps what it was given.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What it answers where it does not answer well.
#[derive(Clone, Default)]
pub struct Script {
    pub to_mail: Option<&'static str>,
    pub to_rcpt: Option<&'static str>,
    /// What it answers to some recipients, each once.
    pub once: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    pub to_message: Option<&'static str>,
    /// Cuts the connection instead of confirming the message.
    pub cut_after_message: bool,
}

pub struct SmtpServer {
    pub address: SocketAddr,
    pub messages: Arc<Mutex<Vec<String>>>,
    pub recipients: Arc<Mutex<Vec<String>>>,
    pub connections: Arc<Mutex<usize>>,
}

impl SmtpServer {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            messages: Arc::default(),
            recipients: Arc::default(),
            connections: Arc::default(),
        };
        let (messages, recipients, connections) =
            (server.messages.clone(), server.recipients.clone(), server.connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock() += 1;
                tokio::spawn(serve(stream, script.clone(), messages.clone(), recipients.clone()));
            }
        });
        server
    }
}

async fn serve(
    stream: TcpStream,
    script: Script,
    messages: Arc<Mutex<Vec<String>>>,
    recipients: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 test\r\n").await.ok()?;
    loop {
        let line = read_line(&mut stream).await?;
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250-test\r\n250 8BITMIME",
            "MAIL" => script.to_mail.unwrap_or("250 ok"),
            "RCPT" => {
                recipients.lock().push(line.clone());
                let mut once = script.once.lock();
                let index = once.iter().position(|(address, _)| line.contains(address));
                index.map(|index| once.remove(index).1).or(script.to_rcpt).unwrap_or("250 ok")
            }
            "DATA" => {
                stream.write_all(b"354 go\r\n").await.ok()?;
                let mut message = String::new();
                loop {
                    let line = read_line(&mut stream).await?;
                    if line == "." {
                        break;
                    }
                    message += &(line + "\r\n");
                }
                messages.lock().push(message);
                if script.cut_after_message {
                    return None;
                }
                script.to_message.unwrap_or("250 queued")
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let n = stream.read_line(&mut line).await.ok()?;
    (n > 0).then(|| line.trim_end_matches("\r\n").to_owned())
}
