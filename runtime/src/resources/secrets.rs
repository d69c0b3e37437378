//! The kind `secrets`: `{"value": "..."}`, written and never read back.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::id::TenantId;

use super::{Kind, Snapshot, sealing, settings};
use crate::secrets::Vault;

/// A secret.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Secret {
    /// The value. It cannot be read again.
    #[schemars(length(min = 1, max = 65536))]
    value: String,
}

pub(super) const KIND: Kind = Kind {
    name: "secrets",
    schema: || schemars::schema_for!(Secret).to_value(),
    normal: |settings| settings,
    check: |_| Vec::new(),
    // A secret is a secret, whatever it looks like.
    raw: &["value"],
    hidden: true,
    own_routes: false,
    of_one_env: None,
    made: None,
    connect: |_, settings| {
        Box::pin(async move {
            match serde_json::from_value::<Secret>(settings) {
                Ok(secret) => Ok(format!("it opens; {} bytes", secret.value.len())),
                Err(_) => Err("it has no value for this environment".to_owned()),
            }
        })
    },
};

/// The secrets of all tenants, for those who use them. Cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    vault: Vault,
    snapshot: Snapshot,
}

impl Secrets {
    pub(super) fn new(vault: Vault, snapshot: Snapshot) -> Self {
        Self { vault, snapshot }
    }

    /// A secret's value where no environment of the event has its own.
    #[must_use]
    pub fn get(&self, tenant: &TenantId, name: &str) -> Option<String> {
        self.get_in(tenant, name, "")
    }

    /// A secret's value in `env`.
    #[must_use]
    pub fn get_in(&self, tenant: &TenantId, name: &str, env: &str) -> Option<String> {
        let known = self.snapshot.load().get(&(tenant.clone(), KIND.name, name.to_owned())).cloned()?;
        match sealing::open_all(&self.vault, tenant, KIND.name, &known) {
            Ok(written) => match settings::of_env(written, env).get("value") {
                Some(Value::String(value)) => Some(value.clone()),
                _ => None,
            },
            Err(failure) => {
                tracing::error!(%tenant, secret = name, "Secret `{name}` does not open: {}", failure.message);
                None
            }
        }
    }
}
