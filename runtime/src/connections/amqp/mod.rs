//! RabbitMQ by AMQP 0-9-1: one channel in confirm mode, messages mandatory.
//!
//! The broker confirms by number, several at once; what it cannot route it returns before it confirms it, named by
//! its message id. Only a message that was confirmed and not returned is in a queue.

mod login;
mod wire;

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use super::line::{Answer, Error, Line, Lines, Protocol};
use super::stream::{self, Scheme};
use crate::egress::Egress;
use crate::resources::Identity;

/// What URLs look like.
pub const SCHEMES: &[Scheme] =
    &[Scheme { name: "amqp", port: 5672, tls: false }, Scheme { name: "amqps", port: 5671, tls: true }];
/// The longest routing key, and the longest name of a header or an exchange, in bytes.
pub const MAX_SHORT: usize = wire::MAX_SHORT;
/// Headers must fit into one frame with the other properties.
pub const MAX_HEADERS: usize = 64 << 10;
/// Messages on their way at once on one line.
const IN_FLIGHT: usize = 256;
const CHANNEL: u16 = 1;
/// "Not found", "access refused", "not allowed": what another try does not mend.
const FOR_GOOD: &[u16] = &[403, 404, 530];

/// Where a broker is, and who logs in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// `amqp://` or `amqps://`; its path is the virtual host.
    pub url: String,
    /// Its certificate authority, as PEM.
    pub ca: Option<String>,
    /// In place of the URL's.
    pub username: Option<String>,
    /// In place of the URL's.
    pub password: Option<String>,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where to; empty for the default exchange.
    pub exchange: String,
    /// The routing key: on the default exchange a queue's name.
    pub routing_key: String,
    /// The body's media type.
    pub content_type: String,
    /// Headers.
    pub headers: Map<String, Value>,
    /// Whether queues that last keep it over a restart.
    pub persistent: bool,
    /// The delivery id.
    pub message_id: String,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// The body.
    pub body: Bytes,
}

/// Lines to RabbitMQ. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    egress: Egress,
    lines: Lines<Publisher>,
}

impl Pool {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self { egress, lines: Lines::default() }
    }

    /// Publishes; answers once the broker has confirmed that the message is in a queue.
    pub async fn publish(&self, identity: &Identity, server: &Server, message: Message) -> Result<Value, Error> {
        self.lines.line(identity, self.connect(server)).await?.send(message).await
    }

    /// Connects, logs in, looks for the exchange, and leaves: what was found, or what is wrong.
    pub async fn check(&self, server: &Server, exchange: &str) -> Result<String, String> {
        let checked = stream::bounded(login::check(&self.egress, server, exchange)).await;
        checked.map(|()| "the broker accepts the login".to_owned()).map_err(|error| error.to_string())
    }

    async fn connect(&self, server: &Server) -> Result<Line<Publisher>, Error> {
        let login::Opened { socket, input, frame_max } = stream::bounded(login::open(&self.egress, server)).await?;
        Ok(Line::start(socket, input, Publisher { frame_max, ..Publisher::default() }))
    }
}

/// A message that was sent.
struct Sent {
    answer: Answer,
    message_id: String,
    /// What the broker said when it returned it.
    returned: Option<String>,
}

/// The channel's state.
#[derive(Default)]
struct Publisher {
    frame_max: u32,
    /// Numbers of messages begin with 1 (RabbitMQ's confirms).
    last: u64,
    sent: BTreeMap<u64, Sent>,
    /// A message is being returned: what the broker said. Its header comes next.
    returning: Option<String>,
    /// Why the broker takes no messages now.
    blocked: Option<String>,
}

impl Protocol for Publisher {
    type Message = Message;

    fn has_room(&self) -> bool {
        self.sent.len() < IN_FLIGHT
    }

    fn waiting(&self) -> usize {
        self.sent.len()
    }

    fn send(&mut self, message: Message, answer: Answer, out: &mut BytesMut) {
        if let Some(reason) = &self.blocked {
            return answer.give(Err(blocked(reason)));
        }
        let at = out.len();
        wire::method(out, CHANNEL, wire::PUBLISH, |out| {
            out.put_u16(0);
            wire::put_short(out, &message.exchange);
            wire::put_short(out, &message.routing_key);
            out.put_u8(1); // mandatory
        });
        let properties = wire::Properties {
            content_type: &message.content_type,
            headers: &message.headers,
            persistent: message.persistent,
            message_id: &message.message_id,
            timestamp: message.timestamp,
        };
        if !wire::content(out, CHANNEL, &properties, &message.body, self.frame_max) {
            out.truncate(at);
            let words = format!("the headers are too large: the broker takes frames of {} bytes", self.frame_max);
            return answer.give(Err(Error::Refused(words)));
        }
        self.last += 1;
        self.sent.insert(self.last, Sent { answer, message_id: message.message_id, returned: None });
    }

    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<(), Error> {
        while let Some(frame) = wire::next(input)? {
            match frame {
                wire::Frame::Method(method, arguments) => self.take(method, arguments, out)?,
                wire::Frame::Header(header) => self.returned(header)?,
                wire::Frame::Body | wire::Frame::Heartbeat => {}
            }
        }
        Ok(())
    }

    fn beat(&mut self, out: &mut BytesMut) {
        wire::heartbeat(out);
    }

    fn farewell(&mut self, out: &mut BytesMut) {
        wire::method(out, 0, wire::CLOSE, |out| {
            out.put_u16(200);
            wire::put_short(out, "idle");
            out.put_u32(0);
        });
    }
}

impl Publisher {
    fn take(&mut self, method: wire::Method, mut arguments: Bytes, out: &mut BytesMut) -> Result<(), Error> {
        match method {
            wire::ACK | wire::NACK => {
                let number = wire::longlong(&mut arguments)?;
                let several = wire::octet(&mut arguments)? & 1 != 0;
                self.confirmed(number, several, method == wire::ACK);
            }
            wire::RETURN => {
                let code = wire::short(&mut arguments)?;
                self.returning = Some(format!("{code} {}", wire::shortstr(&mut arguments)?));
            }
            wire::BLOCKED => {
                let reason = wire::shortstr(&mut arguments)?;
                // What was sent already may lie unread for as long as the broker is short of memory or disk.
                for (_, sent) in std::mem::take(&mut self.sent) {
                    sent.answer.give(Err(blocked(&reason)));
                }
                self.blocked = Some(reason);
            }
            wire::UNBLOCKED => self.blocked = None,
            wire::CHANNEL_FLOW => {
                let active = wire::octet(&mut arguments)?;
                wire::method(out, CHANNEL, wire::CHANNEL_FLOW_OK, |out| out.put_u8(active));
            }
            wire::CHANNEL_CLOSE => {
                let error = closed(&mut arguments)?;
                wire::method(out, CHANNEL, wire::CHANNEL_CLOSE_OK, |_| {});
                return Err(self.refused(error));
            }
            wire::CLOSE => {
                let (_, error) = closed(&mut arguments)?;
                wire::method(out, 0, wire::CLOSE_OK, |_| {});
                return Err(error);
            }
            _ => {}
        }
        Ok(())
    }

    fn confirmed(&mut self, number: u64, several: bool, taken: bool) {
        let sent = if several {
            // Zero stands for all.
            let later = if number == 0 { BTreeMap::new() } else { self.sent.split_off(&number.saturating_add(1)) };
            std::mem::replace(&mut self.sent, later)
        } else {
            self.sent.remove(&number).map(|sent| (number, sent)).into_iter().collect()
        };
        for Sent { answer, message_id, returned } in sent.into_values() {
            answer.give(match returned {
                Some(words) => Err(Error::Refused(format!(
                    "no queue takes the message: {words}; declare a queue, or bind one with a fitting key"
                ))),
                None if taken => Ok(json!({ "id": message_id })),
                None => Err(Error::Unavailable("the broker could not take the message (nack)".to_owned())),
            });
        }
    }

    /// The header of a message that comes back. The same id twice on its way is the same message twice.
    fn returned(&mut self, header: Bytes) -> Result<(), Error> {
        let Some(words) = self.returning.take() else { return Ok(()) };
        let id = wire::message_id(header)?.ok_or_else(|| wire::broken("a returned message has no id"))?;
        if let Some(sent) = self.sent.values_mut().find(|sent| sent.message_id == id && sent.returned.is_none()) {
            sent.returned = Some(words);
        }
        Ok(())
    }

    /// The broker closed the channel over one of the messages, and does not say which. All go to the same exchange:
    /// if that is missing, no message can be taken. Otherwise only a single one is known to be the cause.
    fn refused(&mut self, (code, error): (u16, Error)) -> Error {
        if (code == 404 || self.sent.len() == 1) && matches!(error, Error::Refused(_)) {
            for (_, sent) in std::mem::take(&mut self.sent) {
                sent.answer.give(Err(error.clone()));
            }
        }
        error
    }
}

fn blocked(reason: &str) -> Error {
    Error::Unavailable(format!("the broker takes no messages for now: {reason}"))
}

/// Why the broker closes a channel or the connection: its code, and what it means.
fn closed(arguments: &mut Bytes) -> Result<(u16, Error), Error> {
    let code = wire::short(arguments)?;
    let text = format!("the broker answered {code} {}", wire::shortstr(arguments)?);
    Ok((code, if FOR_GOOD.contains(&code) { Error::Refused(text) } else { Error::Unavailable(text) }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn message(id: &str) -> Message {
        Message {
            exchange: String::new(),
            routing_key: "q".into(),
            content_type: "application/json".into(),
            headers: Map::new(),
            persistent: true,
            message_id: id.into(),
            timestamp: 0,
            body: Bytes::from_static(b"1"),
        }
    }

    #[test]
    fn one_confirmation_of_several_messages_keeps_apart_which_was_returned() {
        let mut publisher = Publisher { frame_max: 4096, ..Publisher::default() };
        let mut out = BytesMut::new();
        let mut answers = Vec::new();
        for id in ["a", "b", "c", "d"] {
            let (answer, answered) = Answer::channel();
            publisher.send(message(id), answer, &mut out);
            answers.push(answered);
        }
        let mut input = BytesMut::new();
        wire::method(&mut input, CHANNEL, wire::RETURN, |out| {
            out.put_u16(312);
            wire::put_short(out, "NO_ROUTE");
            wire::put_short(out, "");
            wire::put_short(out, "q");
        });
        let properties = wire::Properties {
            content_type: "t",
            headers: &Map::new(),
            persistent: true,
            message_id: "b",
            timestamp: 0,
        };
        assert!(wire::content(&mut input, CHANNEL, &properties, b"1", 4096));
        wire::method(&mut input, CHANNEL, wire::ACK, |out| {
            out.put_u64(3);
            out.put_u8(1);
        });
        wire::method(&mut input, CHANNEL, wire::NACK, |out| {
            out.put_u64(4);
            out.put_u8(0);
        });
        publisher.receive(&mut input, &mut out).unwrap();
        let mut result = |n: usize| answers[n].try_recv().unwrap();
        assert_eq!(result(0), Ok(json!({"id": "a"})));
        assert!(matches!(result(1), Err(Error::Refused(text)) if text.contains("312 NO_ROUTE")));
        assert_eq!(result(2), Ok(json!({"id": "c"})));
        assert!(matches!(result(3), Err(Error::Unavailable(_))));
        assert_eq!(publisher.waiting(), 0);
    }

    #[test]
    fn a_blocked_broker_is_unavailable_until_it_is_not() {
        let mut publisher = Publisher { frame_max: 4096, ..Publisher::default() };
        let mut out = BytesMut::new();
        let mut publish = |publisher: &mut Publisher| {
            let (answer, answered) = Answer::channel();
            publisher.send(message("a"), answer, &mut out);
            answered
        };
        let mut before = publish(&mut publisher);
        let mut input = BytesMut::new();
        wire::method(&mut input, 0, wire::BLOCKED, |out| wire::put_short(out, "low on memory"));
        publisher.receive(&mut input, &mut BytesMut::new()).unwrap();
        for mut answered in [before, publish(&mut publisher)] {
            assert!(
                matches!(answered.try_recv().unwrap(), Err(Error::Unavailable(text)) if text.contains("low on memory"))
            );
        }
        wire::method(&mut input, 0, wire::UNBLOCKED, |_| {});
        publisher.receive(&mut input, &mut BytesMut::new()).unwrap();
        before = publish(&mut publisher);
        assert!(before.try_recv().is_err(), "it is on its way");
    }
}
