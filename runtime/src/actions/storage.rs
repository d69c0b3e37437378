//! `storage.upload`, `storage.delete`, `storage.copy`: objects in the tenant's storages.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;
use triggerd_core::path::Path;

use super::{Action, Context, Use, uses};
use crate::failed::{Failed, outcome};
use crate::storages::{Name, Object, Stored, key};

/// The largest object.
const MAX_OBJECT: usize = 64 << 20;

/// Base64 as people write it: with or without padding.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// `storage.upload`
pub struct Upload;
/// `storage.delete`
pub struct Delete;
/// `storage.copy`
pub struct Copy;

/// Settings of `storage.upload`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UploadConfig {
    /// The storage's tag.
    storage: String,
    /// The object's name, below the storage's prefix.
    path: String,
    /// The field of the record that holds the content as base64: `invoice.pdf`, with or without `record.` in front.
    data_field: Option<String>,
    /// The content itself: a text, or any other JSON.
    #[serde(default, deserialize_with = "given")]
    content: Option<Value>,
    /// What it is. Default: what a `data:` URL says; `text/plain` of a text, `application/json` of other JSON, else
    /// `application/octet-stream`.
    mime_type: Option<String>,
}

/// Settings of `storage.delete`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteConfig {
    /// The storage's tag.
    storage: String,
    /// The object's name, below the storage's prefix.
    path: String,
}

/// Settings of `storage.copy`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyConfig {
    /// The storage's tag.
    storage: String,
    /// The object's name, below the storage's prefix.
    from: String,
    /// The copy's name; an object that has it is replaced.
    to: String,
}

/// `null` is a content too.
fn given<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

impl Action for Upload {
    const KIND: &'static str = "storage.upload";
    type Config = UploadConfig;

    fn check(config: &Value) -> Vec<Mistake> {
        let mut found = names(config, &["path"]);
        match (config.get("dataField"), config.get("content")) {
            (None, None) => found.push(Mistake::new("", "`dataField` or `content` is required")),
            (Some(_), Some(_)) => found.push(Mistake::new("/content", "one of `dataField` and `content`, not both")),
            (Some(Value::String(path)), None) if !path.contains("{{") => {
                found.extend(Path::parse_in_record(path).err().map(|detail| Mistake::new("/dataField", detail)));
            }
            _ => {}
        }
        found
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "storage", "storages").into_iter().collect()
    }

    fn destination(cx: &Context, config: &UploadConfig) -> Option<String> {
        cx.services.storages.destination(name(cx, &config.storage))
    }

    async fn run(cx: Context, config: UploadConfig) -> Outcome {
        let object = match object(&cx, &config) {
            Ok(object) => object,
            Err(failed) => return failed.into(),
        };
        note(
            &cx,
            json!({"storage": config.storage, "path": config.path, "mimeType": object.mime_type,
            "size": object.content.len()}),
        );
        let stored = cx.services.storages.upload(name(&cx, &config.storage), &config.path, object).await;
        outcome(stored.map(|stored| answered(&cx, shown(&stored))))
    }
}

impl Action for Delete {
    const KIND: &'static str = "storage.delete";
    const READS_EVENT: bool = false;
    type Config = DeleteConfig;

    fn check(config: &Value) -> Vec<Mistake> {
        names(config, &["path"])
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "storage", "storages").into_iter().collect()
    }

    fn destination(cx: &Context, config: &DeleteConfig) -> Option<String> {
        cx.services.storages.destination(name(cx, &config.storage))
    }

    async fn run(cx: Context, config: DeleteConfig) -> Outcome {
        note(&cx, json!({"storage": config.storage, "path": config.path}));
        let deleted = cx.services.storages.delete(name(&cx, &config.storage), &config.path).await;
        outcome(deleted.map(|()| answered(&cx, json!({"etag": null, "size": null}))))
    }
}

impl Action for Copy {
    const KIND: &'static str = "storage.copy";
    const READS_EVENT: bool = false;
    type Config = CopyConfig;

    fn check(config: &Value) -> Vec<Mistake> {
        names(config, &["from", "to"])
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "storage", "storages").into_iter().collect()
    }

    fn destination(cx: &Context, config: &CopyConfig) -> Option<String> {
        cx.services.storages.destination(name(cx, &config.storage))
    }

    async fn run(cx: Context, config: CopyConfig) -> Outcome {
        note(&cx, json!({"storage": config.storage, "from": config.from, "to": config.to}));
        let copied = cx.services.storages.copy(name(&cx, &config.storage), &config.from, &config.to).await;
        outcome(copied.map(|stored| answered(&cx, shown(&stored))))
    }
}

fn names(config: &Value, fields: &[&str]) -> Vec<Mistake> {
    let literal = |field: &&str| config.get(*field).and_then(Value::as_str).filter(|text| !text.contains("{{"));
    let of_field = |field: &&str| Some(Mistake::new(format!("/{field}"), key::mistake(literal(field)?)?));
    fields.iter().filter_map(of_field).collect()
}

fn name<'a>(cx: &'a Context, tag: &'a str) -> Name<'a> {
    Name { tenant: cx.tenant(), env: &cx.event.env, tag }
}

fn note(cx: &Context, request: Value) {
    cx.excerpt.lock().request = Some(cx.redactor(&[]).value(request));
}

fn answered(cx: &Context, response: Value) -> Value {
    cx.excerpt.lock().response = Some(response.clone());
    response
}

fn shown(stored: &Stored) -> Value {
    json!({"etag": stored.etag, "size": stored.size})
}

fn object(cx: &Context, config: &UploadConfig) -> Result<Object, Failed> {
    let invalid = |detail: String| Failed::permanent("CONFIG_INVALID", detail);
    let (content, found_type) = match (&config.data_field, &config.content) {
        (Some(field), None) => decoded(cx, field).map_err(|detail| invalid(format!("/dataField: {detail}")))?,
        (None, Some(Value::String(text))) => (Bytes::from(text.clone()), Some("text/plain; charset=utf-8".to_owned())),
        (None, Some(json)) => (Bytes::from(json.to_string()), Some("application/json".to_owned())),
        _ => return Err(invalid("one of `dataField` and `content` is required".to_owned())),
    };
    if content.len() > MAX_OBJECT {
        return Err(invalid(format!("/content: {} bytes; at most {MAX_OBJECT}", content.len())));
    }
    let mime_type = config.mime_type.clone().or(found_type).unwrap_or_else(|| "application/octet-stream".to_owned());
    if mime_type.is_empty() || !mime_type.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(invalid("/mimeType: printable ASCII is wanted, such as `application/pdf`".to_owned()));
    }
    Ok(Object { content, mime_type, delivery_id: cx.delivery_id.to_string() })
}

/// The bytes in a field of the record, and what a `data:` URL says that they are.
fn decoded(cx: &Context, field: &str) -> Result<(Bytes, Option<String>), String> {
    let path = Path::parse_in_record(field)?;
    let found = path.find(&cx.event).ok_or_else(|| format!("the record has no `{field}`"))?;
    let text = found.as_str().ok_or_else(|| format!("`{field}` is no text; base64 is wanted"))?;
    let (text, mime_type) = match text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((mime_type, text)) => (text, Some(mime_type.to_owned()).filter(|written| !written.is_empty())),
        None => (text, None),
    };
    let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let alphabet = if plain.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let bytes = GeneralPurpose::new(alphabet, LENIENT).decode(plain);
    Ok((Bytes::from(bytes.map_err(|_| format!("`{field}` is not base64"))?), mime_type))
}
