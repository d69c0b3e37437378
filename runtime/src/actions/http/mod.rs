//! `http.get`, `http.post`, `http.put`, `http.patch`, `http.delete`: one request, done once the answer says so.

mod answer;
mod request;
mod sign;

use ::http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use triggerd_core::catalog::Place;
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;

use super::{Action, Context, Use};
use crate::egress::{self, Url};

/// The methods that are action types, and the alias that names them in `method`.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const ALIAS: &str = "CUSTOM_HTTP";
/// What `CUSTOM_HTTP` means without a `method`.
const DEFAULT_METHOD: &str = "POST";
/// The bytes of an answer's body that become the output.
const MAX_BODY: usize = 1 << 20;

/// Settings of every `http.*`.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Where: an `https://` or `http://` URL.
    url: String,
    /// With `CUSTOM_HTTP`: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    method: Option<String>,
    /// Headers; those of the connection and those that triggerd sets are refused.
    #[serde(default)]
    headers: Map<String, Value>,
    /// Added to the URL's query. An array repeats its name; null is left out.
    #[serde(default)]
    query: Map<String, Value>,
    /// The body: JSON, or a text with a `content-type` in `headers`.
    #[serde(default)]
    body: Value,
    /// `{"basic": {"username": ..., "password": ...}}` or `{"bearer": ...}`.
    auth: Option<Auth>,
    /// Signs the request after Standard Webhooks: a secret's name, or a `whsec_...` or `whsk_...` text; several are all
    /// used.
    #[serde(default)]
    sign_with: Value,
    /// Which statuses are a success: `204`, `"2xx"`, or a list of those. Default `2xx`.
    #[serde(default)]
    expect_status: Value,
}

/// Who asks.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// HTTP Basic.
    basic: Option<Basic>,
    /// A bearer token.
    bearer: Option<String>,
}

/// HTTP Basic credentials.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user.
    username: String,
    /// The password.
    #[serde(default)]
    password: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(***)")
    }
}

pub(super) use request::header_mistake;

impl Config {
    /// A request that the settings of a receiver make, signed with its keys.
    pub(super) fn of(
        url: String,
        headers: Map<String, Value>,
        query: Map<String, Value>,
        body: Value,
        sign_with: Value,
    ) -> Self {
        Self { url, method: None, headers, query, body, auth: None, sign_with, expect_status: Value::Null }
    }
}

macro_rules! methods {
    ($($name:ident $kind:literal $method:ident;)*) => {$(
        #[doc = concat!("`", $kind, "`")]
        pub struct $name;

        impl Action for $name {
            const KIND: &'static str = $kind;
            const WHOLE: Option<&'static str> = Some("body");
            const READS_EVENT: bool = false;
            const ALIASES: &'static [&'static str] = &[ALIAS];
            type Config = Config;

            fn whole(config: &mut Config) -> Option<&mut Value> {
                Some(&mut config.body)
            }

            fn claims(_alias: &str, config: &Value) -> bool {
                claims(&Method::$method, config)
            }

            fn check(config: &Value) -> Vec<Mistake> {
                check(&Method::$method, config)
            }

            fn place(_config: &Value, pointer: &str) -> Place {
                place(pointer)
            }

            fn uses(config: &Value) -> Vec<Use> {
                sign::named_secrets(&config["signWith"])
            }

            fn destination(_cx: &Context, config: &Config) -> Option<String> {
                destination(config)
            }

            async fn run(cx: Context, config: Config) -> Outcome {
                run(cx, Method::$method, config).await
            }
        }
    )*};
}

methods! {
    Get "http.get" GET;
    Post "http.post" POST;
    Put "http.put" PUT;
    Patch "http.patch" PATCH;
    Delete "http.delete" DELETE;
}

/// A `method` that is none of the known ones is claimed by the default, whose check names the mistake.
fn claims(method: &Method, config: &Value) -> bool {
    let written = config.get("method").and_then(Value::as_str).unwrap_or(DEFAULT_METHOD).to_uppercase();
    let meant = if METHODS.contains(&written.as_str()) { written.as_str() } else { DEFAULT_METHOD };
    meant == method.as_str()
}

fn check(method: &Method, config: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    if let Some(written) = config.get("method").and_then(Value::as_str)
        && !written.eq_ignore_ascii_case(method.as_str())
    {
        let detail = if METHODS.contains(&written.to_uppercase().as_str()) {
            format!("`{written}` contradicts the action's type")
        } else {
            format!("`{written}` must be one of {}", METHODS.join(", "))
        };
        found.push(Mistake::new("/method", detail));
    }
    if let Some(url) = config.get("url").and_then(Value::as_str).filter(|url| !url.contains("{{")) {
        found.extend(egress::url_mistake(url, "use `auth`").map(|detail| Mistake::new("/url", detail)));
    }
    if let Some(headers) = config.get("headers").and_then(Value::as_object) {
        found.extend(headers.keys().filter_map(|name| request::header_mistake(name)));
    }
    if let Some(auth) = config.get("auth").and_then(Value::as_object)
        && auth.len() != 1
    {
        found.push(Mistake::new("/auth", "one of `basic` and `bearer` is needed"));
    }
    if let Some(expected) = config.get("expectStatus")
        && let Err(mistake) = answer::Expected::parse(expected)
    {
        found.push(mistake);
    }
    if let Some(secrets) = config.get("signWith") {
        found.extend(sign::mistakes(secrets));
    }
    found
}

fn place(pointer: &str) -> Place {
    if pointer == "/url" {
        Place::Url
    } else if pointer.starts_with("/headers/") || pointer.starts_with("/auth/") {
        Place::Header
    } else {
        // Query values are encoded when they are added to the URL, whatever they hold.
        Place::Plain
    }
}

fn destination(config: &Config) -> Option<String> {
    endpoint(&Url::parse(&config.url).ok()?)
}

/// The destination that a URL leads to: its origin, and its path as a checksum. One path of a server that fails or hangs
/// says nothing of the others; and a path may be a secret, which has no place in lists and logs.
pub(super) fn endpoint(url: &Url) -> Option<String> {
    let origin = format!("{}://{}:{}", url.scheme(), url.host_str()?, url.port_or_known_default()?);
    Some(match url.path() {
        "/" => origin,
        path => format!("{origin}/#{:08x}", crc32fast::hash(path.as_bytes())),
    })
}

async fn run(cx: Context, method: Method, config: Config) -> Outcome {
    if let Some(written) = config.method.as_deref().filter(|written| !written.eq_ignore_ascii_case(method.as_str())) {
        return Outcome::dead("CONFIG_INVALID", format!("/method: `{written}` contradicts the action's type"));
    }
    deliver(cx, method, config, None).await
}

/// Sends one request; `ca` is trusted beside the public authorities.
pub(super) async fn deliver(cx: Context, method: Method, config: Config, ca: Option<&str>) -> Outcome {
    let expected = match answer::Expected::parse(&config.expect_status) {
        Ok(expected) => expected,
        Err(mistake) => return Outcome::dead("CONFIG_INVALID", mistake.to_string()),
    };
    let prepared = match request::prepare(&cx, method, &config) {
        Ok(prepared) => prepared,
        Err(failed) => return failed.into(),
    };
    let redactor = cx.redactor(&prepared.secrets);
    let shown = prepared.shown(&redactor);
    let attempted = redactor.text(&format!("{} {}", prepared.request.method, prepared.origin()));
    cx.excerpt.lock().request = Some(shown);
    let guard = match cx.services.resources.connections().https.trusting(ca).await {
        Ok(guard) => guard,
        Err(failed) => return failed.into(),
    };
    match guard.send(prepared.request, MAX_BODY).await {
        Ok(answered) => {
            let output = answer::output(&answered, &redactor);
            cx.excerpt.lock().response = Some(answer::excerpt(&output));
            answer::settle(&answered, &expected, output, &attempted, cx.services.clock.now())
        }
        Err(error) => error.outcome(&attempted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places(config: Value) -> Vec<String> {
        check(&Method::POST, &config).into_iter().map(|m| m.pointer).collect()
    }

    #[test]
    fn mistakes_in_literal_settings_are_found_when_the_definition_is_stored() {
        assert!(
            places(json!({"url": "https://example.com/x", "headers": {"X-A": "1"}, "expectStatus": [200, "3xx"]}))
                .is_empty()
        );
        assert!(places(json!({"url": "{{record.url}}", "method": "post"})).is_empty());
        let bad = json!({
            "url": "ftp://example.com", "method": "TRACE", "headers": {"Host": "x", "a b": "x", "webhook-id": "x", "X-Ok": "y"},
            "auth": {}, "expectStatus": "abc", "signWith": 5,
        });
        assert_eq!(
            places(bad),
            [
                "/method",
                "/url",
                "/headers/Host",
                "/headers/a b",
                "/headers/webhook-id",
                "/auth",
                "/expectStatus",
                "/signWith"
            ]
        );
        for url in ["", "example.com", "https://u:p@example.com", "https://"] {
            assert_eq!(places(json!({ "url": url })), ["/url"], "{url}");
        }
    }

    #[test]
    fn the_alias_means_the_method_that_it_names() {
        assert!(claims(&Method::PUT, &json!({"method": "put"})));
        assert!(claims(&Method::POST, &json!({"method": "TRACE"})));
        assert!(!claims(&Method::GET, &json!({})));
    }
}
