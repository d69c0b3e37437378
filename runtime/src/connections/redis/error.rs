//! What went wrong on a Redis server, or on the way there.

use std::sync::Arc;

use redis::{ErrorKind, RedisError};

pub use crate::connections::error::Error;
use crate::egress;

/// What an error of the client means, by its kind and the server's code, never by its text.
pub(super) fn classify(error: &RedisError) -> Error {
    if let Some(io) = io_error(error) {
        let guard = io.get_ref().and_then(|inner| inner.downcast_ref::<egress::Error>());
        return guard.cloned().unwrap_or_else(|| egress::Error::of_io(io)).into();
    }
    let words = Arc::<str>::from(error.to_string());
    if error.is_timeout() {
        return egress::Error::TimedOut.into();
    }
    if error.is_connection_refusal() {
        return egress::Error::Refused.into();
    }
    if error.is_connection_dropped() {
        return egress::Error::Reset.into();
    }
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig, _) => Error::Refused(words.to_string()),
        (
            _,
            Some(
                "LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" | "CLUSTERDOWN" | "READONLY" | "OOM" | "MISCONF"
                | "NOREPLICAS",
            ),
        ) => Error::Unavailable(words.to_string()),
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => Error::Refused(words.to_string()),
        (ErrorKind::Parse, _) => egress::Error::Protocol(words.to_string()).into(),
        _ => Error::Unavailable(words.to_string()),
    }
}

fn io_error(error: &RedisError) -> Option<&std::io::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        // The client keeps causes in an `Arc`, which is an error of its own type.
        let shared = cause.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>();
        let cause: &(dyn std::error::Error + 'static) = match shared {
            Some(shared) => shared.as_ref(),
            None => cause,
        };
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return Some(io);
        }
        source = cause.source();
    }
    None
}
