//! Lines to brokers: one connection per resource, many messages on their way, each done once the broker confirms it.
//!
//! A line is a task that owns the socket. Messages come to it by a bounded queue with a place for the answer; the
//! protocol, which knows no sockets, turns them into bytes and bytes into answers. States of a message: queued (nobody
//! sees it any more if its sender goes away), sent (unknown until the broker answers), answered. When the line breaks,
//! whatever was not answered fails as unavailable, since only the broker's own answer says that a message is safe.
//! A line breaks when the socket does, when the broker is silent in spite of signs of life, or when it confirms
//! nothing for too long; the next message opens another one. It says farewell when nobody has used it for a while.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub use super::error::Error;
use super::stream::Socket;
use crate::egress;
use crate::resources::Identity;

/// Messages that wait for the line to take them.
const QUEUE: usize = 64;
/// Bytes that may wait for the socket before more messages are taken.
const MAX_UNSENT: usize = 1 << 20;
/// How often a sign of life is sent.
const BEAT: Duration = Duration::from_secs(10);
/// A broker from which nothing came for this long, signs of life being asked for, is gone.
const SILENCE: Duration = Duration::from_secs(25);
/// The longest that a message's answer is waited for; the action's own timeout is usually shorter or ends it anyway.
const ANSWER: Duration = Duration::from_secs(60);
/// A broker that confirms nothing for this long although messages wait does not do its work.
const STALLED: Duration = Duration::from_secs(60);
/// Lines that nobody used for this long are closed.
const IDLE: Duration = Duration::from_secs(600);
const FAREWELL: Duration = Duration::from_secs(1);
/// Resources of one system with an open line, over all tenants.
const MAX_OPEN: u64 = 4096;

/// The place for a message's answer.
pub struct Answer(oneshot::Sender<Result<Value, Error>>);

impl Answer {
    /// Gives it. Nobody may be waiting any more, which is no matter.
    pub fn give(self, result: Result<Value, Error>) {
        let _ = self.0.send(result);
    }

    #[cfg(test)]
    pub(super) fn channel() -> (Self, oneshot::Receiver<Result<Value, Error>>) {
        let (answer, answered) = oneshot::channel();
        (Self(answer), answered)
    }
}

/// The client's side of a protocol, after the login. It does no I/O.
pub trait Protocol: Send + 'static {
    /// What is published.
    type Message: Send + 'static;

    /// Whether another message may be sent before one that was sent is answered.
    fn has_room(&self) -> bool;

    /// Messages whose answer is still to come.
    fn waiting(&self) -> usize;

    /// Writes a message to `out`, and keeps the place for its answer or gives it at once.
    fn send(&mut self, message: Self::Message, answer: Answer, out: &mut BytesMut);

    /// Takes what is whole from `input`; an error ends the line.
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<(), Error>;

    /// Writes what the broker answers if it is there.
    fn beat(&mut self, out: &mut BytesMut);

    /// Writes the last words.
    fn farewell(&mut self, out: &mut BytesMut);
}

struct Order<M> {
    message: M,
    answer: Answer,
}

/// An open line.
pub struct Line<P: Protocol> {
    orders: mpsc::Sender<Order<P::Message>>,
    /// Why the line broke, once it has.
    broken: Arc<OnceLock<Error>>,
}

impl<P: Protocol> Line<P> {
    /// Takes over a socket on which the login is done. `input` is what came after it.
    #[must_use]
    pub fn start(socket: Socket, input: BytesMut, protocol: P) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE);
        let broken = Arc::new(OnceLock::new());
        let reason = broken.clone();
        tokio::spawn(async move {
            let mut task = Task { protocol, input, out: BytesMut::new(), queue };
            let why = task.run(socket).await;
            // Before the places for the answers go, so that whoever waits finds out why.
            let _ = reason.set(why);
        });
        Self { orders, broken }
    }

    /// Sends a message; answers once the broker has.
    pub async fn send(&self, message: P::Message) -> Result<Value, Error> {
        let asked = async {
            let (answer, answered) = oneshot::channel();
            let order = Order { message, answer: Answer(answer) };
            self.orders.send(order).await.map_err(|_| self.why())?;
            answered.await.unwrap_or_else(|_| Err(self.why()))
        };
        tokio::time::timeout(ANSWER, asked).await.unwrap_or(Err(egress::Error::TimedOut.into()))
    }

    /// Whether nothing can be sent any more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.orders.is_closed()
    }

    fn why(&self) -> Error {
        // A refusal of the line is none of the message, which the broker may never have seen.
        match self.broken.get() {
            None => egress::Error::Reset.into(),
            Some(Error::Refused(text)) => Error::Unavailable(text.clone()),
            Some(error) => error.clone(),
        }
    }
}

struct Task<P: Protocol> {
    protocol: P,
    input: BytesMut,
    out: BytesMut,
    queue: mpsc::Receiver<Order<P::Message>>,
}

impl<P: Protocol> Task<P> {
    /// Serves the line until it breaks or is needed no more; why it ended.
    async fn run(&mut self, socket: Socket) -> Error {
        let (mut reader, mut writer) = tokio::io::split(socket);
        let mut beat = tokio::time::interval_at(Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut heard, mut used, mut progress) = (Instant::now(), Instant::now(), Instant::now());
        let mut unflushed = false;
        let mut waiting = 0;
        loop {
            if let Err(error) = self.protocol.receive(&mut self.input, &mut self.out) {
                // The broker may want to hear that its last words were understood.
                let _ = tokio::time::timeout(FAREWELL, writer.write_all_buf(&mut self.out)).await;
                return error;
            }
            if self.protocol.waiting() < waiting || waiting == 0 {
                progress = Instant::now();
            }
            waiting = self.protocol.waiting();
            self.input.reserve(8 << 10);
            let takes = self.protocol.has_room() && self.out.len() < MAX_UNSENT;
            tokio::select! {
                order = self.queue.recv(), if takes => match order {
                    // What nobody waits for is not sent.
                    Some(order) if order.answer.0.is_closed() => {}
                    Some(Order { message, answer }) => {
                        used = Instant::now();
                        self.protocol.send(message, answer, &mut self.out);
                    }
                    None => break,
                },
                read = reader.read_buf(&mut self.input) => match read {
                    Ok(0) => return egress::Error::Reset.into(),
                    Ok(_) => heard = Instant::now(),
                    Err(error) => return egress::Error::of_io(&error).into(),
                },
                pushed = push(&mut writer, &mut self.out), if unflushed || !self.out.is_empty() => match pushed {
                    Ok(more) => unflushed = more,
                    Err(error) => return egress::Error::of_io(&error).into(),
                },
                _ = beat.tick() => {
                    if heard.elapsed() > SILENCE {
                        return egress::Error::TimedOut.into();
                    }
                    if waiting > 0 && progress.elapsed() > STALLED {
                        let seconds = STALLED.as_secs();
                        return Error::Unavailable(format!("the broker has confirmed nothing for {seconds} s"));
                    }
                    if waiting == 0 && used.elapsed() > IDLE {
                        break;
                    }
                    self.protocol.beat(&mut self.out);
                }
            }
        }
        self.queue.close();
        self.protocol.farewell(&mut self.out);
        let parting = async {
            writer.write_all_buf(&mut self.out).await?;
            writer.shutdown().await
        };
        // The broker notices the end of the connection too.
        let _ = tokio::time::timeout(FAREWELL, parting).await;
        egress::Error::Reset.into()
    }
}

/// Writes some of `out`, or flushes where all is written; whether something is left to be flushed. It may be given up
/// at any time.
async fn push(writer: &mut WriteHalf<Socket>, out: &mut BytesMut) -> io::Result<bool> {
    if out.is_empty() {
        writer.flush().await?;
        return Ok(false);
    }
    match writer.write_buf(out).await? {
        0 => Err(io::ErrorKind::BrokenPipe.into()),
        _ => Ok(true),
    }
}

/// Open lines by resource. Cheap to clone.
pub struct Lines<P: Protocol>(moka::future::Cache<Identity, Arc<Line<P>>>);

impl<P: Protocol> Clone for Lines<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Protocol> Default for Lines<P> {
    fn default() -> Self {
        Self(moka::future::Cache::builder().max_capacity(MAX_OPEN).time_to_idle(IDLE * 2).build())
    }
}

impl<P: Protocol> Lines<P> {
    /// The resource's line, made by `connect` where there is none that works.
    pub async fn line(
        &self,
        identity: &Identity,
        connect: impl Future<Output = Result<Line<P>, Error>>,
    ) -> Result<Arc<Line<P>>, Error> {
        if let Some(line) = self.0.get(identity).await {
            if !line.is_broken() {
                return Ok(line);
            }
            self.0.invalidate(identity).await;
        }
        let connecting = async { connect.await.map(Arc::new) };
        self.0.try_get_with_by_ref(identity, connecting).await.map_err(|error| Error::clone(&error))
    }
}
