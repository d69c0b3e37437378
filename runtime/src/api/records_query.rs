//! What a request about rows asks for: who writes where, `where`, `select`, `order`, and the cursor.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use triggerd_core::event::DEFAULT_ENV;
use triggerd_core::json;
use triggerd_core::mistake::Mistake;

use super::idempotency::Claim;
use super::params::Params;
use super::prefer::Prefer;
use super::problem::{Answer, ApiError};
use super::trace;
use crate::access::Caller;
use crate::databases::{Ask, Delivery, Filter};
use crate::write_through::Asked;

const USER: HeaderName = HeaderName::from_static("triggerd-user");
const ENV: HeaderName = HeaderName::from_static("triggerd-env");
/// The longest cursor: as long as the values that it holds.
const MAX_CURSOR: usize = 16 * 1024;
/// The most columns to go by.
const MAX_ORDER: usize = 16;

/// A table of a database, as the path names it.
#[derive(Clone, Debug)]
pub struct At {
    /// The database's tag.
    pub database: String,
    /// The table.
    pub table: String,
}

/// Who writes there.
pub fn asked(
    caller: &Caller,
    at: At,
    headers: &HeaderMap,
    params: &Params,
    prefer: &Prefer,
    claim: Option<&Claim>,
) -> Answer<Asked> {
    Ok(Asked {
        tenant: caller.tenant.clone(),
        database: at.database,
        env: env(headers, params)?,
        table: at.table,
        user: user(headers)?,
        trace: trace::context(headers),
        show: prefer.shows(),
        delivery: claim.map(|claim| delivery(caller, claim)),
    })
}

/// The environment that the request names, by parameter or header.
pub fn env(headers: &HeaderMap, params: &Params) -> Answer<String> {
    let header = text(headers, &ENV)?;
    Ok(params.text("env").or(header).unwrap_or_else(|| DEFAULT_ENV.to_owned()))
}

/// Who makes the change, by the application's word: an object or a quoted text as JSON, anything else as a text.
fn user(headers: &HeaderMap) -> Answer<Value> {
    let Some(text) = text(headers, &USER)? else { return Ok(Value::Null) };
    if !text.starts_with(['{', '"']) {
        return Ok(Value::String(text));
    }
    json::parse(text.as_bytes())
        .map_err(|_| ApiError::malformed("the `Triggerd-User` header begins like JSON and is none"))
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Answer<Option<String>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| ApiError::malformed(format!("the `{name}` header is not UTF-8")))?;
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// A key is the tenant's own, and as long as the ledger's names are.
fn delivery(caller: &Caller, claim: &Claim) -> Delivery {
    let mut hash = Sha256::new();
    for part in ["records", caller.tenant.as_str(), &claim.key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Delivery { id: hex::encode(hash.finalize()), fingerprint: hex::encode(claim.fingerprint) }
}

/// The rows that the parameter `where` means.
pub fn filter(params: &Params) -> Answer<Option<Filter>> {
    let Some(text) = params.get("where") else { return Ok(None) };
    let wrong = |detail: String| ApiError::parameter("where", detail);
    let written = json::parse(text.as_bytes()).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
    filter_of(&written).map(Some)
}

/// The rows that a written `where` means.
pub fn filter_of(written: &Value) -> Answer<Filter> {
    Filter::parse(written, "/where").map_err(ApiError::invalid)
}

/// 422 of a write that does not say to what.
pub fn everything() -> ApiError {
    let detail = "an update or delete without `where` is never meant; name the rows, as a parameter or in the body";
    ApiError::invalid(vec![Mistake::new("/where", detail)])
}

/// What a list is to hold, and the order as it was written.
pub fn list(at: &At, params: &Params) -> Answer<(Ask, String)> {
    let written = params.get("where").is_some_and(|text| !matches!(text.trim(), "{}" | "null"));
    let filter = if written { filter(params)? } else { None };
    let names =
        |text: &str| text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let select = params.get("select").filter(|text| text.trim() != "*").map(names).unwrap_or_default();
    let order = params.get("order").unwrap_or_default();
    let columns: Vec<String> = names(order);
    if columns.len() > MAX_ORDER {
        return Err(ApiError::parameter("order", format!("at most {MAX_ORDER} columns")));
    }
    let order = columns.iter().map(|name| direction(name)).collect();
    let limit = params.limit(1000)? as usize;
    let list = json!([at.table, columns]).to_string();
    let after = params.get("cursor").map(|cursor| after(cursor, &list)).transpose()?;
    Ok((Ask { filter, select, order, limit, after }, list))
}

/// `name`, `name.asc` or `name.desc`.
fn direction(written: &str) -> (String, bool) {
    match written.rsplit_once('.') {
        Some((name, "desc")) => (name.to_owned(), true),
        Some((name, "asc")) => (name.to_owned(), false),
        _ => (written.to_owned(), false),
    }
}

/// A cursor: what the last row has in the columns that `list` goes by.
pub fn cursor(last: Vec<Value>, list: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"of": list, "after": last}).to_string())
}

fn after(cursor: &str, list: &str) -> Answer<Vec<Value>> {
    let read = || -> Option<Vec<Value>> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().filter(|bytes| bytes.len() <= MAX_CURSOR)?;
        let mut read: Map<String, Value> = serde_json::from_slice(&bytes).ok()?;
        let is_of_list = read.get("of").and_then(Value::as_str) == Some(list);
        let after = read.remove("after").filter(|_| is_of_list)?;
        let Value::Array(after) = after else { return None };
        Some(after)
    };
    read().ok_or_else(|| ApiError::parameter("cursor", "it is not one that this list gave out"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_user_is_json_where_it_looks_like_it_and_a_text_else() {
        let of = |text: &str| user(&HeaderMap::from_iter([(USER, HeaderValue::from_bytes(text.as_bytes()).unwrap())]));
        assert_eq!(of(r#"{"id": 7}"#).unwrap(), json!({"id": 7}));
        assert_eq!(of("\"7\"").unwrap(), json!("7"));
        assert_eq!(of("7").unwrap(), json!("7"));
        assert_eq!(of("Jürg").unwrap(), json!("Jürg"));
        assert_eq!(of("{").unwrap_err().status(), 400);
        assert_eq!(user(&HeaderMap::new()).unwrap(), Value::Null);
    }

    #[test]
    fn a_cursor_goes_on_with_its_own_list_alone() {
        let given = cursor(vec![json!(5), json!(null)], "list");
        assert_eq!(after(&given, "list").unwrap(), [json!(5), json!(null)]);
        for (cursor, list) in [(given.as_str(), "other"), ("", "list"), ("!", "list"), ("eyJ9", "list")] {
            assert_eq!(after(cursor, list).unwrap_err().status(), 400, "{cursor}");
        }
        assert_eq!(direction("a.b.desc"), ("a.b".to_owned(), true));
        assert_eq!(direction("a.b"), ("a.b".to_owned(), false));
    }
}
