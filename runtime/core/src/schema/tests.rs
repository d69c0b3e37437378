//! The checks, against schemas as schemars writes them.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::collections::BTreeMap;

use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

use super::check;

#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Config {
    url: String,
    /// Headers.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    auth: Option<Auth>,
    #[serde(default)]
    expect_status: Vec<u16>,
    level: Option<Level>,
    ttl: Option<u32>,
    share: Option<f64>,
    #[schemars(length(min = 1))]
    name: Option<String>,
    many: Option<OneOrMany>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Auth {
    Basic(Basic),
    Bearer(String),
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Basic {
    user: String,
    password: String,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// With a comment, so that schemars writes `oneOf`.
    Debug,
    Info,
}

#[derive(JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn mistakes(config: &Value) -> Vec<String> {
    check(schema_for!(Config).as_value(), config).iter().map(ToString::to_string).collect()
}

#[test]
fn good_settings_have_no_mistakes() {
    let good = json!({
        "url": "https://example.com", "headers": {"a": "b"}, "body": [1, {"x": null}], "auth": {"bearer": "t"},
        "expectStatus": [200, 404], "level": "debug", "ttl": 5, "share": 0.5, "name": "n", "many": ["a"],
    });
    assert_eq!(mistakes(&good), Vec::<String>::new());
    let nulls = json!({"url": "u", "auth": null, "level": null, "ttl": null, "many": "one", "body": null});
    assert_eq!(mistakes(&nulls), Vec::<String>::new());
}

#[test]
fn a_templated_string_fits_any_type() {
    let templated = json!({
        "url": "{{record.url}}", "headers": "{{record.headers}}", "auth": "{{record.auth}}",
        "expectStatus": ["{{record.status}}"], "level": "{{record.level}}", "ttl": "{{record.ttl}}",
        "share": "{{add 1 2}}", "many": "{{record.list}}",
    });
    assert_eq!(mistakes(&templated), Vec::<String>::new());
}

#[test]
fn unknown_and_missing_keys_are_named_with_the_nearest() {
    assert_eq!(
        mistakes(&json!({"ur1": "x", "expect_status": [200]})),
        [
            "/url: `url` is required",
            "/ur1: unknown field `ur1`, did you mean `url`?",
            "/expect_status: unknown field `expect_status`, did you mean `expectStatus`?",
        ]
    );
}

#[test]
fn wrong_types_are_named_with_their_place() {
    assert_eq!(
        mistakes(&json!({
            "url": 1, "headers": {"a/b": 2}, "expectStatus": [200, "x", 70000], "ttl": 1.5, "share": true, "name": "",
        })),
        [
            "/url: must be a string, not 1",
            "/headers/a~1b: must be a string, not 2",
            "/expectStatus/1: must be a whole number, not a string",
            "/expectStatus/2: must be at most 65535, not 70000",
            "/ttl: must be a whole number, not 1.5",
            "/share: must be a number, not true",
            "/name: cannot be empty",
        ]
    );
    assert_eq!(mistakes(&json!({"url": "u", "ttl": -1})), ["/ttl: must be at least 0, not -1"]);
    assert_eq!(mistakes(&json!([])), ["/: must be an object, not an array"]);
}

#[test]
fn a_branch_of_an_enum_is_chosen_by_its_key_and_by_its_type() {
    assert_eq!(
        mistakes(&json!({"url": "u", "auth": {"basic": {"user": "a", "pasword": "b"}}})),
        [
            "/auth/basic/password: `password` is required",
            "/auth/basic/pasword: unknown field `pasword`, did you mean `password`?",
        ]
    );
    assert_eq!(mistakes(&json!({"url": "u", "level": "inof"})), ["/level: unknown value `inof`, did you mean `info`?"]);
    assert_eq!(mistakes(&json!({"url": "u", "many": ["a", 1]})), ["/many/1: must be a string, not 1"]);
    assert_eq!(mistakes(&json!({"url": "u", "many": 1})), ["/many: must be a string or an array, not 1"]);
    assert_eq!(mistakes(&json!({"url": "u", "auth": 7})), ["/auth: must be an object, not 7"]);
}

#[test]
fn a_reference_to_itself_ends() {
    assert!(check(&json!({"$ref": "#"}), &json!({"a": 1})).is_empty());
    let list =
        json!({"$ref": "#/$defs/l", "$defs": {"l": {"type": "object", "properties": {"next": {"$ref": "#/$defs/l"}}}}});
    assert_eq!(check(&list, &json!({"next": {"next": 1}}))[0].pointer, "/next/next");
}
