//! What guests may import, one file per interface. Each call is counted, checked against the grants, and then asked of the services.

mod broker;
mod cache;
mod database;
mod events;
mod http;
mod log;
mod secrets;
mod state;
pub(super) mod wasi;
mod wasi_http;

use std::time::Duration;

use serde_json::Value;
use wasmtime::component::{HasSelf, Linker};

use super::bindings::triggerd::runtime as wit;
use super::guest::Guest;
use super::services::ServiceError;

/// The interfaces of the WIT package that can be linked.
pub(super) const INTERFACES: [&str; 9] =
    ["types", "log", "state", "cache", "broker", "database", "events", "secrets", "http"];

/// Everything that a guest may import.
pub(super) fn link(linker: &mut Linker<Guest>, wasi_http: bool) -> wasmtime::Result<()> {
    wit::log::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::state::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::cache::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::broker::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::database::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::events::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::secrets::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::http::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    if wasi_http {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    }
    Ok(())
}

impl wit::types::Host for Guest {}

/// The answer as the guest sees it.
fn answer<T, U: From<T>>(answer: Result<T, ServiceError>) -> wasmtime::Result<Result<U, wit::types::ServiceError>> {
    Ok(answer.map(U::from).map_err(Into::into))
}

/// JSON text of the guest as a value; what is none is the guest's mistake, told to it.
fn read_json(what: &str, text: &str) -> Result<Value, ServiceError> {
    serde_json::from_str(text)
        .map_err(|error| ServiceError::permanent("INVALID_JSON", format!("{what} is not JSON: {error}")))
}

fn seconds(ttl: Option<u64>) -> Option<Duration> {
    ttl.map(Duration::from_secs)
}
