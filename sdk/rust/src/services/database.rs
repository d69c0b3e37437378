//! One of the tenant's databases.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::{Answer, Host, Imports};

/// A database, by its tag.
pub struct Database<'a> {
    host: &'a Host,
    tag: &'a str,
}

impl<'a> Database<'a> {
    pub(crate) fn new(host: &'a Host, tag: &'a str) -> Self {
        Self { host, tag }
    }

    /// The rows that a statement reads: each as what an object of its columns becomes. Values are a tuple or an array:
    /// `("paid", 5)` for `$1` and `$2` (PostgreSQL), or for `?` (MySQL, SQLite); `()` for none.
    pub fn query<T: DeserializeOwned>(&self, sql: &str, values: impl Serialize) -> Answer<Vec<T>> {
        let rows = self.host.database_query(self.tag, sql, parameters(&values)?)?;
        rows.iter().map(|row| super::read("a row", row.as_bytes())).collect()
    }

    /// Runs a statement that writes; how many rows it changed. It may run again with another try of the delivery.
    pub fn execute(&self, sql: &str, values: impl Serialize) -> Answer<u64> {
        self.host.database_execute(self.tag, sql, parameters(&values)?)
    }
}

/// Each value as JSON.
fn parameters(values: &impl Serialize) -> Answer<Vec<String>> {
    let json = super::write("the values", values)?;
    let values: Option<Vec<serde_json::Value>> =
        super::read("the values, which are a tuple or an array,", json.as_bytes())?;
    Ok(values.unwrap_or_default().iter().map(ToString::to_string).collect())
}
