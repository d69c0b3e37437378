//! Services that deliver push messages.

mod apns;
mod fcm;
mod token;
mod webpush;

use jiff::Timestamp;
use serde_json::{Map, Value};

pub use webpush::Subscription;

use super::https;
use super::unsent::Unsent;
use crate::resources::{Apns, Fcm, Identity, Push, Urgency};

/// The code of a device token or subscription that is none any more.
pub const TOKEN_INVALID: &str = "PUSH_TOKEN_INVALID";
/// The code of a service that refuses what it was asked, whatever the token.
pub const REFUSED: &str = "PUSH_REFUSED";

/// Which device.
#[derive(Clone, PartialEq, Debug)]
pub enum Device {
    /// A registration token of Firebase.
    Fcm(String),
    /// A device token of Apple's.
    Apns(String),
    /// A browser's subscription.
    WebPush(Subscription),
}

/// What it is to show and to know.
#[derive(Clone, Default, Debug)]
pub struct Message {
    /// The title.
    pub title: Option<String>,
    /// The text.
    pub body: Option<String>,
    /// What the app gets with it.
    pub data: Map<String, Value>,
    /// How many seconds the service tries to deliver it.
    pub ttl: Option<u32>,
    /// How soon it must be there.
    pub urgency: Option<Urgency>,
}

/// The services' client: tokens are kept as long as they last. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    https: https::Pool,
    tokens: token::Tokens,
}

impl Client {
    /// One that goes through `https`.
    #[must_use]
    pub fn new(https: https::Pool) -> Self {
        Self { https, tokens: token::Tokens::new() }
    }

    /// Hands one message over; answers with the service's id of it. `id` is the same on every try: where the service
    /// lets one message replace another that has not been seen yet, a second try replaces the first.
    pub async fn send(
        &self,
        identity: &Identity,
        push: &Push,
        device: &Device,
        message: &Message,
        id: uuid::Uuid,
        now: Timestamp,
    ) -> Result<String, Unsent> {
        let missing = |name: &str| {
            Unsent::permanent("RESOURCE_INVALID", format!("/push/{name}: is needed for this token, and is not set"))
        };
        match device {
            Device::Fcm(token) => {
                let fcm = push.fcm.as_ref().ok_or_else(|| missing("fcm"))?;
                fcm::send(self, identity, fcm, token, message, now).await
            }
            Device::Apns(token) => {
                let apns = push.apns.as_ref().ok_or_else(|| missing("apns"))?;
                apns::send(self, identity, apns, apns::To { token, id }, message, now).await
            }
            Device::WebPush(subscription) => {
                let webpush = push.webpush.as_ref().ok_or_else(|| missing("webpush"))?;
                webpush::send(&self.https, webpush, webpush::To { subscription, id }, message, now).await
            }
        }
    }

    /// Asks the services whether they know us, as far as they can be asked: what was found, or what is wrong.
    pub async fn check(&self, push: &Push) -> Result<String, String> {
        let mut found = Vec::new();
        if let Some(fcm) = &push.fcm {
            found.push(fcm::check(self, fcm).await.map_err(|detail| format!("fcm: {detail}"))?);
        }
        if let Some(webpush) = &push.webpush {
            found.push(webpush::check(webpush).map_err(|detail| format!("webpush: {detail}"))?);
        }
        if let Some(apns) = &push.apns {
            found.push(apns::check(self, apns).await.map_err(|detail| format!("apns: {detail}"))?);
        }
        Ok(found.join("; "))
    }

    /// Whether what this device is reached through is on this machine or in a private network.
    pub async fn is_local(&self, push: &Push, device: &Device) -> bool {
        let url = match device {
            Device::Fcm(_) => push.fcm.as_ref().map(Fcm::base_url),
            Device::Apns(_) => push.apns.as_ref().map(Apns::base_url),
            Device::WebPush(subscription) => Some(subscription.endpoint.as_str()),
        };
        match url {
            Some(url) => super::is_local(self.https.guard(), url).await,
            None => false,
        }
    }
}

impl Push {
    /// Which service a device token is of: the only one that is set, or else by its look: Apple's are hexadecimal.
    #[must_use]
    pub fn device(&self, token: &str) -> Device {
        let apple = match (&self.fcm, &self.apns) {
            (Some(_), Some(_)) => token.len() >= 64 && token.bytes().all(|b| b.is_ascii_hexdigit()),
            (None, Some(_)) => true,
            _ => false,
        };
        if apple { Device::Apns(token.to_owned()) } else { Device::Fcm(token.to_owned()) }
    }
}
