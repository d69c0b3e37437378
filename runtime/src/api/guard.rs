//! Stands before every route: finds out who calls, whether they may, and whether their rate allows it.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::{Instrument as _, Span};

use super::access_log::{self, Admitted};
use super::peer::Peer;
use super::problem::{Answer, ApiError};
use super::routes::{Need, Rule};
use super::{Api, audit, trace};
use crate::access::{Caller, Denied, Verdict, Verdicts};
use crate::config::AccessLog;
use crate::spans;

const TENANT: HeaderName = HeaderName::from_static("triggerd-tenant");
/// The rest of a tenant's rate.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// A tenant's rate.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The middleware of every route.
pub async fn guard(State(api): State<Api>, path: MatchedPath, request: Request, next: Next) -> Response {
    let method = access_log::method_name(request.method());
    let Some(route) = api.needs.route(path.as_str()) else {
        return ApiError::internal(&format!("{} is not in the list of routes", path.as_str())).into_response();
    };
    let under_way = api.counts.begin(method, route);
    // A panic is our fault and is answered like one; what it held is dropped, and the process goes on.
    let span = span_of(&api, method, route, &request);
    let admitted = match &span {
        None => AssertUnwindSafe(admit(&api, path, request, next)).catch_unwind().await,
        // Boxed: it is for those who trace to pay for it.
        Some(span) => {
            let admitted = Box::pin(admit(&api, path, request, next)).instrument(span.clone());
            AssertUnwindSafe(admitted).catch_unwind().await
        }
    };
    let response = admitted.unwrap_or_else(|_| ApiError::internal(&format!("a panic in {route}")).into_response());
    under_way.answered(response.status());
    if let Some(span) = &span {
        spans::answered(span, response.status());
    }
    response
}

/// Where spans are exported; probes and scrapes begin no traces.
fn span_of(api: &Api, method: &'static str, route: &'static str, request: &Request) -> Option<Span> {
    if !spans::is_on() {
        return None;
    }
    match api.needs.of(request.method(), route) {
        None | Some(Rule { need: Need::Nothing | Need::Absent, .. }) => None,
        Some(_) => spans::request(method, route, || trace::given(request.headers())),
    }
}

/// Lets in who may, and leaves the access log what it wants to know of an answer.
async fn admit(api: &Api, path: MatchedPath, request: Request, next: Next) -> Response {
    let log = api.app.config.log.access;
    if log == AccessLog::Off {
        return let_in(api, path.as_str(), request, next, None).await;
    }
    let mut caller = None;
    let mut response = let_in(api, path.as_str(), request, next, Some(&mut caller)).await;
    if log.wants(response.status()) {
        response.extensions_mut().insert(Admitted { route: path, caller });
    }
    response
}

/// `asks`: where to leave who was let in.
async fn let_in(api: &Api, path: &str, request: Request, next: Next, asks: Option<&mut Option<Caller>>) -> Response {
    if percent_encoding::percent_decode_str(request.uri().path()).decode_utf8().is_err() {
        return ApiError::malformed("the path is not UTF-8").into_response();
    }
    let Some(Rule { need, is_audited }) = api.needs.of(request.method(), path) else {
        return ApiError::internal(&format!("{} {path} is not in the list of routes", request.method()))
            .into_response();
    };
    match need {
        Need::Nothing => return next.run(request).await,
        Need::Absent => return super::no_such_path().into_response(),
        Need::Any(_) | Need::Operator => {}
    }
    let peer = request.extensions().get::<Peer>().copied();
    let caller = match identify(api, request.headers(), peer) {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    if let Some(asks) = asks {
        *asks = Some(caller.clone());
    }
    let verdicts = api.app.access.take(&caller).await;
    let mut response = match verdicts.refusal() {
        Some(refusal) => refused(refusal).into_response(),
        // Boxed: only administrators' requests are, and the others are moved without room for it.
        None if is_audited => Box::pin(audit::told(api, path, caller, need, request, next)).await,
        None => answer(caller, need, request, next).await,
    };
    tell_rates(response.headers_mut(), &verdicts);
    response
}

/// Has a request answered by its handler, if the caller may ask for it.
pub async fn answer(caller: Caller, need: Need, mut request: Request, next: Next) -> Response {
    if let Err(error) = may(&caller, need) {
        return error.into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn identify(api: &Api, headers: &HeaderMap, peer: Option<Peer>) -> Answer<Caller> {
    let key = headers.get(AUTHORIZATION).map(bearer).transpose()?;
    let tenant = headers.get(TENANT).map(|name| name.to_str().unwrap_or_default());
    api.app.access.authenticate(key, tenant).map_err(|denied| match peer {
        Some(peer) if denied == Denied::BadKey => {
            let caller = peer.caller(headers, &api.app.config.server);
            api.app.access.note_bad_key(caller).map_or(denied.into(), ApiError::too_many_bad_keys)
        }
        _ => denied.into(),
    })
}

/// The key of `Authorization: Bearer KEY`; the scheme's name in any case.
fn bearer(value: &HeaderValue) -> Answer<&str> {
    let wrong = || ApiError::unauthenticated("the `Authorization` header is not `Bearer KEY`");
    let (scheme, key) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(wrong)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(key.trim()) } else { Err(wrong()) }
}

fn may(caller: &Caller, need: Need) -> Answer<()> {
    match need {
        Need::Nothing => Ok(()),
        Need::Absent => Err(super::no_such_path()),
        Need::Operator if caller.is_operator => Ok(()),
        Need::Operator => Err(ApiError::forbidden("this needs the admin key")),
        Need::Any(scopes) if caller.has_any(scopes) => Ok(()),
        Need::Any(scopes) => {
            let names: Vec<String> = scopes.iter().map(|scope| format!("`{scope}`")).collect();
            Err(ApiError::forbidden(format!("the key needs the scope {}", names.join(" or "))))
        }
    }
}

/// `RateLimit` and `RateLimit-Policy`, in the form of draft-ietf-httpapi-ratelimit-headers-10.
pub(super) fn tell_rates(headers: &mut HeaderMap, verdicts: &Verdicts) {
    let (mut policies, mut limits) = (String::new(), String::new());
    for (name, Verdict { limit, remaining, seconds, .. }) in verdicts.all() {
        let comma = if policies.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(policies, "{comma}\"{name}\";q={limit};w=1");
        let _ = write!(limits, "{comma}\"{name}\";r={remaining};t={seconds}");
    }
    if policies.is_empty() {
        return;
    }
    for (name, text) in [(RATE_LIMIT_POLICY, policies), (RATE_LIMIT, limits)] {
        headers.insert(name, HeaderValue::try_from(text).expect("digits and fixed letters are a header's value"));
    }
}

/// 429, where a rate is used up.
pub(super) fn refused((policy, verdict): (&'static str, Verdict)) -> ApiError {
    ApiError::too_many(policy, verdict.limit, Duration::from_secs(verdict.seconds))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::internal(&"a route asks for a caller and lets nobody in"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_in_any_case() {
        let bearer = |text: &str| super::bearer(&HeaderValue::from_str(text).unwrap()).map(str::to_owned);
        assert_eq!(bearer("Bearer abc").unwrap(), "abc");
        assert_eq!(bearer("bearer  abc").unwrap(), "abc");
        for bad in ["abc", "Basic abc", "Bearer", ""] {
            assert_eq!(bearer(bad).unwrap_err().status(), 401, "{bad}");
        }
    }

    #[test]
    fn the_rate_is_told_in_the_draft_s_form() {
        let mut headers = HeaderMap::new();
        tell_rates(&mut headers, &Verdicts::default());
        assert!(headers.is_empty());
        let tenant = Some(Verdict { allowed: true, limit: 1000, remaining: 999, seconds: 1 });
        tell_rates(&mut headers, &Verdicts { tenant, key: None });
        assert_eq!(headers["ratelimit-policy"], "\"tenant\";q=1000;w=1");
        assert_eq!(headers["ratelimit"], "\"tenant\";r=999;t=1");
        let key = Some(Verdict { allowed: true, limit: 5, remaining: 4, seconds: 1 });
        tell_rates(&mut headers, &Verdicts { tenant, key });
        assert_eq!(headers["ratelimit-policy"], "\"tenant\";q=1000;w=1, \"key\";q=5;w=1");
        assert_eq!(headers["ratelimit"], "\"tenant\";r=999;t=1, \"key\";r=4;t=1");
    }
}
