//! The OpenAPI 3.1 document, put together from the fragments that stand with the handlers.

use axum::routing::get;
use http::{Method, StatusCode};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};

use super::{Router, common_answers, events};

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(show))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/openapi.json", get(show))
}

/// This document
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "health",
    responses((status = 200, description = "The OpenAPI document", body = Object))
)]
async fn show() -> Result<axum::response::Response, super::ApiError> {
    let text = json().map_err(|error| super::ApiError::internal(&error))?;
    Ok(events::json(StatusCode::OK, text))
}

/// The document as JSON.
pub fn json() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&document())
}

/// The document of all routes, those of development included.
#[must_use]
pub fn document() -> Document {
    let mut document = Document::default();
    document.info = utoipa::openapi::InfoBuilder::new()
        .title("triggerd")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(env!("CARGO_PKG_DESCRIPTION")))
        .build();
    for fragment in super::documents() {
        document.merge(fragment);
    }
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::PUT, &mut item.put),
            (Method::POST, &mut item.post),
            (Method::DELETE, &mut item.delete),
            (Method::PATCH, &mut item.patch),
            (Method::OPTIONS, &mut item.options),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                common_answers::add(&method, path, operation);
            }
        }
    }
    let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("key", key);
    document.security = Some(vec![SecurityRequirement::new("key", Vec::<String>::new())]);
    document
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::routes::ROUTES;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn document() -> Value {
        serde_json::from_str(&super::json().unwrap()).unwrap()
    }

    #[test]
    fn the_document_and_the_list_of_routes_name_the_same_routes() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let mut documented = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                documented.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let listed: BTreeSet<String> = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        let missing: Vec<_> = listed.symmetric_difference(&documented).collect();
        assert!(missing.is_empty(), "in one of the two only: {missing:?}");
        assert_eq!(listed.len(), ROUTES.len(), "a route is listed twice");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }
}
