//! Bare requests of hyper to the receiver, one after another on each connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::cli::bench::generator::ORDER;

pub(super) async fn measure(to: SocketAddr, connections: usize, time: Duration) -> anyhow::Result<f64> {
    let began = Instant::now();
    let senders: Vec<_> = (0..connections).map(|_| tokio::spawn(send(to, began, time))).collect();
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.context("a sender panicked")??;
    }
    Ok(sent as f64 / began.elapsed().as_secs_f64())
}

async fn send(to: SocketAddr, began: Instant, time: Duration) -> anyhow::Result<u64> {
    let stream = TcpStream::connect(to).await.context("the receiver does not answer")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let mut sent = 0;
    while began.elapsed() < time {
        let request = Request::post("/")
            .header("host", to.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_static(ORDER.as_bytes())))?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            bail!("the receiver answered {}", answer.status());
        }
        answer.into_body().collect().await?;
        sent += 1;
    }
    driving.abort();
    Ok(sent)
}
