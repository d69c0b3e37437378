//! Services that send SMS.

mod gateway;
mod phone;
mod twilio;

use jiff::Timestamp;

pub use phone::normal as phone_number;

use super::https;
use super::unsent::Unsent;
use crate::resources::Sms;

/// One message to one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Text<'t> {
    /// The number, in E.164.
    pub to: &'t str,
    /// The text.
    pub body: &'t str,
    /// The same on every try: an idempotency key where the service has a place for it.
    pub id: &'t str,
}

/// The services' client. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    https: https::Pool,
}

impl Client {
    /// One that goes through `https`.
    #[must_use]
    pub fn new(https: https::Pool) -> Self {
        Self { https }
    }

    /// Hands one message over; answers with the service's id of it.
    pub async fn send(&self, sms: &Sms, text: Text<'_>, now: Timestamp) -> Result<String, Unsent> {
        match sms {
            Sms::Twilio(twilio) => twilio::send(&self.https, twilio, text, now).await,
            Sms::Http(gateway) => gateway::send(&self.https, gateway, text, now).await,
        }
    }

    /// Asks the service whether it knows us: what was found, or what is wrong.
    pub async fn check(&self, sms: &Sms) -> Result<String, String> {
        match sms {
            Sms::Twilio(twilio) => twilio::check(&self.https, twilio).await,
            Sms::Http(gateway) => gateway::check(&self.https, gateway).await,
        }
    }

    /// Whether the service is on this machine or in a private network.
    pub async fn is_local(&self, sms: &Sms) -> bool {
        super::is_local(self.https.guard(), sms.base_url()).await
    }
}
