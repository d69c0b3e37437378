//! Mail servers: a few idle connections per resource, opened to addresses that the guard let pass.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lettre::Address;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use parking_lot::Mutex;

use crate::egress::{self, Egress};
use crate::resources::{Identity, Smtp, Tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections that are kept per resource.
const MAX_IDLE: usize = 8;
/// Servers close idle connections after a few minutes; asking them whether they have costs a round trip.
const IDLE: Duration = Duration::from_secs(60);

type Idle = Arc<Mutex<Vec<(Instant, AsyncSmtpConnection)>>>;

/// A message that the server has confirmed.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivered {
    /// In the server's words.
    pub answer: String,
    /// Recipients that the server did not take, and why; the others have the message.
    pub refused: Vec<(Address, Error)>,
}

/// Open connections by resource. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    egress: Egress,
    idle: moka::future::Cache<Identity, Idle>,
}

/// Why a message was not handed over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be reached.
    #[error(transparent)]
    Egress(#[from] egress::Error),
    /// The server said no: its code and words.
    #[error("the mail server answered {code} {text}")]
    Answer {
        /// Three digits.
        code: u16,
        /// In the server's words.
        text: String,
    },
    /// The connection ended after the message was sent and before the server confirmed it.
    #[error("the connection was cut before the server confirmed the message; whether it was accepted is unknown")]
    Unknown,
    /// What the resource says cannot be done with this server.
    #[error("{0}")]
    Settings(String),
}

impl Error {
    /// The stable code of docs/errors.md.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Egress(error) => error.code().to_owned(),
            Self::Answer { code, .. } => format!("SMTP_{code}"),
            Self::Unknown => "ECONNRESET".to_owned(),
            Self::Settings(_) => "RESOURCE_INVALID".to_owned(),
        }
    }

    /// Whether another try cannot help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Egress(error) => error.is_permanent(),
            Self::Answer { code, .. } => *code >= 500,
            Self::Unknown => false,
            Self::Settings(_) => true,
        }
    }
}

impl Pool {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self { egress, idle: moka::future::Cache::builder().max_capacity(1024).time_to_idle(IDLE * 2).build() }
    }

    /// Hands a message over; answers once the server has confirmed it. Fails where it took no recipient.
    pub async fn send(
        &self,
        identity: &Identity,
        smtp: &Smtp,
        envelope: &Envelope,
        message: &[u8],
    ) -> Result<Delivered, Error> {
        let idle = self.idle.get_with_by_ref(identity, async { Idle::default() }).await;
        let mut connection = match reuse(&idle).await {
            Some(connection) => connection,
            None => self.connect(smtp).await?,
        };
        let delivered = hand_over(&mut connection, envelope, message).await?;
        let mut kept = idle.lock();
        if kept.len() < MAX_IDLE {
            kept.push((Instant::now(), connection));
        }
        Ok(delivered)
    }

    /// Connects, logs in, and leaves: what was found, or what is wrong.
    pub async fn check(&self, smtp: &Smtp) -> Result<String, String> {
        let mut connection = self.connect(smtp).await.map_err(|error| error.to_string())?;
        let _ = connection.quit().await;
        let login = if smtp.username.is_some() { " and accepts the credentials" } else { "" };
        Ok(format!("the mail server answers{login}"))
    }

    /// Whether every address of the server is one of this machine or of a private network.
    pub async fn is_local(&self, smtp: &Smtp) -> bool {
        self.egress.is_local(&smtp.host, smtp.port()).await
    }

    async fn connect(&self, smtp: &Smtp) -> Result<AsyncSmtpConnection, Error> {
        let hello = ClientId::default();
        let mut last = Error::Egress(egress::Error::NotFound);
        for address in self.egress.resolve(&smtp.host, smtp.port()).await? {
            let tls = if smtp.tls == Tls::Tls { Some(tls(smtp)?) } else { None };
            let opening = AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT_TIMEOUT), &hello, tls, None);
            // The time covers TLS and the server's greeting too.
            match tokio::time::timeout(CONNECT_TIMEOUT * 2, opening).await {
                Ok(Ok(connection)) => return prepare(connection, smtp, &hello).await,
                Ok(Err(error)) => last = classify(&error),
                Err(_) => last = egress::Error::TimedOut.into(),
            }
        }
        Err(last)
    }
}

/// TLS to the name in the settings, whichever address it was resolved to.
fn tls(smtp: &Smtp) -> Result<TlsParameters, Error> {
    let mut builder = TlsParameters::builder(smtp.host.clone());
    if let Some(pem) = &smtp.ca {
        let ca = Certificate::from_pem(pem.as_bytes()).map_err(|e| Error::Settings(format!("/smtp/ca: {e}")))?;
        builder = builder.add_root_certificate(ca);
    }
    builder.build().map_err(|e| Error::Settings(format!("/smtp/host: {e}")))
}

async fn prepare(
    mut connection: AsyncSmtpConnection,
    smtp: &Smtp,
    hello: &ClientId,
) -> Result<AsyncSmtpConnection, Error> {
    if smtp.tls == Tls::Starttls {
        if !connection.can_starttls() {
            return Err(Error::Settings("/smtp/tls: the server does not offer STARTTLS".to_owned()));
        }
        connection.starttls(tls(smtp)?, hello).await.map_err(|e| classify(&e))?;
    }
    if let Some(username) = &smtp.username {
        let credentials = Credentials::new(username.clone(), smtp.password.clone().unwrap_or_default());
        connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await.map_err(|e| classify(&e))?;
    }
    Ok(connection)
}

/// An idle connection that still works.
async fn reuse(idle: &Idle) -> Option<AsyncSmtpConnection> {
    loop {
        let (since, mut connection) = idle.lock().pop()?;
        if since.elapsed() < IDLE && connection.test_connected().await {
            return Some(connection);
        }
    }
}

async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    message: &[u8],
) -> Result<Delivered, Error> {
    let mut options = Vec::new();
    if envelope.to().iter().chain(envelope.from()).any(|address| !address.to_string().is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(Error::Settings(
                "the mail server does not take addresses with other than ASCII characters".to_owned(),
            ));
        }
        options.push(MailParameter::SmtpUtfEight);
    }
    let classified = |error| classify(&error);
    connection.command(Mail::new(envelope.from().cloned(), options)).await.map_err(classified)?;
    let mut refused = Vec::new();
    for to in envelope.to() {
        match connection.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(classified) {
            Ok(_) => {}
            // 421 is no answer to the recipient: the server is about to go (RFC 5321, 3.8).
            Err(error @ Error::Answer { code, .. }) if code != 421 => refused.push((to.clone(), error)),
            Err(error) => return Err(error),
        }
    }
    if refused.len() == envelope.to().len() {
        // One that may be taken later is worth coming back for.
        let later = refused.iter().position(|(_, error)| !error.is_permanent()).unwrap_or(0);
        return Err(refused.swap_remove(later).1);
    }
    connection.command(Data).await.map_err(classified)?;
    match connection.message(message).await {
        Ok(answer) => Ok(Delivered { answer: answer.message().collect::<Vec<_>>().join(" "), refused }),
        // Only an answer with a code says that the message was not taken.
        Err(error) => Err(match classify(&error) {
            answer @ Error::Answer { .. } => answer,
            _ => Error::Unknown,
        }),
    }
}

/// What the client's error means, by its kind.
fn classify(error: &lettre::transport::smtp::Error) -> Error {
    let text = || error.source().map_or_else(|| error.to_string(), ToString::to_string);
    if let Some(code) = error.status() {
        return Error::Answer { code: u16::from(code), text: text() };
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return egress::Error::of_io(io).into();
        }
        source = cause.source();
    }
    if error.is_timeout() {
        egress::Error::TimedOut.into()
    } else if error.is_client() {
        Error::Settings(text())
    } else if error.is_response() {
        // An answer that is none: most often the connection's end.
        egress::Error::Reset.into()
    } else {
        egress::Error::Protocol(text()).into()
    }
}
