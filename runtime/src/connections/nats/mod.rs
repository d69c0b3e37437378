//! NATS: messages are confirmed by the server's PONG after them, or by JetStream's acknowledgement.
//!
//! Every message is followed by a PING. The server works in order: a complaint about a message comes before the PONG
//! of its PING, so that it is known which message was refused. Written by hand rather than taken from a client, since
//! clients tell of refusals beside the publish, confirm a flush once the socket has the bytes, and open their own
//! sockets.

mod login;
pub mod subject;
mod wire;

use std::collections::{HashMap, VecDeque};

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};

use super::line::{Answer, Error, Line, Lines, Protocol};
use super::stream::{self, Scheme};
use crate::egress::Egress;
use crate::resources::Identity;

/// What URLs look like.
pub const SCHEMES: &[Scheme] =
    &[Scheme { name: "nats", port: 4222, tls: false }, Scheme { name: "tls", port: 4222, tls: true }];
/// Messages on their way at once on one line.
const IN_FLIGHT: usize = 256;

/// Where a server is, and who logs in.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Server {
    /// `nats://`, or `tls://` where TLS is a must.
    pub url: String,
    /// Its certificate authority, as PEM.
    pub ca: Option<String>,
    /// In place of the URL's.
    pub username: Option<String>,
    /// In place of the URL's.
    pub password: Option<String>,
    /// A token.
    pub token: Option<String>,
    /// The text of a credentials file, or an nkey seed.
    pub credentials: Option<String>,
    /// Whether JetStream confirms.
    pub jetstream: bool,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where to.
    pub subject: String,
    /// Names and values without line breaks.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// Lines to NATS servers. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    egress: Egress,
    lines: Lines<Publisher>,
}

/// What is wrong with the text of a credentials file.
#[must_use]
pub fn credentials_mistake(text: &str) -> Option<String> {
    login::credentials_mistake(text)
}

impl Pool {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self { egress, lines: Lines::default() }
    }

    /// Publishes; answers once the server, or the stream, has confirmed it.
    pub async fn publish(&self, identity: &Identity, server: &Server, message: Message) -> Result<Value, Error> {
        self.lines.line(identity, self.connect(server)).await?.send(message).await
    }

    /// Connects, logs in, and leaves: what was found, or what is wrong.
    pub async fn check(&self, server: &Server) -> Result<String, String> {
        let opened = stream::bounded(login::open(&self.egress, server, None)).await.map_err(|e| e.to_string())?;
        match (server.jetstream, opened.info.jetstream) {
            (true, false) => Err("the server accepts the login, and has JetStream switched off".to_owned()),
            (true, true) => Ok("the server accepts the login and has JetStream".to_owned()),
            (false, _) => Ok("the server accepts the login".to_owned()),
        }
    }

    async fn connect(&self, server: &Server) -> Result<Line<Publisher>, Error> {
        // Nobody else can guess it, or confirm what was not stored.
        let inbox = format!("_INBOX.{}", hex::encode(rand::random::<[u8; 16]>()));
        let wanted = server.jetstream.then_some(inbox.as_str());
        let opened = stream::bounded(login::open(&self.egress, server, wanted)).await?;
        let publisher = Publisher::new(server.jetstream.then_some(inbox), opened.info.max_payload);
        Ok(Line::start(opened.socket, opened.input, publisher))
    }
}

/// What stands before a PING that was not answered yet.
enum Before {
    /// Nothing, or what is answered already.
    Nothing,
    /// A message that its PONG confirms.
    Message { answer: Answer, subject: String },
    /// A message that JetStream confirms, by the number in its reply subject.
    Stored(u64),
}

/// A line's state.
struct Publisher {
    /// Where JetStream's confirmations go: `INBOX.NUMBER`.
    inbox: Option<String>,
    max_payload: usize,
    last: u64,
    pings: VecDeque<Before>,
    stored: HashMap<u64, Answer>,
}

impl Publisher {
    fn new(inbox: Option<String>, max_payload: usize) -> Self {
        Self { inbox, max_payload, last: 0, pings: VecDeque::new(), stored: HashMap::new() }
    }
}

impl Protocol for Publisher {
    type Message = Message;

    fn has_room(&self) -> bool {
        self.waiting() < IN_FLIGHT && self.pings.len() < IN_FLIGHT
    }

    fn waiting(&self) -> usize {
        let messages = self.pings.iter().filter(|before| matches!(before, Before::Message { .. })).count();
        messages + self.stored.len()
    }

    fn send(&mut self, message: Message, answer: Answer, out: &mut BytesMut) {
        let Message { subject, headers, body } = message;
        let size = wire::size(&headers, &body);
        if self.max_payload > 0 && size > self.max_payload {
            let words = format!("the message has {size} bytes with its headers; the server takes {}", self.max_payload);
            return answer.give(Err(Error::Refused(words)));
        }
        self.last += 1;
        let before = match &self.inbox {
            Some(inbox) => {
                wire::publish(out, &subject, Some(&format!("{inbox}.{}", self.last)), &headers, &body);
                self.stored.insert(self.last, answer);
                Before::Stored(self.last)
            }
            None => {
                wire::publish(out, &subject, None, &headers, &body);
                Before::Message { answer, subject }
            }
        };
        self.pings.push_back(before);
        out.put_slice(b"PING\r\n");
    }

    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<(), Error> {
        while let Some(op) = wire::next(input)? {
            match op {
                wire::Op::Ping => out.put_slice(b"PONG\r\n"),
                wire::Op::Pong => {
                    if let Some(Before::Message { answer, subject }) = self.pings.pop_front() {
                        answer.give(Ok(json!({ "subject": subject })));
                    }
                }
                wire::Op::Message { subject, headers, payload } => self.stored(&subject, &headers, &payload),
                wire::Op::Err(words) => self.complained(&words)?,
                wire::Op::Info(info) => self.max_payload = info.max_payload,
                wire::Op::Ok => {}
            }
        }
        Ok(())
    }

    fn beat(&mut self, out: &mut BytesMut) {
        self.pings.push_back(Before::Nothing);
        out.put_slice(b"PING\r\n");
    }

    fn farewell(&mut self, _: &mut BytesMut) {
        // The protocol has no word for it.
    }
}

impl Publisher {
    /// A complaint about the oldest message whose PONG is to come, or the last word before the server hangs up.
    fn complained(&mut self, words: &str) -> Result<(), Error> {
        let error = login::complaint(words);
        // The two that leave the connection open, and are said of a message.
        let of_message = ["permissions violation for publish", "invalid publish subject"];
        let lower = words.to_ascii_lowercase();
        if !of_message.iter().any(|known| lower.starts_with(known)) {
            return Err(error);
        }
        let answer = match self.pings.front_mut().map(|before| std::mem::replace(before, Before::Nothing)) {
            Some(Before::Message { answer, .. }) => Some(answer),
            Some(Before::Stored(number)) => self.stored.remove(&number),
            Some(Before::Nothing) | None => None,
        };
        if let Some(answer) = answer {
            answer.give(Err(error));
        }
        Ok(())
    }

    fn stored(&mut self, subject: &str, headers: &[u8], payload: &[u8]) {
        let number =
            self.inbox.as_deref().and_then(|inbox| subject.strip_prefix(inbox)?.strip_prefix('.')?.parse().ok());
        if let Some(answer) = number.and_then(|number: u64| self.stored.remove(&number)) {
            answer.give(confirmation(headers, payload));
        }
    }
}

/// JetStream's answer to a publish (ADR-1, `PubAck`).
#[derive(Deserialize)]
struct PubAck {
    stream: Option<String>,
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

fn confirmation(headers: &[u8], payload: &[u8]) -> Result<Value, Error> {
    if wire::status(headers) == Some(503) {
        let words = "no stream takes the subject; add one that lists it, or leave `jetstream` out";
        return Err(Error::Refused(words.to_owned()));
    }
    match serde_json::from_slice::<PubAck>(payload) {
        Ok(PubAck { error: Some(ApiError { code, err_code, description }), .. }) => {
            let text = format!("JetStream answered {code} ({err_code}): {description}");
            // As in HTTP: what begins with 5 is the server's trouble, and 429 is too much at once.
            Err(if code >= 500 || code == 429 { Error::Unavailable(text) } else { Error::Refused(text) })
        }
        Ok(PubAck { stream: Some(stream), seq: Some(seq), duplicate, error: None }) => {
            Ok(json!({ "stream": stream, "sequence": seq, "duplicate": duplicate }))
        }
        _ => Err(Error::Refused("something other than JetStream answers on the subject".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn send(publisher: &mut Publisher, subject: &str) -> tokio::sync::oneshot::Receiver<Result<Value, Error>> {
        let (answer, answered) = Answer::channel();
        let message = Message { subject: subject.into(), headers: Vec::new(), body: Bytes::from_static(b"1") };
        publisher.send(message, answer, &mut BytesMut::new());
        answered
    }

    fn hear(publisher: &mut Publisher, text: &str) -> Result<(), Error> {
        publisher.receive(&mut BytesMut::from(text), &mut BytesMut::new())
    }

    #[test]
    fn a_complaint_is_about_the_message_before_the_next_pong() {
        let mut publisher = Publisher::new(None, 100);
        let mut answers = [send(&mut publisher, "a"), send(&mut publisher, "b"), send(&mut publisher, "c")];
        publisher.beat(&mut BytesMut::new());
        let words = "PONG\r\n-ERR 'Permissions Violation for Publish to \"b\"'\r\nPONG\r\nPONG\r\nPONG\r\n";
        hear(&mut publisher, words).unwrap();
        assert_eq!(answers[0].try_recv().unwrap(), Ok(json!({"subject": "a"})));
        assert!(matches!(answers[1].try_recv().unwrap(), Err(Error::Refused(_))));
        assert_eq!(answers[2].try_recv().unwrap(), Ok(json!({"subject": "c"})));
        assert!(hear(&mut publisher, "-ERR 'Stale Connection'\r\n").is_err());
        assert!(send(&mut publisher, &"x".repeat(10)).try_recv().is_err());
    }

    #[test]
    fn a_pong_confirms_nothing_that_a_stream_has_to() {
        let mut publisher = Publisher::new(Some("_INBOX.x".into()), 0);
        let mut answers = [send(&mut publisher, "a"), send(&mut publisher, "b"), send(&mut publisher, "c")];
        hear(&mut publisher, "PONG\r\nPONG\r\nPONG\r\n").unwrap();
        assert_eq!(publisher.waiting(), 3);
        let ack = r#"{"stream":"S","seq":7}"#;
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#;
        let words = format!(
            "MSG _INBOX.x.2 1 {}\r\n{ack}\r\nHMSG _INBOX.x.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\nMSG _INBOX.x.3 1 {}\r\n{full}\r\n",
            ack.len(),
            full.len()
        );
        hear(&mut publisher, &words).unwrap();
        assert!(matches!(answers[0].try_recv().unwrap(), Err(Error::Refused(_))));
        let stored = json!({"stream": "S", "sequence": 7, "duplicate": false});
        assert_eq!(answers[1].try_recv().unwrap(), Ok(stored));
        assert!(matches!(answers[2].try_recv().unwrap(), Err(Error::Unavailable(_))));
    }
}
