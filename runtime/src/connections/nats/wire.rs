//! The text protocol of NATS, as far as a publisher needs it.
//!
//! Source: <https://docs.nats.io/reference/reference-protocols/nats-protocol> and, for headers, ADR-4.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::Deserialize;

use crate::connections::line::Error;
use crate::egress;

/// The longest line: INFO names the servers of the cluster.
const MAX_LINE: usize = 64 << 10;
/// The largest message that is taken: confirmations are short.
const MAX_PAYLOAD: usize = 1 << 20;

/// What the server says of itself.
#[derive(Clone, Default, Deserialize, Debug)]
#[serde(default)]
pub(super) struct Info {
    pub(super) max_payload: usize,
    pub(super) headers: bool,
    pub(super) nonce: String,
    pub(super) tls_required: bool,
    pub(super) tls_available: bool,
    pub(super) jetstream: bool,
}

/// What a server sends.
#[derive(Debug)]
pub(super) enum Op {
    Info(Box<Info>),
    Message {
        subject: String,
        /// `NATS/1.0 …`, with a status of the server's where it has one.
        headers: Bytes,
        payload: Bytes,
    },
    Ping,
    Pong,
    /// The server's complaint, without quotation marks.
    Err(String),
    Ok,
}

/// The next whole operation, if it is there.
pub(super) fn next(input: &mut BytesMut) -> Result<Option<Op>, Error> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return if input.len() > MAX_LINE { Err(broken("a line of the server has no end")) } else { Ok(None) };
    };
    if end > MAX_LINE {
        return Err(broken("a line of the server is too long"));
    }
    let line = std::str::from_utf8(&input[..end]).map_err(|_| broken("the answer is no NATS"))?.trim_end();
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let op = match verb.to_ascii_uppercase().as_str() {
        "INFO" => {
            let info = serde_json::from_str(rest).map_err(|_| broken("the server's INFO is no JSON"))?;
            Op::Info(Box::new(info))
        }
        "MSG" | "HMSG" => return message(input, end),
        "PING" => Op::Ping,
        "PONG" => Op::Pong,
        "+OK" => Op::Ok,
        "-ERR" => Op::Err(rest.trim().trim_matches('\'').to_owned()),
        _ => return Err(broken("the answer is no NATS")),
    };
    input.advance(end + 1);
    Ok(Some(op))
}

/// `MSG subject sid [reply] bytes` or `HMSG subject sid [reply] header-bytes bytes`, and the bytes.
fn message(input: &mut BytesMut, end: usize) -> Result<Option<Op>, Error> {
    let line = String::from_utf8_lossy(&input[..end]).into_owned();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let sizes = if words[0].eq_ignore_ascii_case("HMSG") { 2 } else { 1 };
    let wrong = || broken("a message of the server cannot be read");
    if !(words.len() == 3 + sizes || words.len() == 4 + sizes) {
        return Err(wrong());
    }
    let number = |word: &str| word.parse::<usize>().ok().filter(|size| *size <= MAX_PAYLOAD).ok_or_else(wrong);
    let all = number(words[words.len() - 1])?;
    let of_headers = if sizes == 2 { number(words[words.len() - 2])? } else { 0 };
    if of_headers > all {
        return Err(wrong());
    }
    if input.len() < end + 1 + all + 2 {
        return Ok(None);
    }
    let subject = words[1].to_owned();
    input.advance(end + 1);
    let mut payload = input.split_to(all).freeze();
    input.advance(2);
    let headers = payload.split_to(of_headers);
    Ok(Some(Op::Message { subject, headers, payload }))
}

/// The status in a message's first header line: `NATS/1.0 503`.
pub(super) fn status(headers: &[u8]) -> Option<u16> {
    let line = headers.split(|byte| *byte == b'\r').next()?;
    let text = std::str::from_utf8(line).ok()?.strip_prefix("NATS/1.0")?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// What does not fit the protocol.
pub(super) fn broken(what: &str) -> Error {
    egress::Error::Protocol(what.to_owned()).into()
}

/// Writes a message with headers. Subjects, names and values hold no line breaks: its caller has looked.
pub(super) fn publish(
    out: &mut BytesMut,
    subject: &str,
    reply: Option<&str>,
    headers: &[(String, String)],
    payload: &[u8],
) {
    let mut head = String::from("NATS/1.0\r\n");
    for (name, value) in headers {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let reply = reply.map(|reply| format!("{reply} ")).unwrap_or_default();
    let line = format!("HPUB {subject} {reply}{} {}\r\n", head.len(), head.len() + payload.len());
    out.put_slice(line.as_bytes());
    out.put_slice(head.as_bytes());
    out.put_slice(payload);
    out.put_slice(b"\r\n");
}

/// How many bytes of `max_payload` the message takes.
pub(super) fn size(headers: &[(String, String)], payload: &[u8]) -> usize {
    let head: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    "NATS/1.0\r\n\r\n".len() + head + payload.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn operations_are_read_once_they_are_whole() {
        let whole =
            b"INFO {\"max_payload\":5,\"x\":[1]}\r\nPING\r\n-ERR 'Authorization Violation'\r\nMSG a.b 1 2\r\nhi\r\n\
            HMSG a.c 1 _R 16 18\r\nNATS/1.0 503\r\n\r\nhi\r\npong\r\n";
        let mut ops = Vec::new();
        let mut input = BytesMut::new();
        for byte in whole {
            input.put_u8(*byte);
            ops.extend(next(&mut input).unwrap());
        }
        assert!(matches!(&ops[0], Op::Info(info) if info.max_payload == 5));
        assert!(matches!(&ops[1], Op::Ping));
        assert!(matches!(&ops[2], Op::Err(text) if text == "Authorization Violation"));
        assert!(
            matches!(&ops[3], Op::Message { subject, headers, payload } if subject == "a.b" && headers.is_empty() && payload == "hi")
        );
        assert!(
            matches!(&ops[4], Op::Message { headers, payload, .. } if status(headers) == Some(503) && payload == "hi")
        );
        assert!(matches!(&ops[5], Op::Pong));
        assert!(input.is_empty());
    }

    #[test]
    fn a_server_s_nonsense_is_an_error_and_no_panic() {
        for bad in [
            "HTTP/1.1 400\r\n",
            "MSG\r\n",
            "MSG a 1 99999999999\r\n",
            "HMSG a 1 5 2\r\n",
            "INFO x\r\n",
            "\r\n",
            "MSG a 1 -1\r\n",
        ] {
            assert!(next(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
        }
        assert!(next(&mut BytesMut::from(vec![b'x'; MAX_LINE + 1].as_slice())).is_err());
        assert_eq!(status(b"NATS/1.0\r\n\r\n"), None);
        assert_eq!(status(b"\xff"), None);
    }

    #[test]
    fn a_message_is_as_long_as_it_says() {
        let mut out = BytesMut::new();
        let headers = [("Nats-Msg-Id".to_owned(), "d".to_owned())];
        publish(&mut out, "a", Some("r"), &headers, b"body");
        assert_eq!(out, &b"HPUB a r 28 32\r\nNATS/1.0\r\nNats-Msg-Id: d\r\n\r\nbody\r\n"[..]);
        assert_eq!(size(&headers, b"body"), 32);
    }
}
