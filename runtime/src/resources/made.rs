//! What the server makes for a resource and nobody writes: the token that a hook's address ends in. It is sealed like a password,
//! stays when the settings are replaced, and is made anew where it is taken away.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use triggerd_core::id::TenantId;
use triggerd_core::mistake::join;

use super::{Error, Key, Kind, Resources, sealing};
use crate::store::StoredResource;

/// The longest token that is looked for.
const MAX_TOKEN: usize = 128;

/// Which resource each token leads to, by the tokens' digests: how long a search takes says nothing of what is nearly right.
#[derive(Default)]
pub(super) struct ByToken(RwLock<State>);

#[derive(Default)]
struct State {
    /// What it was made from.
    of: Arc<BTreeMap<Key, Arc<StoredResource>>>,
    found: HashMap<[u8; 32], Key>,
}

impl Resources {
    /// Whose resource of a kind a token leads to, and its tag.
    #[must_use]
    pub fn by_token(&self, kind: &str, token: &str) -> Option<(TenantId, String)> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if token.len() > MAX_TOKEN {
            return None;
        }
        let now = self.snapshot.load_full();
        let of_kind = |(tenant, of, tag): &Key| (*of == kind).then(|| (tenant.clone(), tag.clone()));
        {
            let state = self.by_token.0.read();
            if Arc::ptr_eq(&state.of, &now) {
                return state.found.get(&digest).and_then(of_kind);
            }
        }
        let tokens =
            now.iter().filter_map(|(key, known)| Some((digest_of(&self.token_of(&key.0, known)?), key.clone())));
        let state = State { found: tokens.collect(), of: now.clone() };
        let answer = state.found.get(&digest).and_then(of_kind);
        *self.by_token.0.write() = state;
        answer
    }

    /// What the server has made for a resource.
    #[must_use]
    pub fn token(&self, tenant: &TenantId, kind: &str, tag: &str) -> Option<String> {
        let kind = Kind::named(kind)?;
        let known = self.stored(tenant, kind.name, tag)?;
        self.token_of(tenant, &known)
    }

    /// Makes it anew: the one before leads nowhere any more.
    pub async fn rotate_token(&self, tenant: &TenantId, kind: &str, tag: &str) -> Result<StoredResource, Error> {
        let name = Kind::named(kind).and_then(|kind| kind.made).ok_or_else(|| Error::UnknownKind(kind.to_owned()))?;
        let taken_away = json!({ name: null });
        self.patch_if(tenant, kind, tag, |_| Some(taken_away)).await?.ok_or(Error::Absent)
    }

    fn token_of(&self, tenant: &TenantId, known: &StoredResource) -> Option<String> {
        let kind = Kind::named(&known.kind)?;
        let name = kind.made?;
        let sealed = known.settings.get(name)?;
        let opened = sealing::open_one(&self.vault, tenant, kind.name, &known.tag, &join("", name), sealed);
        if opened.is_none() {
            tracing::warn!(
                tenant = %tenant, "The {name} of {}/{} was sealed under a key that is not known; make it anew", kind.name, known.tag
            );
        }
        opened
    }

    /// Settings that replace others, with what was made for those.
    pub(super) fn with_made(&self, tenant: &TenantId, kind: &Kind, tag: &str, mut settings: Value) -> Value {
        if let (Some(name), Some(fields)) = (kind.made, settings.as_object_mut()) {
            let known = self.stored(tenant, kind.name, tag);
            let made = known.and_then(|known| known.settings.get(name).cloned());
            fields.extend(made.map(|made| (name.to_owned(), made)));
        }
        settings
    }

    /// Settings with what was made for them, or is made now.
    pub(super) fn put_made(
        &self,
        tenant: &TenantId,
        kind: &Kind,
        tag: &str,
        mut settings: Value,
        made: Option<Value>,
    ) -> Value {
        if let (Some(name), Some(fields)) = (kind.made, settings.as_object_mut()) {
            let new = || {
                let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
                sealing::seal_one(&self.vault, tenant, kind.name, tag, &join("", name), &token)
            };
            fields.insert(name.to_owned(), made.unwrap_or_else(new));
        }
        settings
    }
}

fn digest_of(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
