//! From a socket to an open channel in confirm mode.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::wire::{self, Frame, Method};
use super::{CHANNEL, SCHEMES, Server, closed};
use crate::connections::line::Error;
use crate::connections::stream::{self, Address, Socket};
use crate::egress::{self, Egress};

/// Seconds within which both sides show that they are there. Twice the line's beat.
const HEARTBEAT: u16 = 20;
/// What this client does beyond the specification (<https://www.rabbitmq.com/docs/consumers#capabilities>).
const CAPABILITIES: &[&str] =
    &["publisher_confirms", "basic.nack", "connection.blocked", "authentication_failure_close"];

/// An open channel in confirm mode.
pub(super) struct Opened {
    pub(super) socket: Socket,
    pub(super) input: BytesMut,
    pub(super) frame_max: u32,
}

/// Connects and opens the channel.
pub(super) async fn open(egress: &Egress, server: &Server) -> Result<Opened, Error> {
    let address = Address::parse(&server.url, SCHEMES).map_err(Error::Refused)?;
    let socket = stream::open(egress, &address, server.ca.as_deref()).await?;
    let mut talk = Talk { socket, input: BytesMut::new() };
    let frame_max = talk.log_in(&address, server).await?;
    talk.ask(CHANNEL, wire::CHANNEL_OPEN, |out| wire::put_short(out, ""), wire::CHANNEL_OPEN_OK).await?;
    talk.ask(CHANNEL, wire::CONFIRM, |out| out.put_u8(0), wire::CONFIRM_OK).await?;
    Ok(Opened { socket: talk.socket, input: talk.input, frame_max })
}

/// Connects, looks whether the exchange is there, and leaves.
pub(super) async fn check(egress: &Egress, server: &Server, exchange: &str) -> Result<(), Error> {
    let Opened { socket, input, .. } = open(egress, server).await?;
    let mut talk = Talk { socket, input };
    if !exchange.is_empty() {
        let passive = |out: &mut BytesMut| {
            out.put_u16(0);
            wire::put_short(out, exchange);
            wire::put_short(out, "");
            out.put_u8(1); // passive
            wire::put_table(out, &Map::new());
        };
        talk.ask(CHANNEL, wire::EXCHANGE_DECLARE, passive, wire::EXCHANGE_DECLARE_OK).await?;
    }
    let goodbye = |out: &mut BytesMut| {
        out.put_u16(200);
        wire::put_short(out, "checked");
        out.put_u32(0);
    };
    talk.ask(0, wire::CLOSE, goodbye, wire::CLOSE_OK).await.map(|_| ())
}

/// One question after the other.
struct Talk {
    socket: Socket,
    input: BytesMut,
}

impl Talk {
    /// Up to the open virtual host; the largest frame that may be sent.
    async fn log_in(&mut self, address: &Address, server: &Server) -> Result<u32, Error> {
        self.say(b"AMQP\0\0\x09\x01").await?;
        self.wait_for(wire::START).await?;
        let username = server.username.as_ref().or(address.username.as_ref()).map_or("guest", String::as_str);
        let password = server.password.as_ref().or(address.password.as_ref()).map_or("guest", String::as_str);
        let login = |out: &mut BytesMut| {
            put_client(out);
            wire::put_short(out, "PLAIN");
            wire::put_long(out, format!("\0{username}\0{password}").as_bytes());
            wire::put_short(out, "en_US");
        };
        let mut tune = self.ask(0, wire::START_OK, login, wire::TUNE).await?;
        let (channel_max, frame_max) = (wire::short(&mut tune)?, wire::long(&mut tune)?);
        // Zero is no limit. Below 4096 no peer may go (AMQP 0-9-1, 4.2.3).
        let frame_max = if frame_max == 0 { wire::FRAME_MAX } else { frame_max.clamp(4096, wire::FRAME_MAX) };
        let mut out = BytesMut::new();
        wire::method(&mut out, 0, wire::TUNE_OK, |out| {
            out.put_u16(if channel_max == 0 { CHANNEL } else { channel_max.min(CHANNEL) });
            out.put_u32(frame_max);
            out.put_u16(HEARTBEAT);
        });
        self.say(&out).await?;
        // A path that is empty is the default's, as most people mean it.
        let host = if address.path.is_empty() { "/" } else { &address.path };
        let open = |out: &mut BytesMut| {
            wire::put_short(out, host);
            wire::put_short(out, "");
            out.put_u8(0);
        };
        self.ask(0, wire::OPEN, open, wire::OPEN_OK).await?;
        Ok(frame_max)
    }

    async fn ask(
        &mut self,
        channel: u16,
        method: Method,
        arguments: impl FnOnce(&mut BytesMut),
        answer: Method,
    ) -> Result<Bytes, Error> {
        let mut out = BytesMut::new();
        wire::method(&mut out, channel, method, arguments);
        self.say(&out).await?;
        self.wait_for(answer).await
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let said = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        said.await.map_err(|error| egress::Error::of_io(&error).into())
    }

    /// The arguments of the method that is waited for.
    async fn wait_for(&mut self, wanted: Method) -> Result<Bytes, Error> {
        loop {
            match wire::next(&mut self.input)? {
                Some(Frame::Method(method, arguments)) if method == wanted => return Ok(arguments),
                Some(Frame::Method(wire::CLOSE | wire::CHANNEL_CLOSE, mut arguments)) => {
                    return Err(closed(&mut arguments)?.1);
                }
                Some(Frame::Method(wire::BLOCKED | wire::UNBLOCKED, _) | Frame::Heartbeat) => {}
                Some(_) => return Err(wire::broken("the broker answers something else than what was asked")),
                None => match self.socket.read_buf(&mut self.input).await {
                    Ok(0) => return Err(egress::Error::Reset.into()),
                    Ok(_) => {}
                    Err(error) => return Err(egress::Error::of_io(&error).into()),
                },
            }
        }
    }
}

/// Writes who this client is and what it can do.
fn put_client(out: &mut BytesMut) {
    let mut table = BytesMut::new();
    for (name, text) in [("product", "triggerd"), ("version", env!("CARGO_PKG_VERSION"))] {
        wire::put_short(&mut table, name);
        table.put_u8(b'S');
        wire::put_long(&mut table, text.as_bytes());
    }
    wire::put_short(&mut table, "capabilities");
    table.put_u8(b'F');
    let capabilities: Map<String, Value> = CAPABILITIES.iter().map(|name| ((*name).to_owned(), true.into())).collect();
    wire::put_table(&mut table, &capabilities);
    wire::put_long(out, table.chunk());
}
