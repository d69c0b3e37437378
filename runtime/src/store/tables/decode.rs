//! From columns to the store's types. What makes no sense is `Damaged`, with its name.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::Row;
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, TenantId};

use super::{DbRow, dialect};
use crate::store::Error;

pub(in crate::store) fn damaged(what: &str, name: impl std::fmt::Display) -> Error {
    Error::Damaged(format!("{what} ({name})"))
}

/// For lists: leaves out what is damaged, loudly, so that one bad row does not hide its neighbours.
pub(in crate::store) fn sound<T>(result: Result<T, Error>) -> Option<Result<T, Error>> {
    match result {
        Err(Error::Damaged(what)) => {
            tracing::error!("The store holds a damaged {what}; it is left out");
            None
        }
        other => Some(other),
    }
}

/// Milliseconds as an instant.
pub(in crate::store) fn instant(ms: i64) -> Result<Timestamp, Error> {
    Timestamp::from_millisecond(ms).map_err(|_| damaged("timestamp", ms))
}

pub(in crate::store) fn at(row: &DbRow, column: &str) -> Result<Timestamp, Error> {
    instant(row.try_get(column)?)
}

pub(in crate::store) fn at_if_any(row: &DbRow, column: &str) -> Result<Option<Timestamp>, Error> {
    row.try_get::<Option<i64>, _>(column)?.map(instant).transpose()
}

pub(in crate::store) fn tenant(row: &DbRow) -> Result<TenantId, Error> {
    Ok(TenantId::new(row.try_get("tenant")?))
}

pub(in crate::store) fn version(row: &DbRow) -> Result<u32, Error> {
    let version: i64 = row.try_get("version")?;
    u32::try_from(version).map_err(|_| damaged("version", version))
}

pub(in crate::store) fn unsigned(row: &DbRow, column: &str) -> Result<u64, Error> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|_| damaged(column, number))
}

pub(in crate::store) fn json(row: &DbRow, column: &str) -> Result<Value, Error> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|e| damaged(column, e))
}

/// A definition: serde_json stops at 127 levels, which a condition may exceed.
pub(in crate::store) fn definition(row: &DbRow, column: &str) -> Result<Value, Error> {
    let text: &str = row.try_get(column)?;
    triggerd_core::json::parse_definition(text.as_bytes()).map_err(|e| damaged(column, e))
}

pub(in crate::store) fn digest(row: &DbRow, column: &str) -> Result<[u8; 32], Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| damaged(column, bytes.len()))
}

/// The event in `body`, checked against its checksum: never a wrong payload.
pub(in crate::store) fn event(row: &DbRow) -> Result<Arc<Event>, Error> {
    let id: dialect::Id = row.try_get("event_id")?;
    let id = EventId::from_slice(id.as_ref()).ok_or_else(|| damaged("event", "id"))?;
    let body: &str = row.try_get("body")?;
    let crc: i64 = row.try_get("crc")?;
    if i64::from(crc32fast::hash(body.as_bytes())) != crc {
        return Err(damaged("event", format!("{id}: checksum")));
    }
    serde_json::from_str(body).map(Arc::new).map_err(|e| damaged("event", format!("{id}: {e}")))
}
