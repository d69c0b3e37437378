//! What routes answer beside what their handlers say, for the OpenAPI document: the guard's refusals, bodies that cannot be read,
//! a server that cannot answer now.

use std::collections::BTreeMap;

use http::Method;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::problem::MEDIA_TYPE;
use super::routes::{Need, ROUTES};

/// Of every route.
const ALWAYS: &[(&str, &str)] = &[
    ("400", "The request cannot be read"),
    ("404", "There is no such thing"),
    ("429", "Too many requests; `Retry-After` says when"),
    ("500", "The server failed"),
    ("503", "The server cannot answer now; `Retry-After` says when"),
];
/// Of those that want a key.
const WITH_KEY: &[(&str, &str)] = &[("401", "A valid key is needed"), ("403", "The key may not do this")];
/// Of those that take a body.
const WITH_BODY: &[(&str, &str)] = &[
    ("408", "The body did not arrive in time"),
    ("413", "The body is too large"),
    ("415", "A body of this kind is not taken here"),
    ("422", "What the body says is not valid"),
];

/// Adds them to a route's description.
pub(super) fn add(method: &Method, path: &str, operation: &mut Operation) {
    let route = ROUTES.iter().find(|route| route.method == *method && route.path == path);
    let open = route.is_some_and(|route| route.need == Need::Nothing);
    let mut common: Vec<&(&str, &str)> = ALWAYS.iter().collect();
    if !open {
        common.extend(WITH_KEY);
    }
    if operation.request_body.is_some() {
        common.extend(WITH_BODY);
    }
    let answers: &mut BTreeMap<String, RefOr<Response>> = &mut operation.responses.responses;
    for (_, answer) in answers.iter_mut().filter(|(status, _)| is_failure(status)) {
        if let RefOr::T(answer) = answer {
            as_problem(answer);
        }
    }
    for (status, description) in common {
        answers.entry((*status).to_owned()).or_insert_with(|| problem(description).into());
    }
}

fn is_failure(status: &str) -> bool {
    status.starts_with('4') || status.starts_with('5')
}

/// Failures are problem documents, whatever the handler's description says of the media type.
fn as_problem(answer: &mut Response) {
    if let Some(content) = answer.content.shift_remove("application/json") {
        answer.content.insert(MEDIA_TYPE.to_owned(), content);
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content(MEDIA_TYPE, content).build()
}
