//! The replication connection: logging in, plain queries, and then the copy that never ends.
//!
//! PostgreSQL's messages and logins are the crate postgres-protocol's; the loop over them is here. The clients that
//! bring one (pgwire-replication 0.5 was read) connect by themselves, past the guard, or take a Unix socket but no TLS
//! on it, hand out the next message only through a task with a queue that is bounded by messages rather than bytes, and
//! want another TLS provider. Source: PostgreSQL's chapter "Frontend/Backend Protocol", sections "Message Flow",
//! "Streaming Replication Protocol" and "Message Formats".

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use futures_util::FutureExt;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::lsn::Lsn;
use crate::connections::sql::{Fault, Pool, Server, Wire};
use crate::connections::stream::Socket;

/// The longest that connecting may take, from the name's resolution to the login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest message that is read. A longer one (a row that is larger) is passed over, so that no server can fill
/// this process's memory.
pub(super) const MAX_MESSAGE: usize = 64 << 20;
/// The longest message before the copy: answers to short questions.
const MAX_ANSWER: usize = 4 << 20;

/// A publication that is not there (PostgreSQL's appendix "Error Codes").
const UNDEFINED_OBJECT: &str = "42704";

/// A connection in walsender mode on which questions can be asked.
pub(super) struct Line {
    socket: Socket,
    incoming: Incoming,
}

/// Bytes that came, and what is known of what comes.
#[derive(Default)]
struct Incoming {
    buffer: BytesMut,
    /// Bytes of a message that is passed over.
    passing: usize,
}

/// The reading half of a copy.
pub(super) struct Reader {
    half: ReadHalf<Socket>,
    incoming: Incoming,
}

/// What came on a copy.
pub(super) enum Frame {
    /// Of the log: where it stands there, and what the plugin says.
    Data { at: Lsn, data: Bytes },
    /// The server has sent everything up to there; it wants to hear from this side, or not.
    Alive { sent: Lsn, asks: bool },
    /// Something that is too large, of so many bytes.
    TooLarge(usize),
}

/// An answer's rows, as texts.
pub(super) type Rows = Vec<Vec<Option<String>>>;

impl Line {
    /// Connects and logs in.
    pub(super) async fn open(pool: &Pool, server: &Server) -> Result<Self, Fault> {
        let opening = async {
            let wire = pool.wire(server).await?;
            let Wire { socket, encrypted, network } = wire;
            let mut line = Self { socket, incoming: Incoming::default() };
            line.say(|buffer| {
                let parameters = [
                    ("user", network.user.as_str()),
                    ("database", &network.database),
                    ("replication", "database"),
                    ("application_name", "triggerd"),
                    ("client_encoding", "UTF8"),
                    // As the SQL client's sessions have them: values look the same whichever way they come.
                    ("TimeZone", "UTC"),
                    ("DateStyle", "ISO, MDY"),
                    ("IntervalStyle", "iso_8601"),
                    ("bytea_output", "hex"),
                    ("extra_float_digits", "1"),
                ];
                frontend::startup_message(parameters, buffer)
            })
            .await?;
            line.log_in(&network.user, network.password.as_deref(), encrypted).await?;
            Ok(line)
        };
        let timed_out = |_| Fault::unavailable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()));
        tokio::time::timeout(CONNECT_TIMEOUT, opening).await.map_err(timed_out)?
    }

    async fn log_in(&mut self, user: &str, password: Option<&str>, encrypted: bool) -> Result<(), Fault> {
        let wanted = || Fault::permanent("DB_DENIED", "the server wants a password, and the URL has none");
        let mut scram = None;
        loop {
            match self.hear().await? {
                Message::AuthenticationOk => break,
                Message::AuthenticationCleartextPassword => {
                    if !encrypted {
                        let why = "the server wants the password in clear, and the connection is not encrypted";
                        return Err(Fault::permanent("DB_REFUSED", format!("{why}; set `tls`")));
                    }
                    let password = password.ok_or_else(wanted)?;
                    self.say(|buffer| frontend::password_message(password.as_bytes(), buffer)).await?;
                }
                Message::AuthenticationMd5Password(asked) => {
                    let password = password.ok_or_else(wanted)?;
                    let hash = md5_hash(user.as_bytes(), password.as_bytes(), asked.salt());
                    self.say(|buffer| frontend::password_message(hash.as_bytes(), buffer)).await?;
                }
                Message::AuthenticationSasl(asked) => {
                    let password = password.ok_or_else(wanted)?;
                    let scrams = asked.mechanisms().filter(|name| Ok(*name == SCRAM_SHA_256)).count();
                    if scrams.map_err(|_| malformed())? == 0 {
                        return Err(unknown_login());
                    }
                    // Without channel binding, as the SQL client.
                    let begun = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                    self.say(|buffer| frontend::sasl_initial_response(SCRAM_SHA_256, begun.message(), buffer)).await?;
                    scram = Some(begun);
                }
                Message::AuthenticationSaslContinue(told) => {
                    let scram = scram.as_mut().ok_or_else(unknown_login)?;
                    scram.update(told.data()).map_err(|error| login_failed(&error))?;
                    let answer = scram.message().to_owned();
                    self.say(|buffer| frontend::sasl_response(&answer, buffer)).await?;
                }
                Message::AuthenticationSaslFinal(told) => {
                    let scram = scram.as_mut().ok_or_else(unknown_login)?;
                    scram.finish(told.data()).map_err(|error| login_failed(&error))?;
                }
                _ => return Err(unknown_login()),
            }
        }
        while !matches!(self.hear().await?, Message::ReadyForQuery(_)) {}
        Ok(())
    }

    /// Asks something that is answered within `limit`: SQL, or a command of replication.
    pub(super) async fn ask(&mut self, question: &str, limit: Duration) -> Result<Rows, Fault> {
        let asking = async {
            self.say(|buffer| frontend::query(question, buffer)).await?;
            let mut rows = Vec::new();
            let mut refused = None;
            loop {
                match self.hear().await {
                    Ok(Message::DataRow(row)) => rows.push(texts(&row)?),
                    Ok(Message::ReadyForQuery(_)) => return refused.map_or(Ok(rows), Err),
                    Ok(_) => {}
                    // The connection is as good as before, unless the server ended it.
                    Err(fault) if !fault.gone => refused = Some(fault),
                    Err(fault) => return Err(refused.unwrap_or(fault)),
                }
            }
        };
        let late = |_| Fault { gone: true, ..Fault::unavailable(format!("no answer within {} s", limit.as_secs())) };
        tokio::time::timeout(limit, asking).await.map_err(late)?
    }

    /// Begins the copy that `command` asks for.
    pub(super) async fn start(mut self, command: &str) -> Result<(Reader, WriteHalf<Socket>), Fault> {
        self.say(|buffer| frontend::query(command, buffer)).await?;
        // `CopyBothResponse`, which only replication has.
        let starting = async {
            while self.incoming.peek() != Some(b'W') {
                match self.incoming.message(MAX_ANSWER)? {
                    Some(Message::ErrorResponse(complaint)) => return Err(meaning(&complaint)),
                    Some(_) => {}
                    None => self.incoming.fill(&mut self.socket).await?,
                }
            }
            while self.incoming.raw(MAX_ANSWER)?.is_none() {
                self.incoming.fill(&mut self.socket).await?;
            }
            Ok(())
        };
        let late = |_| Fault::unavailable("replication does not start");
        tokio::time::timeout(CONNECT_TIMEOUT, starting).await.map_err(late)??;
        let (half, writing) = tokio::io::split(self.socket);
        Ok((Reader { half, incoming: self.incoming }, writing))
    }

    async fn say(&mut self, write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>) -> Result<(), Fault> {
        let mut buffer = BytesMut::new();
        // What cannot be written holds a NUL.
        write(&mut buffer).map_err(|error| Fault::permanent("DB_REFUSED", error.to_string()))?;
        let saying = async {
            self.socket.write_all(&buffer).await?;
            self.socket.flush().await
        };
        saying.await.map_err(|error| Fault::of_io(&error))
    }

    /// The next message that is not a mere notice; a complaint is a fault.
    async fn hear(&mut self) -> Result<Message, Fault> {
        loop {
            match self.incoming.message(MAX_ANSWER)? {
                Some(Message::ErrorResponse(complaint)) => return Err(meaning(&complaint)),
                Some(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => {}
                Some(message) => return Ok(message),
                None => self.incoming.fill(&mut self.socket).await?,
            }
        }
    }
}

impl Reader {
    /// The next frame of those that came already.
    pub(super) fn frame(&mut self) -> Result<Option<Frame>, Fault> {
        loop {
            if let Some(length) = self.incoming.pass_over(MAX_MESSAGE) {
                return Ok(Some(Frame::TooLarge(length)));
            }
            match self.incoming.message(MAX_MESSAGE)? {
                None => return Ok(None),
                Some(Message::CopyData(body)) => {
                    if let Some(frame) = frame(body.into_bytes())? {
                        return Ok(Some(frame));
                    }
                }
                Some(Message::ErrorResponse(complaint)) => return Err(breaking_off(&complaint)),
                Some(Message::CopyDone | Message::CommandComplete(_)) => {
                    return Err(Fault { gone: true, ..Fault::unavailable("the server ended the replication") });
                }
                Some(_) => {}
            }
        }
    }

    /// Reads on, however long that takes. May be dropped at any time without losing anything.
    pub(super) async fn fill(&mut self) -> Result<(), Fault> {
        self.incoming.fill(&mut self.half).await
    }

    /// Reads on where something is there already; whether something was.
    pub(super) fn fill_now(&mut self) -> Result<bool, Fault> {
        self.fill().now_or_never().transpose().map(|filled| filled.is_some())
    }
}

impl Incoming {
    async fn fill(&mut self, from: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<(), Fault> {
        self.buffer.reserve(64 << 10);
        let read = from.read_buf(&mut self.buffer).await.map_err(|error| Fault::of_io(&error))?;
        if read == 0 {
            return Err(Fault { gone: true, ..Fault::unavailable("the server closed the connection") });
        }
        self.drop_passed();
        Ok(())
    }

    fn drop_passed(&mut self) {
        let passed = self.passing.min(self.buffer.len());
        let _ = self.buffer.split_to(passed);
        self.passing -= passed;
    }

    /// Begins to pass over the next message where it is larger than `most`; its length.
    fn pass_over(&mut self, most: usize) -> Option<usize> {
        // What is passed over leaves the buffer empty until it is through.
        let length = self.too_large(most)?;
        self.passing = length;
        self.drop_passed();
        Some(length)
    }

    fn peek(&self) -> Option<u8> {
        self.buffer.first().copied()
    }

    /// The next message's length with its tag.
    fn length(&self) -> Option<usize> {
        let length = self.buffer.get(1..5)?.try_into().ok().map(u32::from_be_bytes)?;
        Some(length as usize + 1)
    }

    fn too_large(&self, most: usize) -> Option<usize> {
        self.length().filter(|length| *length > most)
    }

    /// Takes off the next message, if it is there as a whole.
    fn message(&mut self, most: usize) -> Result<Option<Message>, Fault> {
        if let Some(length) = self.too_large(most) {
            return Err(Fault { gone: true, ..Fault::unavailable(format!("a message of {length} bytes")) });
        }
        Message::parse(&mut self.buffer).map_err(|error| Fault {
            gone: true,
            ..Fault::unavailable(format!("the server does not speak PostgreSQL's protocol: {error}"))
        })
    }

    /// Takes off the next message, whatever it is.
    fn raw(&mut self, most: usize) -> Result<Option<BytesMut>, Fault> {
        match self.length() {
            Some(length) if (5..=most).contains(&length) => {
                Ok((self.buffer.len() >= length).then(|| self.buffer.split_to(length)))
            }
            Some(_) => Err(malformed()),
            None => Ok(None),
        }
    }
}

/// Takes a message of the copy apart (`XLogData`, `Primary keepalive message`).
fn frame(bytes: Bytes) -> Result<Option<Frame>, Fault> {
    let number = |from: usize| {
        let bytes = bytes.get(from..from + 8).and_then(|part| part.try_into().ok());
        bytes.map(u64::from_be_bytes).map(Lsn).ok_or_else(malformed)
    };
    match bytes.first() {
        Some(b'w') if bytes.len() >= 25 => Ok(Some(Frame::Data { at: number(1)?, data: bytes.slice(25..) })),
        Some(b'k') => {
            let asks = *bytes.get(17).ok_or_else(malformed)? == 1;
            Ok(Some(Frame::Alive { sent: number(1)?, asks }))
        }
        Some(b'w') | None => Err(malformed()),
        // Of a later version of the protocol.
        Some(_) => Ok(None),
    }
}

fn texts(row: &DataRowBody) -> Result<Vec<Option<String>>, Fault> {
    let text = |range: Option<std::ops::Range<usize>>| {
        let bytes = range.and_then(|range| row.buffer().get(range));
        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    };
    row.ranges().map(text).collect().map_err(|_| malformed())
}

/// What the server complains of.
fn meaning(complaint: &ErrorResponseBody) -> Fault {
    match told(complaint) {
        Ok((sqlstate, message)) => Fault::of_postgres(&sqlstate, message),
        Err(_) => malformed(),
    }
}

/// What the server complains of in the middle of the copy, which ends with it.
fn breaking_off(complaint: &ErrorResponseBody) -> Fault {
    match told(complaint) {
        Ok((sqlstate, message)) if sqlstate == UNDEFINED_OBJECT => {
            let lost = format!(
                "{message}. The log is read as of when it was written, and somebody had dropped that then: changes are \
                 lost. Remove the capture and begin anew, and read the tables afresh where that matters"
            );
            Fault { gone: true, ..Fault::permanent("CHANGES_LOST", lost) }
        }
        _ => Fault { gone: true, ..meaning(complaint) },
    }
}

/// SQLSTATE and message, with detail and hint.
fn told(complaint: &ErrorResponseBody) -> std::io::Result<(String, String)> {
    let (mut sqlstate, mut message) = (String::new(), String::new());
    complaint.fields().for_each(|field| {
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => sqlstate = text,
            b'M' => message = text,
            b'D' | b'H' => message = format!("{message}; {text}"),
            _ => {}
        }
        Ok(())
    })?;
    Ok((sqlstate, message))
}

pub(super) fn malformed() -> Fault {
    Fault { gone: true, ..Fault::unavailable("the server sent something that is no message of replication") }
}

fn unknown_login() -> Fault {
    let message = "the server wants another login than by password (SCRAM-SHA-256, MD5, or in clear over TLS)";
    Fault::permanent("DB_REFUSED", message)
}

/// The server's answer was not what the password makes it: it does not know the password either.
fn login_failed(error: &std::io::Error) -> Fault {
    Fault::permanent("DB_DENIED", format!("the server's login cannot be trusted: {error}"))
}
