//! Who calls, in which tenant, and what they may do.
//!
//! All tenants and keys are held in memory: a request is let in or refused without the store. Changes are stored
//! first and take effect in memory after that, at once.

mod admin_key;
mod bad_keys;
pub mod key;
mod keys;
mod limit;
mod pot;
mod quotas;
mod rate;
mod redis_pot;
mod scope;
mod share;
mod stored_events;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use triggerd_core::id::TenantId;

use crate::clock::Clock;
use crate::config::Config;
use crate::store::{self, Store, StoredKey, StoredTenant, Witness};

use limit::Limit;
use pot::Pot;
use redis_pot::RedisPot;
use stored_events::StoredEvents;

pub use admin_key::AdminKey;
pub use keys::{Rotated, WantedKey};
pub use limit::Verdicts;
pub use quotas::Quotas;
pub use rate::Verdict;
pub use scope::{Scope, Scopes};

/// `rate_limit` of a stored tenant that has none of its own.
pub const NO_OWN_LIMIT: u32 = u32::MAX;

/// Events per second of tenants made over the API, unless the configuration says otherwise.
const DEFAULT_RATE: u32 = 1000;

/// A digest that no key has: compared with where there is no key, so that both cases take the same time.
const NO_DIGEST: [u8; 32] = [0; 32];

/// Why access could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The admin key's file cannot be read or written.
    #[error("the admin key: {0}")]
    AdminKey(#[from] io::Error),
    /// The Redis server of the rates is not one that can be used.
    #[error("`rate_limit_redis`: {0}")]
    Redis(String),
}

/// All tenants and keys.
pub struct Access {
    store: Store,
    clock: Clock,
    /// The configured rate of tenants without a limit of their own.
    rate_limit: Option<u32>,
    admin_digest: [u8; 32],
    tenants: DashMap<Arc<str>, Arc<Tenant>>,
    keys: DashMap<String, Arc<Key>>,
    started: Instant,
    /// Where nodes take their rates from.
    pot: Pot,
    bad_keys: bad_keys::BadKeys,
    /// Held while a tenant or a key changes, and while one is read anew: two requests cannot both find a name free, and what was
    /// read before a change does not come into force after it.
    change: tokio::sync::Mutex<()>,
}

/// A tenant in force.
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    stored: ArcSwap<StoredTenant>,
    limit: Limit,
    /// How many events it has stored, where it may have so many and no more.
    pub events: StoredEvents,
}

/// A key in force.
struct Key {
    stored: StoredKey,
    scopes: Scopes,
    tenant: Arc<Tenant>,
    /// Its own, where it has one.
    limit: Option<Arc<Limit>>,
}

/// Somebody who was let in.
#[derive(Clone)]
pub struct Caller {
    /// The tenant that the request acts in.
    pub tenant: TenantId,
    /// It is the operator: the admin key.
    pub is_operator: bool,
    /// The same tenant with its limits.
    pub limits: Arc<Tenant>,
    scopes: Scopes,
    /// `None` for the admin key.
    key: Option<Arc<Key>>,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// No key was sent.
    NoKey,
    /// The key is unknown, wrong, revoked or expired.
    BadKey,
    /// The admin key named a tenant that there is not.
    UnknownTenant,
}

impl Access {
    /// Reads all tenants and keys; makes the tenant `default` and the admin key where there are none yet.
    pub async fn load(store: Store, clock: Clock, config: &Config) -> Result<(Self, AdminKey), Error> {
        let admin = admin_key::load_or_make(config)?;
        let redis = config.access.rate_limit_redis.as_ref().map(RedisPot::new).transpose().map_err(Error::Redis)?;
        let access = Self {
            admin_digest: key::digest(admin.key.expose()),
            rate_limit: config.access.rate_limit,
            tenants: DashMap::new(),
            keys: DashMap::new(),
            started: Instant::now(),
            pot: Pot::new(store.clone(), redis),
            bad_keys: bad_keys::BadKeys::default(),
            change: tokio::sync::Mutex::default(),
            store,
            clock,
        };
        access.reload().await?;
        if access.tenant(TenantId::DEFAULT).is_none() {
            access.put_tenant(access.new_tenant(TenantId::new(TenantId::DEFAULT))).await?;
        }
        Ok((access, admin))
    }

    /// Names the admin key without giving it away.
    #[must_use]
    pub fn admin_digest(&self) -> String {
        hex::encode(self.admin_digest)
    }

    /// Reads all tenants and keys anew: another node has changed more of them than it is known which.
    pub async fn reload(&self) -> Result<(), store::Error> {
        let _one_at_a_time = self.change.lock().await;
        for tenant in self.store.tenants().await? {
            self.hold_tenant(tenant);
        }
        let stored = self.store.keys_all().await?;
        let known: HashSet<&str> = stored.iter().map(|key| key.id.as_str()).collect();
        self.keys.retain(|id, _| known.contains(id.as_str()));
        for key in stored {
            self.hold_key(key);
        }
        Ok(())
    }

    /// Reads a tenant anew, which another node has changed.
    pub async fn refresh_tenant(&self, id: &TenantId) -> Result<(), store::Error> {
        let _one_at_a_time = self.change.lock().await;
        if let Some(tenant) = self.store.tenant(id).await? {
            self.hold_tenant(tenant);
        }
        Ok(())
    }

    /// Reads a tenant's key anew, which another node has made or revoked.
    pub async fn refresh_key(&self, tenant: &TenantId, id: &str) -> Result<(), store::Error> {
        let _one_at_a_time = self.change.lock().await;
        match self.store.keys(tenant).await?.into_iter().find(|key| key.id == id) {
            Some(key) => self.hold_key(key),
            // Only its own: whoever asks for another tenant's key to be revoked has changed nothing, and is told of all the same.
            None => drop(self.keys.remove_if(id, |_, key| key.stored.tenant == *tenant)),
        }
        Ok(())
    }

    /// Lets in or refuses who sent `presented`; `tenant` is what the admin key asks to act in.
    pub fn authenticate(&self, presented: Option<&str>, tenant: Option<&str>) -> Result<Caller, Denied> {
        let presented = presented.ok_or(Denied::NoKey)?;
        let digest = key::digest(presented);
        if bool::from(digest.ct_eq(&self.admin_digest)) {
            let tenant = self.tenant(tenant.unwrap_or(TenantId::DEFAULT)).ok_or(Denied::UnknownTenant)?;
            let id = tenant.id.clone();
            return Ok(Caller { tenant: id, is_operator: true, limits: tenant, key: None, scopes: Scopes::ALL });
        }
        let known = key::id_of(presented).and_then(|id| self.keys.get(id).map(|key| key.clone()));
        let wanted = known.as_ref().map_or(&NO_DIGEST, |key| &key.stored.digest);
        let is_right = bool::from(digest.ct_eq(wanted));
        let now = self.clock.now();
        match known.filter(|key| is_right && key.stored.expires_at.is_none_or(|end| now < end)) {
            Some(key) => Ok(Caller {
                tenant: key.tenant.id.clone(),
                is_operator: false,
                limits: key.tenant.clone(),
                scopes: key.scopes,
                key: Some(key),
            }),
            None => Err(Denied::BadKey),
        }
    }

    /// Counts a bad key from `address`; how long it is to wait, where it has sent too many.
    pub fn note_bad_key(&self, address: IpAddr) -> Option<Duration> {
        self.bad_keys.note(address, self.started.elapsed())
    }

    /// Takes one request of the caller's rates: the key's own, and its tenant's where that lets it.
    pub async fn take(&self, caller: &Caller) -> Verdicts {
        let mut verdicts = Verdicts::default();
        if let Some(limit) = caller.own_limit() {
            verdicts.key = limit.take(&self.pot, self.started).await;
            if verdicts.refusal().is_some() {
                return verdicts;
            }
        }
        verdicts.tenant = self.take_of(&caller.limits).await.tenant;
        verdicts
    }

    /// Takes one request of a tenant's rate: of one that came without a key.
    pub async fn take_of(&self, tenant: &Tenant) -> Verdicts {
        Verdicts { key: None, tenant: tenant.limit.take(&self.pot, self.started).await }
    }

    /// Charges the caller for `more` events of a request that was let in.
    pub async fn charge(&self, caller: &Caller, more: u64) {
        if let Some(limit) = caller.own_limit() {
            limit.charge(&self.pot, self.started, more).await;
        }
        caller.limits.limit.charge(&self.pot, self.started, more).await;
    }

    /// Whether the Redis server of the rates answers; `None` where none is set.
    #[must_use]
    pub fn redis_is_up(&self) -> Option<bool> {
        self.pot.redis_is_up()
    }

    /// A tenant by name.
    #[must_use]
    pub fn tenant(&self, id: &str) -> Option<Arc<Tenant>> {
        self.tenants.get(id).map(|tenant| tenant.clone())
    }

    /// Every tenant, by name.
    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        let mut all: Vec<Arc<Tenant>> = self.tenants.iter().map(|entry| entry.value().clone()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Those that have a quota of anything, in no order.
    #[must_use]
    pub fn tenants_with_quotas(&self) -> Vec<Arc<Tenant>> {
        let has_one = |tenant: &Arc<Tenant>| tenant.quotas() != Quotas::default();
        self.tenants.iter().filter(|entry| has_one(entry.value())).map(|entry| entry.value().clone()).collect()
    }

    /// A tenant that is not stored yet: no limit of its own, no quotas.
    #[must_use]
    pub fn new_tenant(&self, id: TenantId) -> StoredTenant {
        let name = id.to_string();
        let quotas = Value::Object(serde_json::Map::new());
        StoredTenant { id, name, rate_limit: NO_OWN_LIMIT, quotas, created_at: self.clock.now() }
    }

    /// Stores a new tenant; `None` where there is one of that name.
    pub async fn make_tenant(&self, tenant: StoredTenant) -> Result<Option<Arc<Tenant>>, store::Error> {
        let _one_at_a_time = self.change.lock().await;
        if self.tenant(tenant.id.as_str()).is_some() {
            return Ok(None);
        }
        self.keep_tenant(tenant).await.map(Some)
    }

    /// Stores a tenant, new or changed; its limits hold at once.
    pub async fn put_tenant(&self, tenant: StoredTenant) -> Result<Arc<Tenant>, store::Error> {
        let _one_at_a_time = self.change.lock().await;
        self.keep_tenant(tenant).await
    }

    async fn keep_tenant(&self, tenant: StoredTenant) -> Result<Arc<Tenant>, store::Error> {
        Witness::note(|entry| {
            entry.before = self.tenant(tenant.id.as_str()).map(|held| told_of_tenant(&held.stored()));
            entry.after = Some(told_of_tenant(&tenant));
        });
        self.store.put_tenant(tenant.clone()).await?;
        let held = self.hold_tenant(tenant);
        if let Some(most) = held.events.most() {
            let mark = held.events.mark();
            held.events.correct(mark, self.store.count_events(&held.id, most.saturating_add(1)).await?);
        }
        Ok(held)
    }

    /// The events per second that hold for a stored tenant; 0 is no limit.
    #[must_use]
    pub fn effective_rate(&self, tenant: &StoredTenant) -> u32 {
        match (tenant.rate_limit, self.rate_limit) {
            (NO_OWN_LIMIT, Some(configured)) => configured,
            (NO_OWN_LIMIT, None) if tenant.id.as_str() == TenantId::DEFAULT => 0,
            (NO_OWN_LIMIT, None) => DEFAULT_RATE,
            (own, _) => own,
        }
    }

    fn hold_tenant(&self, stored: StoredTenant) -> Arc<Tenant> {
        let rate = self.effective_rate(&stored);
        let entry = self.tenants.entry(stored.id.0.clone());
        let held = entry.or_insert_with(|| {
            let id = stored.id.clone();
            let limit = Limit::new(id.to_string(), rate);
            let events = StoredEvents::default();
            Arc::new(Tenant { id, limit, events, stored: ArcSwap::from_pointee(stored.clone()) })
        });
        held.limit.set(rate);
        held.events.limit(Quotas::of(&stored.quotas).max_events);
        held.stored.store(Arc::new(stored));
        held.clone()
    }
}

/// What the audit log tells of a tenant.
fn told_of_tenant(tenant: &StoredTenant) -> Value {
    let rate_limit = (tenant.rate_limit != NO_OWN_LIMIT).then_some(tenant.rate_limit);
    json!({"tenant": tenant.id.as_str(), "name": tenant.name, "rate_limit": rate_limit, "quotas": tenant.quotas})
}

impl Tenant {
    /// What is stored of it.
    #[must_use]
    pub fn stored(&self) -> Arc<StoredTenant> {
        self.stored.load_full()
    }

    /// How much it may have.
    #[must_use]
    pub fn quotas(&self) -> Quotas {
        Quotas::of(&self.stored.load().quotas)
    }
}

impl Caller {
    /// Whether the caller has one of these scopes.
    #[must_use]
    pub fn has_any(&self, scopes: &[Scope]) -> bool {
        self.scopes.has_any(scopes)
    }

    /// Names the key without giving it away; `admin` is the admin key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.key.as_ref().map_or("admin", |key| &key.stored.id)
    }

    fn own_limit(&self) -> Option<&Limit> {
        self.key.as_ref()?.limit.as_deref()
    }
}
