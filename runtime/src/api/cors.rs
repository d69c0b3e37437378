//! Pages of other origins: which of them browsers let use the API. None, unless `cors_origins` names them.

use std::time::Duration;

use axum::Router;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, LOCATION, ORIGIN, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Request};
use tower::Layer as _;
use tower_http::cors::{AllowHeaders, AllowOrigin, Cors, CorsLayer};

use super::guard::{RATE_LIMIT, RATE_LIMIT_POLICY};
use super::idempotency::REPLAYED;
use super::request_id::REQUEST_ID;
use crate::config::Origins;

/// How long a browser need not ask again.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// The methods of [`super::routes::ROUTES`].
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// The routes as other origins may use them; `None` where none may.
#[must_use]
pub fn around(router: &Router, origins: &Origins) -> Option<Cors<Router>> {
    let allowed = match origins {
        Origins::None => return None,
        Origins::Any => AllowOrigin::any(),
        Origins::These(origins) => {
            let values = origins.iter().map(|origin| HeaderValue::from_str(origin));
            AllowOrigin::list(values.map(|value| value.expect("an origin is ASCII: it was read as one")))
        }
    };
    let told: [HeaderName; 6] = [RATE_LIMIT, RATE_LIMIT_POLICY, RETRY_AFTER, REPLAYED, REQUEST_ID, LOCATION];
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(METHODS)
        // Whatever it asks for: a CloudEvent's attributes are headers of names that its sender chooses. What counts
        // is the key, which no browser sends by itself.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(told)
        .max_age(REMEMBERED);
    Some(layer.layer(router.clone()))
}

/// Whether it is a browser's, of a page: a preflight, or what follows it. Others need none of this.
#[must_use]
pub fn concerns<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    headers.contains_key(ORIGIN)
        && (request.method() != Method::OPTIONS || headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD))
}
