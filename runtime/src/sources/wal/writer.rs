//! What this side says while the copy goes on: how far everything is safe.
//!
//! A task of its own, so that a server which hears nothing for `wal_sender_timeout` is content also while nobody reads
//! what it sends, because what was read before is still being stored. Only for a while: a server that is told to stop
//! waits for those that read from it, and must not wait for one that has given up.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use jiff::Timestamp;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::lsn::Lsn;
use crate::connections::sql::Fault;
use crate::connections::stream::Socket;

/// How long the server is kept content while nobody reads.
const ABANDONED: Duration = Duration::from_secs(600);
/// The longest that saying something may take.
const SAYING: Duration = Duration::from_secs(30);
/// The longest between two messages.
const MOST_APART: Duration = Duration::from_secs(10);

/// PostgreSQL counts from 2000-01-01 on.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What is to be said.
#[derive(Clone, Copy)]
struct State {
    safe: Lsn,
    /// When somebody last read.
    read: Instant,
}

/// The task's handle; dropping it ends the connection.
pub(super) struct Writer {
    state: watch::Sender<State>,
    said: watch::Receiver<Lsn>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Says `safe`, and again as often as a server wants that breaks off after `patience`; zero for one that never does.
    pub(super) fn start(half: WriteHalf<Socket>, safe: Lsn, patience: Duration) -> Self {
        let apart = if patience.is_zero() { MOST_APART } else { (patience / 3).min(MOST_APART) };
        let (state, states) = watch::channel(State { safe, read: Instant::now() });
        let (saying, said) = watch::channel(Lsn(0));
        let task = tokio::spawn(run(half, states, saying, apart.max(Duration::from_millis(50))));
        Self { state, said, task }
    }

    /// Somebody reads.
    pub(super) fn note_reading(&self) {
        self.state.send_if_modified(|state| {
            state.read = Instant::now();
            false
        });
    }

    /// Says again soon: the server asks.
    pub(super) fn answer(&self) {
        self.state.send_modify(|_| {});
    }

    /// Everything before `lsn` is safe; said soon.
    pub(super) fn note_safe(&self, lsn: Lsn) {
        self.state.send_if_modified(|state| {
            let later = lsn > state.safe;
            state.safe = state.safe.max(lsn);
            later
        });
    }

    /// Once the server was told that everything before `lsn` is safe.
    pub(super) async fn until_said(&mut self, lsn: Lsn) -> Result<(), Fault> {
        let said = tokio::time::timeout(SAYING, self.said.wait_for(|said| *said >= lsn)).await;
        match said {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Fault { gone: true, ..Fault::unavailable("the server does not take what is confirmed") }),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    mut half: WriteHalf<Socket>,
    mut states: watch::Receiver<State>,
    saying: watch::Sender<Lsn>,
    apart: Duration,
) {
    loop {
        let state = *states.borrow_and_update();
        if state.read.elapsed() > ABANDONED {
            break;
        }
        let message = status(state.safe);
        let written = async {
            half.write_all(&message).await?;
            half.flush().await
        };
        match tokio::time::timeout(SAYING, written).await {
            Ok(Ok(())) => drop(saying.send(state.safe)),
            // Reading finds out why.
            _ => break,
        }
        // The handle is gone.
        if let Ok(Err(_)) = tokio::time::timeout(apart, states.changed()).await {
            break;
        }
    }
    let _ = half.shutdown().await;
}

/// `Standby status update`, in `CopyData`, which asks for an answer: silence is how a dead connection is known.
fn status(safe: Lsn) -> BytesMut {
    let mut message = BytesMut::with_capacity(39);
    message.put_u8(b'd');
    message.put_u32(38);
    message.put_u8(b'r');
    // Written, flushed, applied: here they are one.
    for _ in 0..3 {
        message.put_u64(safe.0);
    }
    message.put_i64(Timestamp::now().as_microsecond() - EPOCH_MICROS);
    message.put_u8(1);
    message
}
