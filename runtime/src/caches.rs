//! The tenants' caches by tag: JSON texts under keys, in this process or in Redis.
//!
//! The tags `memory` and `default` exist without being configured, each tenant with its own.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use triggerd_core::id::TenantId;

use crate::connections::memory;
use crate::connections::redis::{Connection, Error, Server, unlink_matching};
use crate::failed::Failed;
use crate::glob;
use crate::resources::{self, Resolved, Resources};

/// The longest key.
pub const MAX_KEY: usize = 4096;

/// The caches of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Caches {
    resources: Arc<Resources>,
}

/// Which cache: whose, by what tag, for events of which environment.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// The environment, which may have settings of its own; empty for none.
    pub env: &'a str,
    /// Its tag.
    pub tag: &'a str,
}

enum Place {
    Memory { max_bytes: u64 },
    Redis { resolved: Arc<Resolved<resources::Cache>>, server: Server },
}

impl Caches {
    /// Those that `resources` configures.
    #[must_use]
    pub fn new(resources: Arc<Resources>) -> Self {
        Self { resources }
    }

    /// The value of a key; `None` where there is none.
    pub async fn get(&self, name: Name<'_>, key: &str) -> Result<Option<Value>, Failed> {
        let text = match self.place(name, key)? {
            Place::Memory { max_bytes } => {
                self.memory().get(name.tenant, name.tag, max_bytes, key).await.map(|text| text.to_string())
            }
            Place::Redis { resolved, server } => {
                let key = resolved.settings.prefix.clone() + key;
                let get = async move |mut c: Connection| redis::cmd("GET").arg(key).query_async(&mut c).await;
                self.redis(name, &resolved, &server, get).await?
            }
        };
        // What somebody else wrote there may be no JSON: it is a text then.
        Ok(text.map(|text: String| serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Stores a value, for ever or for a while.
    pub async fn set(&self, name: Name<'_>, key: &str, value: &Value, ttl: Option<Duration>) -> Result<(), Failed> {
        let text = value.to_string();
        match self.place(name, key)? {
            Place::Memory { max_bytes } => {
                self.memory().set(name.tenant, name.tag, max_bytes, key.to_owned(), &text, ttl).await;
                Ok(())
            }
            Place::Redis { resolved, server } => {
                let mut command = redis::cmd("SET");
                command.arg(resolved.settings.prefix.clone() + key).arg(text);
                if let Some(ttl) = ttl {
                    command.arg("PX").arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
                }
                self.redis(name, &resolved, &server, async move |mut c| command.query_async(&mut c).await).await
            }
        }
    }

    /// Removes a key; whether it was there.
    pub async fn delete(&self, name: Name<'_>, key: &str) -> Result<bool, Failed> {
        match self.place(name, key)? {
            Place::Memory { max_bytes } => Ok(self.memory().delete(name.tenant, name.tag, max_bytes, key).await),
            Place::Redis { resolved, server } => {
                let key = resolved.settings.prefix.clone() + key;
                let delete = async move |mut c: Connection| redis::cmd("DEL").arg(key).query_async(&mut c).await;
                self.redis(name, &resolved, &server, delete).await
            }
        }
    }

    /// Removes every key that fits the glob; how many there were.
    pub async fn invalidate(&self, name: Name<'_>, pattern: &str) -> Result<u64, Failed> {
        match self.place(name, pattern)? {
            Place::Memory { max_bytes } => {
                let fits = |key: &str| glob::fits(pattern, key);
                Ok(self.memory().invalidate(name.tenant, name.tag, max_bytes, fits).await)
            }
            Place::Redis { resolved, server } => {
                let pattern = glob::escape(&resolved.settings.prefix) + pattern;
                self.redis(name, &resolved, &server, async move |c| unlink_matching(c, &pattern).await).await
            }
        }
    }

    fn place(&self, name: Name<'_>, key: &str) -> Result<Place, Failed> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(Failed::permanent(
                "CONFIG_INVALID",
                format!("/key: a key has 1 to {MAX_KEY} bytes, not {}", key.len()),
            ));
        }
        let Some(resolved) = self.resources.resolve(name.tenant, "caches", name.tag, name.env) else {
            return match name.tag {
                "memory" | "default" => Ok(Place::Memory { max_bytes: memory::DEFAULT_BYTES }),
                tag => Err(Failed::no_resource("caches", tag)),
            };
        };
        let resolved: Arc<Resolved<resources::Cache>> = resolved?;
        Ok(match resolved.settings.server() {
            Some(server) => Place::Redis { resolved, server },
            None => Place::Memory { max_bytes: resolved.settings.max_bytes.unwrap_or(memory::DEFAULT_BYTES) },
        })
    }

    fn memory(&self) -> &memory::Caches {
        &self.resources.connections().memory
    }

    async fn redis<T, F>(
        &self,
        name: Name<'_>,
        resolved: &Resolved<resources::Cache>,
        server: &Server,
        command: F,
    ) -> Result<T, Failed>
    where
        F: AsyncFnOnce(Connection) -> Result<T, redis::RedisError>,
    {
        let answer = self.resources.connections().redis.run(&resolved.identity, server, command).await;
        answer.map_err(|error: Error| {
            let code = error.code("CACHE_UNAVAILABLE", "CACHE_REFUSED");
            let message = format!("cache `{}`: {error}", name.tag);
            if error.is_permanent() { Failed::permanent(code, message) } else { Failed::transient(code, message) }
        })
    }
}
