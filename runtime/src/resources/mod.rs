//! What tenants configure once and actions name by tag: caches, brokers, databases, notification services, secrets.
//!
//! Settings are JSON, one file per kind, listed in [`KINDS`]. They are read from a snapshot in memory; every change
//! goes to the store first. Passwords in settings are sealed before they are stored and come back sealed, so that
//! what was read can be written again without ever showing them; a secret's value does not come back at all.

mod brokers;
mod caches;
mod databases;
mod hooks;
mod kind;
mod made;
mod notifications;
mod resolved;
mod rotation;
mod sealing;
mod secrets;
mod settings;
mod storages;
mod subscriptions;
mod syncs;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use triggerd_core::id::{TenantId, is_tag};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Failure;

pub use brokers::{Broker, Kafka as KafkaBroker, Mqtt, Nats, Rabbitmq, Redis as RedisBroker, RedisMode};
pub use caches::Cache;
pub use databases::{Capture, CaptureFrom, Database, Extent};
pub use hooks::{Hook, Key as HookKey, Secret as HookSecret, Template as HookTemplate, Verify, key_of as hook_key_of};
pub use kind::Kind;
pub use notifications::{
    Apns, Callback, CallbackPart, Fcm, Gateway, Message, Notification, Push, PushPart, ServiceAccount, Sms, SmsPart,
    Smtp, Tls, Twilio, Urgency, WebPush,
};
pub use resolved::Resolved;
pub use rotation::{Rotated, RotationError, Seals};
pub use secrets::Secrets;
pub use storages::{Storage, StorageKind};
pub use subscriptions::{Batch, Disabled, Former, Function, Selector, Subscription};
pub use syncs::{
    Conversion, Mode as SyncMode, Policy as SyncPolicy, SyncAudit, SyncColumn, SyncColumns, SyncHttp, SyncMade,
    SyncSettings, SyncTable,
};

use crate::clock::Clock;
use crate::connections::Connections;
use crate::secrets::Vault;
use crate::store::{self, Store, StoredResource, Witness};

/// All kinds of resources, by name.
pub const KINDS: &[Kind] = &[
    brokers::KIND,
    caches::KIND,
    databases::KIND,
    hooks::KIND,
    notifications::KIND,
    secrets::KIND,
    storages::KIND,
    subscriptions::KIND,
    syncs::KIND,
];

type Key = (TenantId, &'static str, String);
pub(crate) type Snapshot = Arc<ArcSwap<BTreeMap<Key, Arc<StoredResource>>>>;

/// The resources of all tenants.
pub struct Resources {
    store: Store,
    clock: Clock,
    vault: Vault,
    snapshot: Snapshot,
    connections: Connections,
    kept: resolved::Kept,
    by_token: made::ByToken,
    /// One change at a time: the snapshot follows the store.
    changing: tokio::sync::Mutex<()>,
    /// One rotation of the master key at a time.
    rotating: tokio::sync::Mutex<()>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such kind of resource.
    #[error("there is no kind of resource `{0}`")]
    UnknownKind(String),
    /// The settings or the tag are wrong.
    #[error("the settings are not valid")]
    Invalid(Vec<Mistake>),
    /// There is none to change.
    #[error("there is no such resource")]
    Absent,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Resources at one moment. Keeps them, so that no later ones can come to lie where they did and be taken for them.
#[derive(Clone)]
pub struct Mark(Arc<BTreeMap<Key, Arc<StoredResource>>>);

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What a try to connect showed.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Check {
    /// Whether it works.
    pub ok: bool,
    /// What was found, or what is wrong.
    pub detail: String,
}

/// Which settings a connection was made with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Whose.
    pub tenant: TenantId,
    /// The resource's tag.
    pub tag: String,
    /// SHA-256 of kind and settings.
    pub digest: [u8; 32],
}

impl Resources {
    /// Takes up what is stored.
    pub async fn load(
        store: Store,
        clock: Clock,
        vault: Vault,
        connections: Connections,
    ) -> Result<Self, store::Error> {
        let resources = Self {
            store,
            clock,
            vault,
            snapshot: Default::default(),
            connections,
            kept: Default::default(),
            by_token: Default::default(),
            changing: Default::default(),
            rotating: Default::default(),
        };
        resources.reload().await?;
        Ok(resources)
    }

    /// Reads everything anew: another node has changed more than it is known what.
    pub async fn reload(&self) -> Result<(), store::Error> {
        let _one_at_a_time = self.changing.lock().await;
        let mut known = BTreeMap::new();
        for (tenant, resource) in self.store.resources_all().await? {
            if let Some(kind) = Kind::named(&resource.kind) {
                known.insert((tenant, kind.name, resource.tag.clone()), Arc::new(resource));
            }
        }
        self.snapshot.store(Arc::new(known));
        Ok(())
    }

    /// Reads a resource anew, which another node has changed or deleted.
    pub async fn refresh(&self, tenant: &TenantId, kind: &str, tag: &str) -> Result<(), store::Error> {
        let Some(kind) = Kind::named(kind) else { return Ok(()) };
        let _one_at_a_time = self.changing.lock().await;
        let stored = self.store.resource(tenant, kind.name, tag).await?;
        // As a whole: what is sealed anew keeps its version.
        if self.stored(tenant, kind.name, tag).as_deref() == stored.as_ref() {
            return Ok(());
        }
        let key = (tenant.clone(), kind.name, tag.to_owned());
        self.change(|all| {
            match stored {
                Some(stored) => all.insert(key, Arc::new(stored)),
                None => all.remove(&key),
            };
        });
        Ok(())
    }

    /// Creates or replaces; the flag says whether it is new.
    pub async fn put(
        &self,
        tenant: &TenantId,
        kind: &str,
        tag: &str,
        settings: Value,
    ) -> Result<(StoredResource, bool), Error> {
        let kind = Kind::named(kind).ok_or_else(|| Error::UnknownKind(kind.to_owned()))?;
        if let Some(mistake) = kind.written_made(&settings) {
            return Err(Error::Invalid(vec![mistake]));
        }
        let _one_at_a_time = self.changing.lock().await;
        let settings = self.with_made(tenant, kind, tag, settings);
        self.write(tenant, kind, tag, settings).await
    }

    /// Merges into what is there (RFC 7396).
    pub async fn patch(
        &self,
        tenant: &TenantId,
        kind: &str,
        tag: &str,
        patch: &Value,
    ) -> Result<StoredResource, Error> {
        if let Some(mistake) = Kind::named(kind).and_then(|kind| kind.written_made(patch)) {
            return Err(Error::Invalid(vec![mistake]));
        }
        let changed = self.patch_if(tenant, kind, tag, |_| Some(patch.clone())).await?;
        changed.ok_or(Error::Absent)
    }

    /// Merges what `patch` makes of the settings as they may be shown, while nobody else changes them; `None` where it
    /// makes nothing.
    pub async fn patch_if(
        &self,
        tenant: &TenantId,
        kind: &str,
        tag: &str,
        patch: impl FnOnce(&Value) -> Option<Value>,
    ) -> Result<Option<StoredResource>, Error> {
        let kind = Kind::named(kind).ok_or_else(|| Error::UnknownKind(kind.to_owned()))?;
        let _one_at_a_time = self.changing.lock().await;
        let known = self.stored(tenant, kind.name, tag).ok_or(Error::Absent)?;
        let Some(patch) = patch(&kind.shown(&known).settings) else { return Ok(None) };
        let mut settings =
            if kind.hidden { self.open(tenant, kind, &known).ok_or(Error::Absent)? } else { known.settings.clone() };
        settings::merge(&mut settings, &patch);
        Ok(Some(self.write(tenant, kind, tag, settings).await?.0))
    }

    /// One, as it may be shown.
    #[must_use]
    pub fn get(&self, tenant: &TenantId, kind: &str, tag: &str) -> Option<StoredResource> {
        let kind = Kind::named(kind)?;
        self.stored(tenant, kind.name, tag).map(|known| kind.shown(&known))
    }

    /// All of a kind by tag, as they may be shown.
    #[must_use]
    pub fn list(&self, tenant: &TenantId, kind: &str) -> Vec<StoredResource> {
        let Some(kind) = Kind::named(kind) else { return Vec::new() };
        let all = self.snapshot.load();
        all.range((tenant.clone(), kind.name, String::new())..)
            .take_while(|((of, name, _), _)| of == tenant && *name == kind.name)
            .map(|(_, known)| kind.shown(known))
            .collect()
    }

    /// Every resource of a kind, of all tenants: whose, its tag, and the environments that it has variants for.
    #[must_use]
    pub fn everywhere(&self, kind: &str) -> Vec<(TenantId, String, Vec<String>)> {
        let all = self.snapshot.load();
        let of_kind = all.iter().filter(|((_, name, _), _)| *name == kind);
        let place = |((tenant, _, tag), known): (&Key, &Arc<StoredResource>)| {
            let envs = known.settings.get("envs").and_then(Value::as_object);
            let envs = envs.map(|envs| envs.keys().cloned().collect()).unwrap_or_default();
            (tenant.clone(), tag.clone(), envs)
        };
        of_kind.map(place).collect()
    }

    /// Names the resources as they are: another mark means that one of them has changed.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.snapshot.load_full())
    }

    /// Deletes; whether it was there.
    pub async fn delete(&self, tenant: &TenantId, kind: &str, tag: &str) -> Result<bool, Error> {
        let kind = Kind::named(kind).ok_or_else(|| Error::UnknownKind(kind.to_owned()))?;
        let _one_at_a_time = self.changing.lock().await;
        self.note_before(tenant, kind, tag);
        let deleted = self.store.delete_resource(tenant, kind.name, tag).await?;
        self.change(|all| {
            all.remove(&(tenant.clone(), kind.name, tag.to_owned()));
        });
        Ok(deleted)
    }

    /// Tells of what is there before it is changed.
    fn note_before(&self, tenant: &TenantId, kind: &'static Kind, tag: &str) {
        if let Some(known) = self.stored(tenant, kind.name, tag) {
            Witness::note(|entry| entry.before = Some(json!({"version": known.version})));
        }
    }

    /// The tenant's resources that name a secret, as `KIND/TAG`.
    #[must_use]
    pub fn naming_secret(&self, tenant: &TenantId, name: &str) -> Vec<String> {
        let all = self.snapshot.load();
        let of_tenant = all.range((tenant.clone(), "", String::new())..).take_while(|((of, ..), _)| of == tenant);
        let naming = of_tenant.filter(|((_, kind, _), known)| {
            let raw = Kind::named(kind).map_or(&[][..], |kind| kind.raw);
            settings::secrets(&known.settings, raw).contains(name)
        });
        naming.map(|((_, kind, tag), _)| format!("{kind}/{tag}")).collect()
    }

    /// The tenant's syncs of which `uses` is true, as `syncs/TAG`.
    #[must_use]
    pub fn syncs_that(&self, tenant: &TenantId, uses: impl Fn(&SyncSettings) -> bool) -> Vec<String> {
        let all = self.list(tenant, "syncs");
        let uses = |known: &&StoredResource| {
            serde_json::from_value::<SyncSettings>(known.settings.clone()).is_ok_and(|sync| uses(&sync))
        };
        all.iter().filter(uses).map(|known| format!("syncs/{}", known.tag)).collect()
    }

    /// Tries the connection, with the settings of `env`; `None` where there is no such resource.
    pub async fn check(&self, tenant: &TenantId, kind: &str, tag: &str, env: &str) -> Option<Check> {
        let kind = Kind::named(kind)?;
        let settings = match self.settings(tenant, kind, tag, env)? {
            Ok(settings) => settings,
            Err(failure) => return Some(Check { ok: false, detail: failure.message }),
        };
        Some(match (kind.connect)(self.connections.clone(), settings).await {
            Ok(detail) => Check { ok: true, detail },
            Err(detail) => Check { ok: false, detail },
        })
    }

    /// The settings of `env`, as an action uses them. `None` where there is no such resource.
    pub fn resolve<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        tenant: &TenantId,
        kind: &str,
        tag: &str,
        env: &str,
    ) -> Option<Result<Arc<Resolved<T>>, Failure>> {
        let kind = Kind::named(kind)?;
        // Read before the settings are: what changes meanwhile is kept for a snapshot that nobody asks for again.
        let of = self.snapshot.load_full();
        let place = (tenant.clone(), kind.name, tag.to_owned(), env.to_owned());
        if let Some(kept) = self.kept.get(&of, &place) {
            return Some(Ok(kept));
        }
        Some(self.settings(tenant, kind, tag, env)?.and_then(|settings| {
            let identity = Identity::of(tenant, kind.name, tag, &settings);
            let settings = serde_json::from_value(settings).map_err(|error| {
                Failure::new(
                    "RESOURCE_INVALID",
                    format!("{} `{tag}`: {error}; PUT /api/v1/{}/{tag} mends it", kind.name, kind.name),
                )
            })?;
            let resolved = Arc::new(Resolved { settings, identity });
            self.kept.put(&of, place, resolved.clone());
            Ok(resolved)
        }))
    }

    /// The secrets of all tenants.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        Secrets::new(self.vault.clone(), self.snapshot.clone())
    }

    /// What connections are made through.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    fn stored(&self, tenant: &TenantId, kind: &'static str, tag: &str) -> Option<Arc<StoredResource>> {
        self.snapshot.load().get(&(tenant.clone(), kind, tag.to_owned())).cloned()
    }

    /// Unsealed, of the environment, secrets filled in.
    fn settings(&self, tenant: &TenantId, kind: &Kind, tag: &str, env: &str) -> Option<Result<Value, Failure>> {
        let known = self.stored(tenant, kind.name, tag)?;
        let named =
            |failure: Failure| Failure { message: format!("{} `{tag}`: {}", kind.name, failure.message), ..failure };
        let unsealed = sealing::open_all(&self.vault, tenant, kind.name, &known);
        Some(
            unsealed
                .map(|settings| (kind.normal)(settings::of_env(settings, env)))
                .and_then(|mut settings| {
                    let secrets = self.secrets();
                    settings::fill_in(&mut settings, kind.raw, &|name| secrets.get_in(tenant, name, env))?;
                    Ok(settings)
                })
                .map_err(named),
        )
    }

    fn open(&self, tenant: &TenantId, kind: &Kind, known: &StoredResource) -> Option<Value> {
        sealing::open_all(&self.vault, tenant, kind.name, known).ok()
    }

    async fn write(
        &self,
        tenant: &TenantId,
        kind: &'static Kind,
        tag: &str,
        mut settings: Value,
    ) -> Result<(StoredResource, bool), Error> {
        let made = kind.take_made(&mut settings);
        let mut mistakes = tag_mistakes(kind, tag);
        mistakes.extend(kind.mistakes(&settings));
        if !kind.hidden {
            mistakes.extend(sealing::unopenable(&self.vault, tenant, kind.name, tag, &settings));
        }
        if !mistakes.is_empty() {
            return Err(Error::Invalid(mistakes));
        }
        let settings = if kind.hidden {
            sealing::seal_whole(&self.vault, tenant, kind.name, tag, &settings)
        } else {
            sealing::seal_passwords(&self.vault, tenant, kind.name, tag, settings)
        };
        let settings = self.put_made(tenant, kind, tag, settings, made);
        self.note_before(tenant, kind, tag);
        let (stored, created) = self.store.put_resource(tenant, kind.name, tag, settings, self.clock.now()).await?;
        let shown = kind.shown(&stored);
        self.change(|all| {
            all.insert((tenant.clone(), kind.name, tag.to_owned()), Arc::new(stored));
        });
        Ok((shown, created))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<Key, Arc<StoredResource>>)) {
        let mut all = BTreeMap::clone(&self.snapshot.load());
        change(&mut all);
        self.snapshot.store(Arc::new(all));
    }
}

impl std::hash::Hash for Identity {
    /// A part of the digest is enough: settings differ from one resource to the next, and where they do not, the comparison
    /// tells. Asked for with every attempt.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(&self.digest[..8]);
    }
}

impl Identity {
    /// Of these settings.
    #[must_use]
    pub fn of(tenant: &TenantId, kind: &str, tag: &str, settings: &Value) -> Self {
        use sha2::{Digest, Sha256};
        let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(settings.to_string()).finalize();
        Self { tenant: tenant.clone(), tag: tag.to_owned(), digest: digest.into() }
    }
}

/// A secret's name may be what environment variables are called; every other tag is a tag.
fn tag_mistakes(kind: &Kind, tag: &str) -> Vec<Mistake> {
    let secret = |tag: &str| {
        (1..=128).contains(&tag.len())
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    let (fits, wanted) = if kind.hidden {
        (secret(tag), "1 to 128 letters, digits, `_`, `-` or `.`")
    } else {
        (is_tag(tag), "`[a-z0-9][a-z0-9._-]{0,127}`")
    };
    if fits { Vec::new() } else { vec![Mistake::new("/tag", format!("the tag must be {wanted}"))] }
}

/// An object with one member.
pub(crate) fn single(settings: &Value, key: &str) -> Option<Value> {
    let fields: &Map<String, Value> = settings.as_object()?;
    if fields.len() == 1 { fields.get(key).cloned() } else { None }
}
