//! Frames of AMQP 0-9-1, as far as a publisher needs them: what it writes, and what it reads of the broker's.
//!
//! Written by hand rather than taken from a client: what a broker sends is read without building its tables, whose
//! nesting it chooses, and a returned message is told apart by its id. Source: the specification's text and grammar
//! at <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf> and RabbitMQ's extensions of it.

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use serde_json::{Map, Value};

use crate::connections::line::Error;
use crate::egress;

/// The largest frame that is taken or sent, in bytes, with its header and its end.
pub(super) const FRAME_MAX: u32 = 128 << 10;
/// What a frame has around its payload.
const OVERHEAD: usize = 8;
const END: u8 = 0xCE;
/// The longest short string.
pub(super) const MAX_SHORT: usize = 255;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// A method's class and number.
pub(super) type Method = (u16, u16);

pub(super) const START: Method = (10, 10);
pub(super) const START_OK: Method = (10, 11);
pub(super) const TUNE: Method = (10, 30);
pub(super) const TUNE_OK: Method = (10, 31);
pub(super) const OPEN: Method = (10, 40);
pub(super) const OPEN_OK: Method = (10, 41);
pub(super) const CLOSE: Method = (10, 50);
pub(super) const CLOSE_OK: Method = (10, 51);
pub(super) const BLOCKED: Method = (10, 60);
pub(super) const UNBLOCKED: Method = (10, 61);
pub(super) const CHANNEL_OPEN: Method = (20, 10);
pub(super) const CHANNEL_OPEN_OK: Method = (20, 11);
pub(super) const CHANNEL_FLOW: Method = (20, 20);
pub(super) const CHANNEL_FLOW_OK: Method = (20, 21);
pub(super) const CHANNEL_CLOSE: Method = (20, 40);
pub(super) const CHANNEL_CLOSE_OK: Method = (20, 41);
pub(super) const EXCHANGE_DECLARE: Method = (40, 10);
pub(super) const EXCHANGE_DECLARE_OK: Method = (40, 11);
pub(super) const PUBLISH: Method = (60, 40);
pub(super) const RETURN: Method = (60, 50);
pub(super) const ACK: Method = (60, 80);
pub(super) const NACK: Method = (60, 120);
pub(super) const CONFIRM: Method = (85, 10);
pub(super) const CONFIRM_OK: Method = (85, 11);

/// A frame from the broker.
pub(super) enum Frame {
    Method(Method, Bytes),
    Header(Bytes),
    Body,
    Heartbeat,
}

/// The next whole frame, if it is there.
pub(super) fn next(input: &mut BytesMut) -> Result<Option<Frame>, Error> {
    // A broker that speaks another version answers with its own header, and closes.
    if input.starts_with(b"AMQP") {
        return Err(broken("the broker does not speak AMQP 0-9-1"));
    }
    if input.len() < 7 {
        return Ok(None);
    }
    // Which channel it is of does not matter: there is one, and the connection's methods have classes of their own.
    let kind = input[0];
    let size = u32::from_be_bytes([input[3], input[4], input[5], input[6]]);
    if size > FRAME_MAX || !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) {
        return Err(broken("the answer is no AMQP frame"));
    }
    let size = size as usize;
    if input.len() < size + OVERHEAD {
        return Ok(None);
    }
    let mut frame = input.split_to(size + OVERHEAD).freeze();
    if frame[size + 7] != END {
        return Err(broken("a frame of the broker has no end"));
    }
    frame.advance(7);
    frame.truncate(size);
    Ok(Some(match kind {
        METHOD => {
            let method = (short(&mut frame)?, short(&mut frame)?);
            Frame::Method(method, frame)
        }
        HEADER => Frame::Header(frame),
        BODY => Frame::Body,
        _ => Frame::Heartbeat,
    }))
}

/// What does not fit the protocol.
pub(super) fn broken(what: &str) -> Error {
    egress::Error::Protocol(what.to_owned()).into()
}

/// A `short` of a frame's payload.
pub(super) fn short(from: &mut Bytes) -> Result<u16, Error> {
    from.try_get_u16().map_err(|_| broken("a frame of the broker is too short"))
}

/// A `long`.
pub(super) fn long(from: &mut Bytes) -> Result<u32, Error> {
    from.try_get_u32().map_err(|_| broken("a frame of the broker is too short"))
}

/// A `longlong`.
pub(super) fn longlong(from: &mut Bytes) -> Result<u64, Error> {
    from.try_get_u64().map_err(|_| broken("a frame of the broker is too short"))
}

/// An octet.
pub(super) fn octet(from: &mut Bytes) -> Result<u8, Error> {
    from.try_get_u8().map_err(|_| broken("a frame of the broker is too short"))
}

/// A short string; what is not UTF-8 in it is replaced, since it is only shown.
pub(super) fn shortstr(from: &mut Bytes) -> Result<String, Error> {
    let size = usize::from(octet(from)?);
    Ok(String::from_utf8_lossy(&take(from, size)?).into_owned())
}

fn take(from: &mut Bytes, size: usize) -> Result<Bytes, Error> {
    if from.len() < size {
        return Err(broken("a frame of the broker is too short"));
    }
    Ok(from.split_to(size))
}

/// Skips a table, or a long string.
pub(super) fn skip_long(from: &mut Bytes) -> Result<(), Error> {
    let size = long(from)? as usize;
    take(from, size).map(|_| ())
}

/// The property `message-id` of a content header.
pub(super) fn message_id(mut header: Bytes) -> Result<Option<String>, Error> {
    take(&mut header, 12)?; // class, weight, body size
    let flags = short(&mut header)?;
    let has = |bit: u16| flags & (1 << bit) != 0;
    // In the order of the flags' bits: content-type, content-encoding, headers, delivery-mode, priority,
    // correlation-id, reply-to, expiration, message-id.
    for bit in [15, 14] {
        if has(bit) {
            shortstr(&mut header)?;
        }
    }
    if has(13) {
        skip_long(&mut header)?;
    }
    for bit in [12, 11] {
        if has(bit) {
            octet(&mut header)?;
        }
    }
    for bit in [10, 9, 8] {
        if has(bit) {
            shortstr(&mut header)?;
        }
    }
    if has(7) { shortstr(&mut header).map(Some) } else { Ok(None) }
}

/// Writes a frame whose payload `fill` writes.
fn frame(out: &mut BytesMut, kind: u8, channel: u16, fill: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    out.put_u16(channel);
    let at = out.len();
    out.put_u32(0);
    fill(out);
    let size = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
    out.put_u8(END);
}

/// Writes a method with the arguments that `fill` writes.
pub(super) fn method(out: &mut BytesMut, channel: u16, (class, number): Method, fill: impl FnOnce(&mut BytesMut)) {
    frame(out, METHOD, channel, |out| {
        out.put_u16(class);
        out.put_u16(number);
        fill(out);
    });
}

/// Writes a heartbeat.
pub(super) fn heartbeat(out: &mut BytesMut) {
    frame(out, HEARTBEAT, 0, |_| {});
}

/// Writes a short string; its caller has made sure that it is one.
pub(super) fn put_short(out: &mut BytesMut, text: &str) {
    let text = &text.as_bytes()[..text.len().min(MAX_SHORT)];
    out.put_u8(text.len() as u8);
    out.put_slice(text);
}

/// Writes a long string.
pub(super) fn put_long(out: &mut BytesMut, text: &[u8]) {
    out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.put_slice(text);
}

/// Writes a table. Texts stay texts and flags flags, whole numbers that fit are numbers; anything else is its JSON.
pub(super) fn put_table(out: &mut BytesMut, fields: &Map<String, Value>) {
    let at = out.len();
    out.put_u32(0);
    for (name, value) in fields {
        put_short(out, name);
        match value {
            Value::String(text) => {
                out.put_u8(b'S');
                put_long(out, text.as_bytes());
            }
            Value::Bool(flag) => {
                out.put_u8(b't');
                out.put_u8(u8::from(*flag));
            }
            Value::Null => out.put_u8(b'V'),
            Value::Number(number) if number.as_i64().is_some() => {
                out.put_u8(b'l');
                out.put_i64(number.as_i64().unwrap_or_default());
            }
            other => {
                out.put_u8(b'S');
                put_long(out, other.to_string().as_bytes());
            }
        }
    }
    let size = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// A message's properties.
pub(super) struct Properties<'a> {
    pub(super) content_type: &'a str,
    pub(super) headers: &'a Map<String, Value>,
    pub(super) persistent: bool,
    pub(super) message_id: &'a str,
    /// Seconds since 1970.
    pub(super) timestamp: u64,
}

/// Writes a message's header and its body, which is cut into frames; `false` where the header is too large for one.
pub(super) fn content(
    out: &mut BytesMut,
    channel: u16,
    properties: &Properties<'_>,
    body: &[u8],
    frame_max: u32,
) -> bool {
    let at = out.len();
    frame(out, HEADER, channel, |out| {
        out.put_u16(PUBLISH.0);
        out.put_u16(0);
        out.put_u64(body.len() as u64);
        // content-type, headers, delivery-mode, message-id, timestamp
        out.put_u16(1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6);
        put_short(out, properties.content_type);
        put_table(out, properties.headers);
        out.put_u8(if properties.persistent { 2 } else { 1 });
        put_short(out, properties.message_id);
        out.put_u64(properties.timestamp);
    });
    if out.len() - at > frame_max as usize {
        return false;
    }
    for part in body.chunks((frame_max as usize).saturating_sub(OVERHEAD).max(1)) {
        frame(out, BODY, channel, |out| out.put_slice(part));
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_written_is_read_again() {
        let mut out = BytesMut::new();
        let headers = json!({"text": "é", "number": 7, "flag": true, "none": null, "list": [1], "large": 1e300});
        let properties = Properties {
            content_type: "application/json",
            headers: headers.as_object().unwrap(),
            persistent: true,
            message_id: "delivery",
            timestamp: 1,
        };
        method(&mut out, 1, ACK, |out| out.put_u64(5));
        assert!(content(&mut out, 1, &properties, &[b'x'; 250], 180));
        heartbeat(&mut out);
        let Some(Frame::Method(ACK, mut rest)) = next(&mut out).unwrap() else { panic!("no method") };
        assert_eq!(longlong(&mut rest).unwrap(), 5);
        let Some(Frame::Header(header)) = next(&mut out).unwrap() else { panic!("no header") };
        assert_eq!(message_id(header).unwrap().as_deref(), Some("delivery"));
        for _ in 0..2 {
            assert!(matches!(next(&mut out).unwrap(), Some(Frame::Body)));
        }
        assert!(matches!(next(&mut out).unwrap(), Some(Frame::Heartbeat)));
        assert!(next(&mut out).unwrap().is_none());
    }

    #[test]
    fn a_broker_s_nonsense_is_an_error_and_no_panic() {
        for bad in
            [&b"HTTP/1.1 400 Bad"[..], b"AMQP\x01\x01\x00\x09", b"\x01\0\0\xff\xff\xff\xff", b"\x01\0\0\0\0\0\x00x"]
        {
            assert!(next(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
        }
        let whole = {
            let mut out = BytesMut::new();
            method(&mut out, 1, RETURN, |out| out.put_u16(312));
            out
        };
        for end in 0..whole.len() {
            assert!(next(&mut BytesMut::from(&whole[..end])).unwrap().is_none());
        }
        for size in 0..40 {
            let _ = message_id(Bytes::from(vec![0xff; size]));
        }
    }
}
