//! Packets of MQTT 5, as far as a publisher needs them.
//!
//! Source: the OASIS standard MQTT 5.0, <https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html>. Written by hand:
//! the clients open their own sockets, and the codecs come with a client or a broker around them.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::connections::line::Error;
use crate::egress;

/// The largest packet that is taken: confirmations are short.
const MAX_PACKET: usize = 64 << 10;
/// The longest text.
pub(super) const MAX_TEXT: usize = 65_535;

/// What a broker sends.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Packet {
    Connack { reason: u8, server: Limits },
    Puback { id: u16, reason: u8 },
    Pubrec { id: u16, reason: u8 },
    Pubcomp { id: u16, reason: u8 },
    Pingresp,
    Disconnect { reason: u8 },
}

/// What the broker takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// Messages on their way at once.
    pub(super) receive_maximum: u16,
    /// The highest quality of service.
    pub(super) qos: u8,
    /// Whether messages can be retained.
    pub(super) retain: bool,
    /// The largest packet, in bytes.
    pub(super) packet: u32,
}

impl Default for Limits {
    /// What is so where the broker says nothing else (3.2.2.3).
    fn default() -> Self {
        Self { receive_maximum: u16::MAX, qos: 2, retain: true, packet: u32::MAX }
    }
}

/// The next whole packet, if it is there.
pub(super) fn next(input: &mut BytesMut) -> Result<Option<Packet>, Error> {
    let Some(first) = input.first().copied() else { return Ok(None) };
    // Before its length is believed: what is none is not waited for.
    if !matches!(first, 0x20 | 0x40 | 0x50 | 0x70 | 0xD0 | 0xE0) {
        return Err(broken("the answer is no packet that MQTT 5 has for a publisher"));
    }
    let Some((size, taken)) = variable(&input[1..])? else { return Ok(None) };
    if size > MAX_PACKET {
        return Err(broken("a packet of the broker is too large"));
    }
    if input.len() < 1 + taken + size {
        return Ok(None);
    }
    input.advance(1 + taken);
    let mut body = input.split_to(size).freeze();
    let packet = match first {
        0x20 => {
            let (_, reason) = (octet(&mut body)?, octet(&mut body)?);
            Packet::Connack { reason, server: limits(&mut body)? }
        }
        0x40 | 0x50 | 0x70 => {
            let id = body.try_get_u16().map_err(|_| short())?;
            // Left out, it is success.
            let reason = if body.is_empty() { 0 } else { octet(&mut body)? };
            match first {
                0x40 => Packet::Puback { id, reason },
                0x50 => Packet::Pubrec { id, reason },
                _ => Packet::Pubcomp { id, reason },
            }
        }
        0xD0 => Packet::Pingresp,
        _ => Packet::Disconnect { reason: if body.is_empty() { 0 } else { octet(&mut body)? } },
    };
    Ok(Some(packet))
}

/// A variable byte integer, and how many bytes it takes.
fn variable(from: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut value = 0;
    for (at, byte) in from.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if from.len() >= 4 { Err(broken("the answer is no MQTT packet")) } else { Ok(None) }
}

/// The properties of a CONNACK.
fn limits(body: &mut Bytes) -> Result<Limits, Error> {
    let mut found = Limits::default();
    // MQTT 3 has none: its refusals come without.
    if body.is_empty() {
        return Ok(found);
    }
    let (size, taken) = variable(body)?.ok_or_else(short)?;
    body.advance(taken);
    if body.len() < size {
        return Err(short());
    }
    let mut properties = body.split_to(size);
    while !properties.is_empty() {
        match octet(&mut properties)? {
            0x21 => found.receive_maximum = properties.try_get_u16().map_err(|_| short())?,
            0x24 => found.qos = octet(&mut properties)?,
            0x25 => found.retain = octet(&mut properties)? != 0,
            0x27 => found.packet = properties.try_get_u32().map_err(|_| short())?,
            0x28..=0x2A => drop(octet(&mut properties)?),
            0x13 | 0x22 => skip(&mut properties, 2)?,
            0x11 => skip(&mut properties, 4)?,
            0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => skip_text(&mut properties)?,
            0x26 => {
                skip_text(&mut properties)?;
                skip_text(&mut properties)?;
            }
            _ => return Err(broken("the broker's greeting has a property that MQTT 5 has not")),
        }
    }
    Ok(found)
}

fn octet(from: &mut Bytes) -> Result<u8, Error> {
    from.try_get_u8().map_err(|_| short())
}

fn skip(from: &mut Bytes, size: usize) -> Result<(), Error> {
    if from.len() < size {
        return Err(short());
    }
    from.advance(size);
    Ok(())
}

fn skip_text(from: &mut Bytes) -> Result<(), Error> {
    let size = from.try_get_u16().map_err(|_| short())?;
    skip(from, usize::from(size))
}

fn short() -> Error {
    broken("a packet of the broker is too short")
}

/// What does not fit the protocol.
pub(super) fn broken(what: &str) -> Error {
    egress::Error::Protocol(what.to_owned()).into()
}

fn put_variable(out: &mut BytesMut, mut value: usize) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.put_u8(byte);
        }
        out.put_u8(byte | 0x80);
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_TEXT)];
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

fn put_packet(out: &mut BytesMut, first: u8, body: &[u8]) {
    out.put_u8(first);
    put_variable(out, body.len());
    out.put_slice(body);
}

/// A CONNECT: a new session, which ends with the connection.
pub(super) fn connect(client: &str, username: Option<&str>, password: Option<&str>, keep_alive: u16) -> BytesMut {
    let mut body = BytesMut::new();
    put_bytes(&mut body, b"MQTT");
    body.put_u8(5);
    let flag = |set: bool, bit: u8| if set { 1 << bit } else { 0 };
    body.put_u8(flag(true, 1) | flag(username.is_some(), 7) | flag(password.is_some(), 6));
    body.put_u16(keep_alive);
    body.put_u8(0); // no properties
    put_bytes(&mut body, client.as_bytes());
    for text in [username, password].into_iter().flatten() {
        put_bytes(&mut body, text.as_bytes());
    }
    let mut out = BytesMut::new();
    put_packet(&mut out, 0x10, &body);
    out
}

/// What a PUBLISH holds besides its number. Its caller has looked that every text is short enough.
pub(super) struct Publish<'a> {
    pub(super) topic: &'a str,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) content_type: &'a str,
    pub(super) expiry: Option<u32>,
    pub(super) user: &'a [(String, String)],
    pub(super) payload: &'a [u8],
}

/// A PUBLISH.
pub(super) fn publish(id: u16, message: &Publish<'_>) -> BytesMut {
    let mut properties = BytesMut::new();
    properties.put_slice(&[0x01, 1]); // the payload is text
    if let Some(seconds) = message.expiry {
        properties.put_u8(0x02);
        properties.put_u32(seconds);
    }
    properties.put_u8(0x03);
    put_bytes(&mut properties, message.content_type.as_bytes());
    for (name, value) in message.user {
        properties.put_u8(0x26);
        put_bytes(&mut properties, name.as_bytes());
        put_bytes(&mut properties, value.as_bytes());
    }
    let mut body = BytesMut::with_capacity(message.payload.len() + properties.len() + message.topic.len() + 16);
    put_bytes(&mut body, message.topic.as_bytes());
    body.put_u16(id);
    put_variable(&mut body, properties.len());
    body.put_slice(&properties);
    body.put_slice(message.payload);
    let mut out = BytesMut::with_capacity(body.len() + 8);
    put_packet(&mut out, 0x30 | message.qos << 1 | u8::from(message.retain), &body);
    out
}

/// Writes a PUBREL: the second half of quality of service 2.
pub(super) fn pubrel(out: &mut BytesMut, id: u16) {
    put_packet(out, 0x62, &id.to_be_bytes());
}

/// Writes a PINGREQ.
pub(super) fn ping(out: &mut BytesMut) {
    out.put_slice(&[0xC0, 0]);
}

/// Writes a DISCONNECT.
pub(super) fn disconnect(out: &mut BytesMut) {
    out.put_slice(&[0xE0, 0]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packets_are_read_once_they_are_whole() {
        let whole = [
            &[0x20, 20, 0, 0, 17, 0x21, 0, 9, 0x24, 1, 0x25, 0, 0x27, 0, 0, 1, 0, 0x1F, 0, 2, b'o', b'k'][..],
            &[0x40, 2, 0, 7],
            &[0x40, 3, 0, 7, 0x10],
            &[0x50, 4, 0, 8, 0x87, 0],
            &[0x70, 2, 0, 8],
            &[0xD0, 0],
            &[0xE0, 1, 0x8B],
        ]
        .concat();
        let (mut found, mut input) = (Vec::new(), BytesMut::new());
        for byte in whole {
            input.put_u8(byte);
            found.extend(next(&mut input).unwrap());
        }
        let server = Limits { receive_maximum: 9, qos: 1, retain: false, packet: 256 };
        let expected = [
            Packet::Connack { reason: 0, server },
            Packet::Puback { id: 7, reason: 0 },
            Packet::Puback { id: 7, reason: 0x10 },
            Packet::Pubrec { id: 8, reason: 0x87 },
            Packet::Pubcomp { id: 8, reason: 0 },
            Packet::Pingresp,
            Packet::Disconnect { reason: 0x8B },
        ];
        assert_eq!(found, expected);
        assert!(input.is_empty());
    }

    #[test]
    fn a_broker_s_nonsense_is_an_error_and_no_panic() {
        for bad in [
            &b"HTTP/1.1 400 Bad Request and more of it"[..],
            &[0x40, 1, 0],
            &[0x40, 0xff, 0xff, 0xff, 0xff],
            &[0x20, 3, 0, 0, 9],
            &[0x20, 5, 0, 0, 2, 0x77, 0],
        ] {
            assert!(next(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_message_is_written_as_the_standard_has_it() {
        let user = [("a".to_owned(), "b".to_owned())];
        let message = Publish {
            topic: "t",
            qos: 1,
            retain: true,
            content_type: "c",
            expiry: Some(60),
            user: &user,
            payload: b"hi",
        };
        let expected = [
            &[0x33, 26, 0, 1, b't', 0, 9, 18, 1, 1, 2, 0, 0, 0, 60, 3, 0, 1, b'c'][..],
            &[0x26, 0, 1, b'a', 0, 1, b'b', b'h', b'i'],
        ]
        .concat();
        assert_eq!(publish(9, &message), expected[..]);
        let mut out = BytesMut::new();
        put_variable(&mut out, 321);
        assert_eq!(out, [0xC1, 2][..]);
        assert_eq!(variable(&out).unwrap(), Some((321, 2)));
    }
}
