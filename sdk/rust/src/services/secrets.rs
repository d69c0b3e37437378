//! The tenant's secrets.

use crate::host::{Answer, Host, Imports};

/// Reads secrets.
pub struct Secrets<'a> {
    host: &'a Host,
}

impl<'a> Secrets<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// The secret's value. Never put it into a message, a log line or a result.
    pub fn get(&self, name: &str) -> Answer<String> {
        self.host.secret(name)
    }
}
