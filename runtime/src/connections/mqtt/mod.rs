//! MQTT 5: quality of service 1 or 2, confirmed by the broker's PUBACK or PUBCOMP.
//!
//! A session ends with its line. A message that was not confirmed is published again by the action's next attempt,
//! under the same delivery id: at least once, with quality of service 2 as well.

pub mod topic;
mod wire;

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::line::{Answer, Error, Line, Lines, Protocol};
use super::stream::{self, Address, Scheme, Socket};
use crate::egress::{self, Egress};
use crate::resources::Identity;

/// What URLs look like.
pub const SCHEMES: &[Scheme] =
    &[Scheme { name: "mqtt", port: 1883, tls: false }, Scheme { name: "mqtts", port: 8883, tls: true }];
/// The longest topic, and the longest name or value of a property, in bytes.
pub const MAX_TEXT: usize = wire::MAX_TEXT;
/// Messages on their way at once on one line, if the broker takes as many.
const IN_FLIGHT: usize = 256;
/// Seconds: a broker that has heard nothing for one and a half times as long hangs up. Thrice the line's beat.
const KEEP_ALIVE: u16 = 30;
/// "No matching subscribers".
const NOBODY: u8 = 0x10;

/// This process, for client ids that no other one has.
static PROCESS: LazyLock<String> = LazyLock::new(|| hex::encode(rand::random::<[u8; 4]>()));

/// Where a broker is, and who logs in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// `mqtt://` or `mqtts://`.
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
    /// Where to.
    pub topic: String,
    /// Quality of service: 1 or 2.
    pub qos: u8,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// Seconds after which the broker throws it away.
    pub expiry: Option<u32>,
    /// The body's media type.
    pub content_type: String,
    /// User properties.
    pub user: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// Lines to MQTT brokers. Cheap to clone.
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

    /// Publishes; answers once the broker has confirmed it.
    pub async fn publish(&self, identity: &Identity, server: &Server, message: Message) -> Result<Value, Error> {
        // 22 letters and digits: every broker takes up to 23 (3.1.3.1).
        let client = format!("td{}{}", *PROCESS, hex::encode(&identity.digest[..6]));
        let connecting = async {
            let (socket, input, server) = stream::bounded(open(&self.egress, server, &client)).await?;
            Ok(Line::start(socket, input, Publisher { server, last: 0, sent: HashMap::new() }))
        };
        self.lines.line(identity, connecting).await?.send(message).await
    }

    /// Connects, logs in, and leaves: what was found, or what is wrong.
    pub async fn check(&self, server: &Server, qos: u8, retain: bool) -> Result<String, String> {
        // Under another name than the line's, which would be thrown out.
        let client = format!("td{}", hex::encode(rand::random::<[u8; 8]>()));
        let opened = stream::bounded(open(&self.egress, server, &client)).await;
        let (mut socket, _, limits) = opened.map_err(|error| error.to_string())?;
        let mut out = BytesMut::new();
        wire::disconnect(&mut out);
        // The broker notices the end of the connection too.
        let _ = socket.write_all(&out).await;
        match beyond(&limits, qos, retain) {
            Some(detail) => Err(detail),
            None => Ok("the broker accepts the login".to_owned()),
        }
    }
}

async fn open(egress: &Egress, server: &Server, client: &str) -> Result<(Socket, BytesMut, wire::Limits), Error> {
    let address = Address::parse(&server.url, SCHEMES).map_err(Error::Refused)?;
    let mut socket = stream::open(egress, &address, server.ca.as_deref()).await?;
    let username = server.username.as_ref().or(address.username.as_ref()).map(String::as_str);
    let password = server.password.as_ref().or(address.password.as_ref()).map(String::as_str);
    let said = async {
        socket.write_all(&wire::connect(client, username, password, KEEP_ALIVE)).await?;
        socket.flush().await
    };
    said.await.map_err(|error| egress::Error::of_io(&error))?;
    let mut input = BytesMut::new();
    loop {
        match wire::next(&mut input)? {
            Some(wire::Packet::Connack { reason: 0, server }) => return Ok((socket, input, server)),
            // 1 is what brokers of MQTT 3 say.
            Some(wire::Packet::Connack { reason: 1 | 0x84, .. }) => {
                return Err(Error::Refused("the broker does not speak MQTT 5".to_owned()));
            }
            Some(wire::Packet::Connack { reason, .. } | wire::Packet::Disconnect { reason }) => {
                return Err(meaning(reason));
            }
            Some(_) => return Err(wire::broken("the broker does not begin with CONNACK")),
            None => match socket.read_buf(&mut input).await {
                Ok(0) => return Err(egress::Error::Reset.into()),
                Ok(_) => {}
                Err(error) => return Err(egress::Error::of_io(&error).into()),
            },
        }
    }
}

/// What the broker cannot do of what is asked.
fn beyond(limits: &wire::Limits, qos: u8, retain: bool) -> Option<String> {
    if qos > limits.qos {
        return Some(format!(
            "the broker takes messages with a quality of service of {} at most, not {qos}",
            limits.qos
        ));
    }
    (retain && !limits.retain).then(|| "the broker retains no messages".to_owned())
}

/// What a reason code of a failure means (2.4 of the standard).
fn meaning(reason: u8) -> Error {
    let (words, for_good) = match reason {
        0x81 => ("malformed packet", true),
        0x82 => ("protocol error", true),
        0x85 => ("client identifier not valid", true),
        0x86 => ("bad user name or password", true),
        0x87 => ("not authorized", true),
        0x88 => ("server unavailable", false),
        0x89 => ("server busy", false),
        0x8A => ("banned", true),
        0x8B => ("server shutting down", false),
        0x8C => ("bad authentication method", true),
        0x8D => ("keep alive timeout", false),
        0x8E => ("session taken over", false),
        0x90 => ("topic name invalid", true),
        0x93 => ("receive maximum exceeded", false),
        0x95 => ("packet too large", true),
        0x96 => ("message rate too high", false),
        0x97 => ("quota exceeded", false),
        0x98 => ("administrative action", false),
        0x99 => ("payload format invalid", true),
        0x9A => ("retain not supported", true),
        0x9B => ("quality of service not supported", true),
        0x9C => ("use another server", true),
        0x9D => ("server moved", true),
        0x9F => ("connection rate exceeded", false),
        _ => ("it failed", false),
    };
    let text = format!("the broker answered 0x{reason:02X}, {words}");
    if for_good { Error::Refused(text) } else { Error::Unavailable(text) }
}

/// A line's state.
struct Publisher {
    server: wire::Limits,
    last: u16,
    sent: HashMap<u16, Sent>,
}

/// A message that was sent.
struct Sent {
    answer: Answer,
    /// With quality of service 2: whether the broker has it, and is to confirm that it will not be sent again.
    received: Option<u8>,
    qos: u8,
}

impl Protocol for Publisher {
    type Message = Message;

    fn has_room(&self) -> bool {
        self.sent.len() < usize::from(self.server.receive_maximum).min(IN_FLIGHT)
    }

    fn waiting(&self) -> usize {
        self.sent.len()
    }

    fn send(&mut self, message: Message, answer: Answer, out: &mut BytesMut) {
        if let Some(detail) = beyond(&self.server, message.qos, message.retain) {
            return answer.give(Err(Error::Refused(detail)));
        }
        let id = self.number();
        let packet = wire::publish(
            id,
            &wire::Publish {
                topic: &message.topic,
                qos: message.qos,
                retain: message.retain,
                content_type: &message.content_type,
                expiry: message.expiry,
                user: &message.user,
                payload: &message.body,
            },
        );
        if packet.len() as u64 > u64::from(self.server.packet) {
            let words = format!("the message has {} bytes; the broker takes {}", packet.len(), self.server.packet);
            return answer.give(Err(Error::Refused(words)));
        }
        out.extend_from_slice(&packet);
        self.sent.insert(id, Sent { answer, received: None, qos: message.qos });
    }

    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<(), Error> {
        while let Some(packet) = wire::next(input)? {
            match packet {
                wire::Packet::Puback { id, reason } => self.end(id, 1, reason),
                wire::Packet::Pubrec { id, reason } => {
                    let known = self.sent.get_mut(&id).filter(|sent| sent.qos == 2);
                    match known {
                        Some(sent) if reason < 0x80 => {
                            sent.received = Some(reason);
                            wire::pubrel(out, id);
                        }
                        _ => self.end(id, 2, reason),
                    }
                }
                wire::Packet::Pubcomp { id, reason } => self.end(id, 2, reason),
                wire::Packet::Disconnect { reason } => return Err(meaning(reason)),
                wire::Packet::Pingresp => {}
                wire::Packet::Connack { .. } => return Err(wire::broken("the broker greets twice")),
            }
        }
        Ok(())
    }

    fn beat(&mut self, out: &mut BytesMut) {
        wire::ping(out);
    }

    fn farewell(&mut self, out: &mut BytesMut) {
        wire::disconnect(out);
    }
}

impl Publisher {
    /// A number that no message on its way has. There are many more of them than messages.
    fn number(&mut self) -> u16 {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.sent.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    /// The last word on a message of that quality of service; of others it is none.
    fn end(&mut self, id: u16, qos: u8, reason: u8) {
        if self.sent.get(&id).is_none_or(|sent| sent.qos != qos) {
            return;
        }
        let Some(Sent { answer, received, qos }) = self.sent.remove(&id) else { return };
        answer.give(match (qos, received, reason) {
            (_, _, 0x80..) => Err(meaning(reason)),
            (2, None, _) => Err(wire::broken("the broker completes a message that it has not received")),
            (_, received, _) => {
                let nobody = received.unwrap_or(reason) == NOBODY;
                Ok(json!({ "packet": id, "subscribers": if nobody { Value::from(false) } else { Value::Null } }))
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn publisher(server: wire::Limits) -> Publisher {
        Publisher { server, last: 0, sent: HashMap::new() }
    }

    fn send(publisher: &mut Publisher, qos: u8) -> tokio::sync::oneshot::Receiver<Result<Value, Error>> {
        let (answer, answered) = Answer::channel();
        let message = Message {
            topic: "t".into(),
            qos,
            retain: false,
            expiry: None,
            content_type: "c".into(),
            user: Vec::new(),
            body: Bytes::from_static(b"1"),
        };
        publisher.send(message, answer, &mut BytesMut::new());
        answered
    }

    fn hear(publisher: &mut Publisher, bytes: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        publisher.receive(&mut BytesMut::from(bytes), &mut out).unwrap();
        out
    }

    #[test]
    fn only_the_packet_that_ends_a_message_confirms_it() {
        let mut publisher = publisher(wire::Limits { receive_maximum: 2, ..wire::Limits::default() });
        let (mut once, mut twice) = (send(&mut publisher, 1), send(&mut publisher, 2));
        assert!(!publisher.has_room());
        // The other one's answer, an answer to nothing.
        hear(&mut publisher, &[0x70, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 9]);
        assert!(once.try_recv().is_err() && twice.try_recv().is_err());
        hear(&mut publisher, &[0x40, 3, 0, 1, NOBODY]);
        assert_eq!(once.try_recv().unwrap().unwrap()["subscribers"], false);
        assert_eq!(hear(&mut publisher, &[0x50, 2, 0, 2]), [0x62, 2, 0, 2][..]);
        assert!(twice.try_recv().is_err());
        hear(&mut publisher, &[0x70, 2, 0, 2]);
        assert!(twice.try_recv().unwrap().is_ok());
        let mut refused = send(&mut publisher, 2);
        hear(&mut publisher, &[0x50, 3, 0, 3, 0x87]);
        assert!(matches!(refused.try_recv().unwrap(), Err(Error::Refused(_))));
    }

    #[test]
    fn what_the_broker_cannot_take_is_not_sent() {
        let mut small = publisher(wire::Limits { packet: 10, ..wire::Limits::default() });
        assert!(matches!(send(&mut small, 1).try_recv().unwrap(), Err(Error::Refused(_))));
        let mut simple = publisher(wire::Limits { qos: 1, ..wire::Limits::default() });
        assert!(matches!(send(&mut simple, 2).try_recv().unwrap(), Err(Error::Refused(_))));
        assert_eq!(simple.waiting(), 0);
    }
}
