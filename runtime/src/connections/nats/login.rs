//! From a socket to a server that knows who publishes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::wire::{self, Info, Op};
use super::{SCHEMES, Server};
use crate::connections::line::Error;
use crate::connections::stream::{self, Address, Socket};
use crate::egress::{self, Egress};

/// A server that knows who publishes.
pub(super) struct Opened {
    pub(super) socket: Socket,
    pub(super) input: BytesMut,
    pub(super) info: Info,
}

/// Connects, logs in, and hears what is sent to `inbox`, where one is given.
pub(super) async fn open(egress: &Egress, server: &Server, inbox: Option<&str>) -> Result<Opened, Error> {
    let address = Address::parse(&server.url, SCHEMES).map_err(Error::Refused)?;
    // TLS begins after the server's first line, which is plain (except for servers set to `handshake_first`).
    let plain = Address { tls: false, ..address.clone() };
    let socket = stream::open(egress, &plain, None).await?;
    let mut talk = Talk { socket, input: BytesMut::new() };
    let Op::Info(info) = talk.next().await? else { return Err(wire::broken("the server does not begin with INFO")) };
    if address.tls && !info.tls_required && !info.tls_available {
        return Err(Error::Refused("/url: the server offers no TLS".to_owned()));
    }
    if address.tls || info.tls_required {
        if !talk.input.is_empty() {
            return Err(wire::broken("the server talks on before TLS"));
        }
        talk.socket = stream::encrypt(talk.socket, &address.host, server.ca.as_deref()).await?;
    }
    if !info.headers {
        return Err(Error::Refused("the server takes no headers: they are off, or it is older than 2.2".to_owned()));
    }
    let mut hello = format!("CONNECT {}\r\n", connect(&address, server, &info)?);
    if let Some(inbox) = inbox {
        hello.push_str(&format!("SUB {inbox}.* 1\r\n"));
    }
    hello.push_str("PING\r\n");
    talk.say(hello.as_bytes()).await?;
    loop {
        match talk.next().await? {
            Op::Pong => return Ok(Opened { socket: talk.socket, input: talk.input, info: *info }),
            Op::Err(words) => return Err(complaint(&words)),
            Op::Ping => talk.say(b"PONG\r\n").await?,
            _ => {}
        }
    }
}

/// What a complaint means. The protocol has no codes: the words are fixed by the server's source.
pub(super) fn complaint(words: &str) -> Error {
    const FOR_GOOD: &[&str] = &[
        "authorization violation",
        "user authentication expired",
        "user authentication revoked",
        "account authentication expired",
        "permissions violation",
        "maximum payload violation",
        "invalid publish subject",
    ];
    let lower = words.to_ascii_lowercase();
    let text = format!("the server answered: {words}");
    if FOR_GOOD.iter().any(|known| lower.starts_with(known)) { Error::Refused(text) } else { Error::Unavailable(text) }
}

/// The arguments of CONNECT.
fn connect(address: &Address, server: &Server, info: &Info) -> Result<Value, Error> {
    let mut fields = json!({
        "verbose": false, "pedantic": false, "tls_required": address.tls, "name": "triggerd", "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "echo": true, "headers": true, "no_responders": true,
    });
    let username = server.username.as_ref().or(address.username.as_ref());
    let password = server.password.as_ref().or(address.password.as_ref());
    let mut set = |name: &str, value: Option<&String>| {
        if let (Some(fields), Some(value)) = (fields.as_object_mut(), value) {
            fields.insert(name.to_owned(), value.as_str().into());
        }
    };
    match (username, password) {
        // A name alone is a token, as in every client's URLs.
        (Some(token), None) if server.token.is_none() => set("auth_token", Some(token)),
        (username, password) => {
            set("user", username);
            set("pass", password);
        }
    }
    set("auth_token", server.token.as_ref());
    if let Some(text) = &server.credentials {
        let signed = sign(text, &info.nonce)?;
        signed.iter().for_each(|(name, value)| set(name, value.as_str().map(str::to_owned).as_ref()));
    }
    Ok(fields)
}

/// The proof that the credentials' seed is known: the server's nonce, signed.
fn sign(credentials: &str, nonce: &str) -> Result<Map<String, Value>, Error> {
    let wrong = |what: &str| Error::Refused(format!("/credentials: {what}"));
    let Credentials { jwt, seed } = Credentials::parse(credentials).map_err(|detail| wrong(&detail))?;
    let pair = nkeys::KeyPair::from_seed(&seed).map_err(|_| wrong("the seed is none"))?;
    let signature = pair.sign(nonce.as_bytes()).map_err(|_| wrong("the seed cannot sign"))?;
    let mut fields = Map::from_iter([("sig".to_owned(), Value::from(URL_SAFE_NO_PAD.encode(signature)))]);
    match jwt {
        Some(jwt) => fields.insert("jwt".to_owned(), jwt.into()),
        None => fields.insert("nkey".to_owned(), pair.public_key().into()),
    };
    Ok(fields)
}

/// What a credentials file holds: a user's JWT and the seed of its key, or the seed alone.
struct Credentials {
    jwt: Option<String>,
    seed: String,
}

impl Credentials {
    fn parse(text: &str) -> Result<Self, String> {
        // Each stands on a line of its own between two lines of dashes; a seed alone may stand without them.
        let words = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains(['-', '*', ' ']));
        let mut lines = text.lines().map(str::trim);
        let jwt = lines.find(|line| line.starts_with("eyJ")).map(str::to_owned);
        let seed = words.rev().find(|line| line.starts_with('S'));
        let seed = seed.ok_or("write the text of a credentials file, or an nkey seed (`SU…`)")?.to_owned();
        nkeys::KeyPair::from_seed(&seed).map_err(|_| "the seed is none")?;
        Ok(Self { jwt, seed })
    }
}

/// What is wrong with a credentials text.
pub(super) fn credentials_mistake(text: &str) -> Option<String> {
    Credentials::parse(text).err()
}

struct Talk {
    socket: Socket,
    input: BytesMut,
}

impl Talk {
    async fn say(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let said = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        said.await.map_err(|error| egress::Error::of_io(&error).into())
    }

    async fn next(&mut self) -> Result<Op, Error> {
        loop {
            if let Some(op) = wire::next(&mut self.input)? {
                return Ok(op);
            }
            match self.socket.read_buf(&mut self.input).await {
                Ok(0) => return Err(egress::Error::Reset.into()),
                Ok(_) => {}
                Err(error) => return Err(egress::Error::of_io(&error).into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn credentials_are_a_jwt_and_a_seed_or_a_seed_alone() {
        let seed = nkeys::KeyPair::new_user().seed().unwrap();
        let file = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.e-3.x_\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\nNKEY Seed printed below can be used.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n****\n"
        );
        let fields = sign(&file, "nonce").unwrap();
        assert_eq!(fields["jwt"], "eyJ0.e-3.x_");
        assert!(fields.contains_key("sig") && !fields.contains_key("nkey"));
        let fields = sign(&seed, "nonce").unwrap();
        assert!(fields["nkey"].as_str().unwrap().starts_with('U'));
        for bad in ["", "text", "SUAAA", "-----BEGIN NATS USER JWT-----\neyJ\n------END NATS USER JWT------"] {
            assert!(credentials_mistake(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_name_alone_is_a_token() {
        let server = |url: &str| Server { url: url.into(), ..Server::default() };
        let fields =
            |url: &str| connect(&Address::parse(url, SCHEMES).unwrap(), &server(url), &Info::default()).unwrap();
        assert_eq!(fields("nats://t0ken@host")["auth_token"], "t0ken");
        let both = fields("nats://u:p@host");
        assert_eq!((&both["user"], &both["pass"], both.get("auth_token")), (&json!("u"), &json!("p"), None));
    }
}
