//! The mail server of a notification service.

use schemars::JsonSchema;
use serde::Deserialize;

/// A mail server.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Smtp {
    /// Its name or address.
    pub host: String,
    /// Its port; by default 465 with `tls`, 587 with `starttls`, 25 with `none`.
    #[schemars(range(min = 1))]
    port: Option<u16>,
    /// `tls` from the first byte, `starttls`, or `none`.
    #[serde(default)]
    pub tls: Tls,
    /// Who logs in; left out, nobody does.
    pub username: Option<String>,
    /// With what; `{"secret": "NAME"}` or `{{secrets.NAME}}` keeps it out of the settings.
    pub password: Option<String>,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
}

/// How the connection is protected.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Not at all.
    None,
    /// By STARTTLS, which the server must offer.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
}

impl Smtp {
    /// The port, or the one that goes with the protection.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Tls::None => 25,
            Tls::Starttls => 587,
            Tls::Tls => 465,
        })
    }
}
