//! `cache`: the tenant's caches, by tag.

use super::{answer, read_json, seconds};
use crate::wasm::bindings::triggerd::runtime::cache::Host;
use crate::wasm::bindings::triggerd::runtime::types::ServiceError;
use crate::wasm::guest::{Forbidden, Guest};

type Answered<T> = wasmtime::Result<Result<T, ServiceError>>;

impl Guest {
    fn admit_cache(&self, tag: &str) -> wasmtime::Result<()> {
        self.admit(self.reach.capabilities.grants_cache(tag), || {
            Forbidden::new(format!("triggerd:runtime/cache of {tag}"), format!("\"caches\": [\"{tag}\"]"))
        })
    }
}

impl Host for Guest {
    async fn get(&mut self, cache: String, key: String) -> Answered<Option<String>> {
        self.admit_cache(&cache)?;
        let found = self.reach.ask(move |to, cx| Box::pin(async move { to.cache_get(cx, &cache, &key).await })).await;
        answer(found.map(|value| value.map(|value| value.to_string())))
    }

    async fn set(&mut self, cache: String, key: String, value: String, ttl_seconds: Option<u64>) -> Answered<()> {
        self.admit_cache(&cache)?;
        let ttl = seconds(ttl_seconds);
        let value = match read_json("the value", &value) {
            Ok(value) => value,
            Err(mistake) => return answer::<(), _>(Err(mistake)),
        };
        answer(
            self.reach
                .ask(move |to, cx| Box::pin(async move { to.cache_set(cx, &cache, &key, value, ttl).await }))
                .await,
        )
    }

    async fn delete(&mut self, cache: String, key: String) -> Answered<bool> {
        self.admit_cache(&cache)?;
        answer(self.reach.ask(move |to, cx| Box::pin(async move { to.cache_delete(cx, &cache, &key).await })).await)
    }

    async fn invalidate(&mut self, cache: String, pattern: String) -> Answered<u64> {
        self.admit_cache(&cache)?;
        let question =
            self.reach.ask(move |to, cx| Box::pin(async move { to.cache_invalidate(cx, &cache, &pattern).await }));
        answer(question.await)
    }
}
