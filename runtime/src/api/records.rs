//! The write-through API: rows of the tenant's databases, written as triggers let them be, and read.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use std::time::Duration;
use triggerd_core::mistake::Mistake;
use utoipa::OpenApi;

use super::body::Taken;
use super::idempotency::{REPLAYED, other_body};
use super::params::Params;
use super::prefer::Prefer;
use super::problem::{Answer, ApiError, Problem};
use super::records_query::{self, At};
use super::{Api, Router, body};
use crate::access::Caller;
use crate::connections::sql::Fault;
use crate::databases::{Done, MAX_ROWS, Name, assignments};
use crate::write_through::{self, Asked, Error, Intent, Row};

const PATH: &str = "/api/v1/databases/{db}/tables/{table}/records";
/// How long a caller is asked to wait for a database that cannot do it now.
const RETRY: Duration = Duration::from_secs(5);

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(list, create, update, remove))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route(PATH, get(list).post(create).patch(update).delete(remove))
}

/// Read rows of a table
#[utoipa::path(
    get, path = "/api/v1/databases/{db}/tables/{table}/records", tag = "records",
    params(
        ("db" = String, Path), ("table" = String, Path, description = "`table` or `schema.table`"),
        ("where" = Option<String>, Query, description = "JSON: columns and values, or a condition"),
        ("select" = Option<String>, Query, description = "Columns with commas between"),
        ("order" = Option<String>, Query, description = "`col.asc,col.desc`; then by the primary key"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query), ("env" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "`{records, total, total_is_exact, cursor, has_more}`"),
        (status = 400, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem),
        (status = 503, body = Problem)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Path((database, table)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: http::HeaderMap,
) -> Answer<Json<Value>> {
    let params = Params::read(query.as_deref(), &["where", "select", "order", "limit", "cursor", "env"])?;
    let env = records_query::env(&headers, &params)?;
    let at = At { database, table };
    let (ask, list) = records_query::list(&at, &params)?;
    let name = Name { tenant: &caller.tenant, env: &env, tag: &at.database };
    let records = api.app.services.databases.records(name, &at.table).await?;
    let page = records.page(&ask).await.map_err(|fault| of_fault(fault, &at.database))?;
    Ok(Json(json!({
        "records": page.rows,
        "total": page.total,
        "total_is_exact": page.is_counted,
        "cursor": page.last.map(|last| records_query::cursor(last, &list)),
        "has_more": page.has_more,
    })))
}

/// Insert rows, or with `Prefer: resolution=merge-duplicates` change those that are there
#[utoipa::path(
    post, path = "/api/v1/databases/{db}/tables/{table}/records", tag = "records",
    request_body(content = Object, description = "A row as columns and values, or an array of up to 1000: all of them or none"),
    params(
        ("db" = String, Path), ("table" = String, Path),
        ("on_conflict" = Option<String>, Query, description = "The columns that tell rows apart; else the primary key"),
        ("env" = Option<String>, Query),
        ("Prefer" = Option<String>, Header, description = "`return=representation`, `resolution=merge-duplicates`"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request writes once"),
        ("Triggerd-User" = Option<String>, Header, description = "Who writes: JSON, or a text"),
    ),
    responses(
        (status = 201, description = "`{count}`, or the rows as they were written"),
        (status = 200, description = "The same, where no row is new"),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    Path((database, table)): Path<(String, String)>,
    request: Request,
) -> Answer<Response> {
    let (parts, bytes) = taken(&api, request).await?;
    let params = Params::read(parts.uri.query(), &["on_conflict", "env"])?;
    let prefer = Prefer::read(&parts.headers);
    let written = body::parse(&bytes)?;
    let is_one = written.is_object();
    let rows = rows(written)?;
    if rows.len() > 1 {
        api.app.access.charge(&caller, rows.len() as u64 - 1).await;
    }
    let keys = params.get("on_conflict").unwrap_or_default().split(',').map(str::trim).filter(|key| !key.is_empty());
    let keys: Vec<String> = keys.map(str::to_owned).collect();
    let intent = match prefer.merge {
        true => Intent::Upsert(rows, keys),
        false if keys.is_empty() => Intent::Insert(rows),
        false => {
            return Err(ApiError::parameter("on_conflict", "it goes with `Prefer: resolution=merge-duplicates`"));
        }
    };
    let call = Call { api: &api, caller: &caller, at: At { database, table }, parts: &parts, bytes: &bytes };
    let (done, mut response) = call.make(&params, &prefer, &intent, is_one).await?;
    let is_new = done.inserted > 0 || !prefer.merge;
    *response.status_mut() = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(response)
}

/// Change the rows that `where` means
#[utoipa::path(
    patch, path = "/api/v1/databases/{db}/tables/{table}/records", tag = "records",
    request_body(content = Object, description = "`{where, values}`; with `where` as a parameter, the values alone"),
    params(
        ("db" = String, Path), ("table" = String, Path),
        ("where" = Option<String>, Query, description = "JSON: columns and values, or a condition"),
        ("env" = Option<String>, Query),
        ("Prefer" = Option<String>, Header, description = "`return=representation`"),
        ("Idempotency-Key" = Option<String>, Header), ("Triggerd-User" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "`{count}`, or the rows as they are now"), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn update(
    State(api): State<Api>,
    caller: Caller,
    Path((database, table)): Path<(String, String)>,
    request: Request,
) -> Answer<Response> {
    let (parts, bytes) = taken(&api, request).await?;
    let params = Params::read(parts.uri.query(), &["where", "env"])?;
    let (filter, values, pointer) = match records_query::filter(&params)? {
        Some(filter) => (filter, object(body::parse(&bytes)?)?, ""),
        None => {
            let mut written = members(body::parse(&bytes)?, &["where", "values"])?;
            let filter = written.get("where").ok_or_else(records_query::everything)?;
            let filter = records_query::filter_of(filter)?;
            let values = written.get_mut("values").map(Value::take).unwrap_or_default();
            match values {
                Value::Object(values) => (filter, values, "/values"),
                other => {
                    return Err(ApiError::invalid(vec![Mistake::kind(
                        "/values",
                        "an object of columns and values",
                        &other,
                    )]));
                }
            }
        }
    };
    let mut mistakes = Vec::new();
    let patch = assignments(&values, pointer, &mut mistakes);
    if values.is_empty() {
        mistakes.push(Mistake::new(pointer, "names no column to change"));
    }
    if !mistakes.is_empty() {
        return Err(ApiError::invalid(mistakes));
    }
    let call = Call { api: &api, caller: &caller, at: At { database, table }, parts: &parts, bytes: &bytes };
    let prefer = Prefer::read(&parts.headers).without_merge();
    Ok(call.make(&params, &prefer, &Intent::Update(filter, patch), false).await?.1)
}

/// Delete the rows that `where` means
#[utoipa::path(
    delete, path = "/api/v1/databases/{db}/tables/{table}/records", tag = "records",
    request_body(content = Option<Object>, description = "`{where}`, where it is no parameter"),
    params(
        ("db" = String, Path), ("table" = String, Path),
        ("where" = Option<String>, Query, description = "JSON: columns and values, or a condition"),
        ("env" = Option<String>, Query),
        ("Prefer" = Option<String>, Header, description = "`return=representation`"),
        ("Idempotency-Key" = Option<String>, Header), ("Triggerd-User" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "`{count}`, or the rows as they were"), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path((database, table)): Path<(String, String)>,
    request: Request,
) -> Answer<Response> {
    let (parts, bytes) = taken(&api, request).await?;
    let params = Params::read(parts.uri.query(), &["where", "env"])?;
    let written = if bytes.is_empty() { Map::new() } else { members(body::parse(&bytes)?, &["where"])? };
    let filter = match (records_query::filter(&params)?, written.get("where")) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(vec![Mistake::new("/where", "it is a parameter already; give it once")]));
        }
        (Some(filter), None) => filter,
        (None, Some(written)) => records_query::filter_of(written)?,
        (None, None) => return Err(records_query::everything()),
    };
    let call = Call { api: &api, caller: &caller, at: At { database, table }, parts: &parts, bytes: &bytes };
    let prefer = Prefer::read(&parts.headers).without_merge();
    Ok(call.make(&params, &prefer, &Intent::Delete(filter), false).await?.1)
}

/// A request that writes.
struct Call<'a> {
    api: &'a Api,
    caller: &'a Caller,
    at: At,
    parts: &'a Parts,
    bytes: &'a Bytes,
}

impl Call<'_> {
    /// Makes the write. Several rows are shown as an array, one that was sent alone by itself.
    async fn make(self, params: &Params, prefer: &Prefer, intent: &Intent, is_one: bool) -> Answer<(Done, Response)> {
        let Self { api, caller, at, parts, bytes } = self;
        let request = format!("{} {} {prefer:?}", parts.method, parts.uri);
        let claim = api.in_progress.claim(&parts.headers, &caller.tenant, &request, bytes)?;
        let database = at.database.clone();
        let asked: Asked = records_query::asked(caller, at, &parts.headers, params, prefer, claim.as_ref())?;
        let done = write_through::write(&api.app, &asked, intent).await.map_err(|error| of_error(error, &database))?;
        let shown = match (asked.show, is_one) {
            (true, true) => done.rows.first().cloned().unwrap_or_default(),
            (true, false) => Value::Array(done.rows.clone()),
            (false, _) => json!({ "count": done.count }),
        };
        let mut response = Json(shown).into_response();
        prefer.note(&mut response);
        if done.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        Ok((done, response))
    }
}

/// The request's head, and its body as bytes of JSON.
async fn taken(api: &Api, request: Request) -> Answer<(Parts, Taken<'_>)> {
    let (parts, body) = request.into_parts();
    let config = &api.app.config;
    let media_type = body::media_type(&parts.headers);
    let (limit, timeout) = (config.intake.max_batch_bytes, config.server.body_timeout);
    let bytes = body::take(&api.bodies, &parts.headers, body, limit, timeout).await?;
    if !bytes.is_empty() && !body::is_json(&media_type) {
        return Err(ApiError::unsupported(format!("`{media_type}` is not taken here; send `application/json`")));
    }
    Ok((parts, bytes))
}

fn object(written: Value) -> Answer<Map<String, Value>> {
    match written {
        Value::Object(fields) => Ok(fields),
        other => Err(ApiError::invalid(vec![Mistake::kind("", "an object", &other)])),
    }
}

fn members(written: Value, known: &[&str]) -> Answer<Map<String, Value>> {
    let written = object(written)?;
    let unknown = written.keys().filter(|name| !known.contains(&name.as_str()));
    let unknown: Vec<Mistake> = unknown
        .map(|name| {
            let pointer = triggerd_core::mistake::join("", name);
            Mistake::unknown(pointer, "field", name, known.iter().copied())
        })
        .collect();
    if unknown.is_empty() { Ok(written) } else { Err(ApiError::invalid(unknown)) }
}

/// The rows of a body.
fn rows(written: Value) -> Answer<Vec<Row>> {
    let written = match written {
        Value::Array(rows) => rows.into_iter().enumerate().map(|(i, row)| (format!("/{i}"), row)).collect(),
        row => vec![(String::new(), row)],
    };
    if written.is_empty() || written.len() > MAX_ROWS {
        let detail = format!("{} rows; 1 to {MAX_ROWS} can be written at once", written.len());
        return Err(ApiError::invalid(vec![Mistake::new("", detail)]));
    }
    let (mut rows, mut mistakes) = (Vec::with_capacity(written.len()), Vec::new());
    for (pointer, row) in written {
        match row {
            Value::Object(fields) => rows.push(Row { pointer, fields }),
            other => mistakes.push(Mistake::kind(pointer, "an object of columns and values", &other)),
        }
    }
    if mistakes.is_empty() { Ok(rows) } else { Err(ApiError::invalid(mistakes)) }
}

fn of_error(error: Error, database: &str) -> ApiError {
    match error {
        Error::Failed(failed) => failed.into(),
        Error::Fault(fault) => of_fault(fault, database),
        Error::Invalid(mistakes) => ApiError::invalid(mistakes),
        Error::Rejected { rejection, pointer } => ApiError::rejected(rejection, &pointer),
        Error::OtherRequest => other_body(),
        Error::Contended => {
            ApiError::conflict("others changed the same rows at the same time, again and again; nothing was written")
        }
    }
}

/// What a database said, by what the caller can do about it.
fn of_fault(fault: Fault, database: &str) -> ApiError {
    let Fault { code, message, retryable, .. } = fault;
    let told = format!("database `{database}`: {message}");
    if retryable {
        return ApiError::unavailable(told, RETRY).with_code(code);
    }
    match code {
        "CURSOR_INVALID" => ApiError::parameter("cursor", "it is not one that this list gave out"),
        "DB_CONSTRAINT" => ApiError::conflict(told).with_code(code),
        _ => {
            // Messages about a part of the request begin with its pointer.
            let place = message.split_once(": ").filter(|(pointer, _)| pointer.starts_with('/'));
            let errors = place.map(|(pointer, detail)| Mistake::new(pointer, detail));
            ApiError::unprocessable(told).with_errors(errors.into_iter().collect()).with_code(code)
        }
    }
}
