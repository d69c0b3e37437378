//! New events, whose cause is the one at hand.

use serde::Serialize;

use crate::host::{Answer, Host, Imports};

/// Emits events.
pub struct Events<'a> {
    host: &'a Host,
}

impl<'a> Events<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// Emits an event and answers with its id once it is on stable storage.
    ///
    /// A retry emits it again: put `cx.delivery_id` into the payload where receivers must tell.
    pub fn emit<T: Serialize + ?Sized>(&self, event_type: &str, payload: &T) -> Answer<String> {
        let json = super::write("the payload", payload)?;
        self.host.emit(event_type, &json)
    }
}
