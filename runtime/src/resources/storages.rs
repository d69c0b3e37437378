//! The kind `storages`: an S3 bucket, a folder of this machine, or memory.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::Mistake;

use super::Kind;
use crate::connections::s3::Bucket;
use crate::storages::key;

/// Where buckets are that name no region.
const DEFAULT_REGION: &str = "us-east-1";
/// Bytes that a storage in memory keeps where its settings do not say.
const DEFAULT_BYTES: u64 = 64 << 20;

/// A storage's settings.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Storage {
    /// `s3`, `local` or `memory`; left out, a storage with a `bucket` is `s3`.
    kind: StorageKind,
    /// `s3`: the bucket's name.
    #[schemars(length(min = 1, max = 255))]
    bucket: Option<String>,
    /// `s3`: its region. Default `us-east-1`.
    region: Option<String>,
    /// `s3`: the server, `https://host[:port]`. Default: Amazon's of the region.
    endpoint: Option<String>,
    /// `s3`: who asks; without, requests are not signed.
    access_key_id: Option<String>,
    /// `s3`: with what; `{"secret": "NAME"}` or `{{secrets.NAME}}` keeps it out of the settings.
    secret_access_key: Option<String>,
    /// `s3`: the bucket is named in the path (`https://host/bucket/…`). Default: only where there is an `endpoint`.
    path_style: Option<bool>,
    /// Put in front of every name, with a `/`.
    #[serde(default)]
    pub prefix: String,
    /// `s3`: the certificate authority of the server, as PEM, where it is not a public one.
    ca: Option<String>,
    /// `memory`: how many bytes of objects are kept. Default 64 MiB.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    max_bytes: Option<u64>,
}

/// What keeps the objects.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    /// A bucket of a server that speaks S3.
    S3,
    /// A folder of this machine, of this tenant and tag alone.
    Local,
    /// This process, for as long as it runs.
    Memory,
}

impl Storage {
    /// What keeps the objects.
    #[must_use]
    pub fn kind(&self) -> StorageKind {
        self.kind
    }

    /// Bytes that a storage in memory keeps.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(DEFAULT_BYTES)
    }

    /// The bucket, where it is one.
    #[must_use]
    pub fn bucket(&self) -> Option<Bucket> {
        let name = self.bucket.clone().filter(|_| self.kind == StorageKind::S3)?;
        let region = self.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let amazon = || format!("https://s3.{region}.amazonaws.com");
        Some(Bucket {
            name,
            endpoint: self.endpoint.clone().unwrap_or_else(amazon),
            path_style: self.path_style.unwrap_or(self.endpoint.is_some()),
            credentials: self.access_key_id.clone().zip(self.secret_access_key.clone()),
            ca: self.ca.clone(),
            region,
        })
    }
}

pub(super) const KIND: Kind = Kind {
    name: "storages",
    schema: || schemars::schema_for!(Storage).to_value(),
    normal: |settings| {
        let otherwise = if settings.get("bucket").is_some() { "s3" } else { "memory" };
        super::kind::named_by(settings, &[], otherwise)
    },
    check,
    raw: &[],
    hidden: false,
    own_routes: false,
    of_one_env: None,
    made: None,
    connect: |connections, settings| {
        Box::pin(async move {
            let storage: Storage = serde_json::from_value(settings).map_err(|e| e.to_string())?;
            match storage.kind {
                StorageKind::S3 => {
                    let bucket = storage.bucket().ok_or("it names no bucket")?;
                    connections.s3.check(&bucket, storage.prefix.trim_matches('/')).await
                }
                StorageKind::Local => connections.folders.check().await,
                StorageKind::Memory => Ok("in memory".to_owned()),
            }
        })
    },
};

/// Settings that only a bucket has.
const OF_BUCKETS: &[&str] = &["bucket", "region", "endpoint", "accessKeyId", "secretAccessKey", "pathStyle", "ca"];

fn check(settings: &Value) -> Vec<Mistake> {
    let text = |field: &str| settings.get(field).and_then(Value::as_str);
    let kind = text("kind").unwrap_or_default();
    let mut found = Vec::new();
    if kind == "s3" {
        if text("bucket").is_none() {
            found.push(Mistake::new("/bucket", "`bucket` is required"));
        }
        for (one, other) in [("accessKeyId", "secretAccessKey"), ("secretAccessKey", "accessKeyId")] {
            if settings.get(one).is_none() && settings.get(other).is_some() {
                found.push(Mistake::new(format!("/{one}"), format!("`{other}` needs `{one}`")));
            }
        }
        found.extend(text("endpoint").and_then(endpoint_mistake).map(|detail| Mistake::new("/endpoint", detail)));
        let host_part = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        for field in ["bucket", "region"] {
            if text(field).is_some_and(|text| !text.contains("{{") && !host_part(text)) {
                found.push(Mistake::new(format!("/{field}"), "letters, digits, `.`, `-` and `_` are taken here"));
            }
        }
    } else {
        let strange = OF_BUCKETS.iter().filter(|field| settings.get(**field).is_some());
        found.extend(strange.map(|field| {
            Mistake::new(format!("/{field}"), format!("a storage of the kind `{kind}` has no `{field}`"))
        }));
    }
    if kind != "memory" && settings.get("maxBytes").is_some() {
        found.push(Mistake::new("/maxBytes", "only a storage in memory has `maxBytes`"));
    }
    let prefix = text("prefix").map(|prefix| prefix.trim_matches('/')).filter(|prefix| !prefix.is_empty());
    found.extend(prefix.and_then(key::mistake).map(|detail| Mistake::new("/prefix", detail)));
    found
}

fn endpoint_mistake(text: &str) -> Option<String> {
    if text.contains("{{") {
        return None;
    }
    let wanted = "write it like `https://host` or `http://host:9000`";
    let Ok(url) = reqwest::Url::parse(text) else { return Some(format!("this is no URL; {wanted}")) };
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let fits = matches!(url.scheme(), "http" | "https")
        && plain
        && url.fragment().is_none()
        && url.host_str().is_some()
        && url.path() == "/";
    (!fits).then(|| format!("scheme, host and port, and nothing else; {wanted}"))
}
