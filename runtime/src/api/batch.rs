//! `POST /api/v1/events/batch`: accepts many events in one transaction, and says of each what became of it.

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use triggerd_core::id::EventId;
use triggerd_core::intake_body::{self, Incoming};
use triggerd_core::mistake::Mistake;
use triggerd_core::trace::TraceContext;

use super::idempotency::Claim;
use super::params::Params;
use super::problem::{Answer, ApiError, Problem};
use super::{Api, body, events, incoming, trace};
use crate::access::Caller;
use crate::intake::{self, Receipt, Submission};

/// The path that keys' fingerprints name.
const PATH: &str = "/api/v1/events/batch";

/// What became of a batch.
#[derive(Serialize, utoipa::ToSchema)]
pub struct BatchAnswer {
    /// How many are on stable storage.
    accepted: usize,
    /// How many were refused.
    rejected: usize,
    /// One for each event, in order.
    results: Vec<ItemAnswer>,
}

/// What became of one event of a batch.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ItemAnswer {
    /// Its place in the batch, from 0.
    index: usize,
    /// `accepted` or `rejected`.
    status: &'static str,
    /// The id that it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    event_id: Option<EventId>,
    /// The event was accepted before, under the name that its sender gives the delivery; the id is that of the first.
    #[serde(skip_serializing_if = "is_false")]
    replayed: bool,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<super::problem::Fault>)]
    errors: Vec<Mistake>,
}

/// Accept many events
#[utoipa::path(
    post,
    path = "/api/v1/events/batch",
    tag = "events",
    request_body(content = Vec<Object>, description = "A JSON array, or `application/x-ndjson` with one event a line"),
    params(("Idempotency-Key" = Option<String>, Header, description = "For the batch as a whole")),
    responses(
        (status = 202, description = "The valid events are on stable storage", body = BatchAnswer),
        (status = 400, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem),
        (status = 429, body = Problem), (status = 503, body = Problem),
    )
)]
pub async fn accept(State(api): State<Api>, caller: Caller, request: Request) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    Params::read(parts.uri.query(), &[])?;
    let config = &api.app.config;
    let media_type = body::media_type(&parts.headers);
    let (limit, timeout) = (config.intake.max_batch_bytes, config.server.body_timeout);
    let bytes = body::take(&api.bodies, &parts.headers, body, limit, timeout).await?;
    let claim = api.in_progress.claim(&parts.headers, &caller.tenant, PATH, &bytes)?;
    keep(&api, &caller, &media_type, &bytes, trace::context(&parts.headers), claim).await
}

/// Keeps the valid ones of a batch.
pub async fn keep(
    api: &Api,
    caller: &Caller,
    media_type: &str,
    bytes: &Bytes,
    trace: TraceContext,
    claim: Option<Claim>,
) -> Answer<Response> {
    if let Some(claim) = &claim
        && let Some(first) = api.app.store.idempotency(&caller.tenant, &claim.key, api.app.clock.now()).await?
    {
        claim.check(&first)?;
        return Ok(events::first_answer(&first));
    }
    let items = split(media_type, bytes, api.app.config.intake.max_batch)?;
    // The request itself was charged as one event.
    api.app.access.charge(caller, (items.len() as u64).saturating_sub(1)).await;
    let is_cloudevents = incoming::is_cloudevents_batch(media_type);
    let read = |item: &&[u8]| read(api, caller, item, is_cloudevents, trace.clone());
    let items: Vec<Result<Incoming, Vec<Mistake>>> = items.iter().map(read).collect();
    Api::take_events(&caller.limits, items.iter().flatten().count())?;
    submit(api, items, claim).await
}

/// The texts of a batch's events. What is no batch at all is refused whole.
fn split<'a>(media_type: &str, bytes: &'a Bytes, most: usize) -> Answer<Vec<&'a [u8]>> {
    let items: Vec<&[u8]> = match media_type {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/json-lines" => {
            let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            lines.filter(|line| !line.is_empty()).collect()
        }
        json if body::is_json(json) => {
            let items: Vec<&RawValue> = serde_json::from_slice(bytes)
                .map_err(|error| ApiError::malformed(format!("the body is not a JSON array: {error}")))?;
            items.into_iter().map(|item| item.get().as_bytes()).collect()
        }
        other => {
            let detail = format!("`{other}` is not taken here; send `application/json` or `application/x-ndjson`");
            return Err(ApiError::unsupported(detail));
        }
    };
    if items.len() > most {
        return Err(ApiError::too_large(format!("{} events are too many for one batch: {most} at most", items.len())));
    }
    Ok(items)
}

fn read(
    api: &Api,
    caller: &Caller,
    item: &[u8],
    is_cloudevents: bool,
    trace: TraceContext,
) -> Result<Incoming, Vec<Mistake>> {
    let most = api.app.config.intake.max_event_bytes;
    if item.len() > most {
        return Err(vec![Mistake::new("", format!("an event of at most {most} bytes is taken"))]);
    }
    let value = body::parse(item).map_err(ApiError::into_mistakes)?;
    let acceptance = events::acceptance(api, &caller.tenant, trace);
    if is_cloudevents {
        intake_body::from_cloudevent(value, acceptance).map(Incoming::from)
    } else {
        intake_body::read_json(value, acceptance)
    }
}

async fn submit(api: &Api, items: Vec<Result<Incoming, Vec<Mistake>>>, claim: Option<Claim>) -> Answer<Response> {
    let mut answer = answer(&items);
    let mut submissions: Vec<Submission> = items.into_iter().flatten().map(|item| submission(api, item)).collect();
    // Kept with the first event, in the transaction of all of them; the others are kept if that one is. What their senders call
    // them is not looked at then: the answer has to be known before it is kept.
    let kept = claim.as_ref().map(|_| answer.text());
    if let (Some((first, others)), Some(claim), Some(kept)) = (submissions.split_first_mut(), &claim, &kept) {
        let now = first.event.accepted_at;
        first.idempotency = Some(events::remember(api, claim, StatusCode::ACCEPTED, kept.clone(), now));
        others.iter_mut().for_each(|other| (other.idempotency, other.follows) = (None, true));
    }
    if !submissions.is_empty() {
        let mut receipts = intake::accept_batch(&api.app, submissions).await?;
        // Another node, or a request that has just been answered, was first with this key.
        if let Some(claim) = &claim
            && let Some(first) = receipts.first_mut().and_then(|receipt| receipt.replayed.take())
        {
            claim.check(&first)?;
            return Ok(events::first_answer(&first));
        }
        answer.take_replays(&receipts)?;
        let limit = api.app.config.intake.max_wait;
        let waits = receipts.into_iter().map(|mut receipt| async move { receipt.wait.sync_done(limit).await });
        futures_util::future::join_all(waits).await;
    }
    Ok(events::json(StatusCode::ACCEPTED, kept.unwrap_or_else(|| answer.text())))
}

fn submission(api: &Api, item: Incoming) -> Submission {
    let Incoming { event, key } = item;
    let idempotency = key.map(|key| events::remember_delivery(api, key, &event));
    Submission { idempotency, ..event.into() }
}

fn answer(items: &[Result<Incoming, Vec<Mistake>>]) -> BatchAnswer {
    let result = |(index, item): (usize, &Result<Incoming, Vec<Mistake>>)| match item {
        Ok(item) => {
            ItemAnswer { index, status: "accepted", event_id: Some(item.event.id), replayed: false, errors: Vec::new() }
        }
        Err(errors) => {
            ItemAnswer { index, status: "rejected", event_id: None, replayed: false, errors: errors.clone() }
        }
    };
    let results: Vec<ItemAnswer> = items.iter().enumerate().map(result).collect();
    let accepted = results.iter().filter(|result| result.event_id.is_some()).count();
    BatchAnswer { accepted, rejected: results.len() - accepted, results }
}

impl BatchAnswer {
    fn text(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialise")
    }

    /// Names the first events of those that were accepted before.
    fn take_replays(&mut self, receipts: &[Receipt]) -> Answer<()> {
        let accepted = self.results.iter_mut().filter(|result| result.event_id.is_some());
        for (result, receipt) in accepted.zip(receipts) {
            let Some(first) = &receipt.replayed else { continue };
            let first: FirstAnswer = serde_json::from_str(&first.body).map_err(|error| ApiError::internal(&error))?;
            (result.event_id, result.replayed) = (Some(first.event_id), true);
        }
        Ok(())
    }
}

/// What is read of the answer to an event that was accepted before.
#[derive(Deserialize)]
struct FirstAnswer {
    event_id: EventId,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn texts(media_type: &str, body: &'static str, most: usize) -> Answer<Vec<String>> {
        let bytes = Bytes::from_static(body.as_bytes());
        let items = split(media_type, &bytes, most)?;
        Ok(items.into_iter().map(|item| String::from_utf8(item.to_vec()).unwrap()).collect())
    }

    #[test]
    fn lines_and_arrays_are_split_into_the_texts_of_their_events() {
        let lines = texts("application/x-ndjson", "{\"a\":1}\r\n\n {\"a\":2}", 9).unwrap();
        assert_eq!(lines, ["{\"a\":1}", "{\"a\":2}"]);
        let array = texts("application/json", " [ {\"a\":1e400} , {\"a\":1,\"a\":2} ] ", 9).unwrap();
        assert_eq!(array, ["{\"a\":1e400}", "{\"a\":1,\"a\":2}"]);
        assert!(texts("application/json", "[]", 9).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_batch_is_refused_whole() {
        let status = |media_type, body| texts(media_type, body, 2).unwrap_err().status().as_u16();
        assert_eq!(status("application/json", "{\"a\":1}"), 400);
        assert_eq!(status("application/json", "[1,2"), 400);
        assert_eq!(status("text/csv", "1"), 415);
        assert_eq!(status("application/json", "[1,2,3]"), 413);
    }
}
