//! `state`: durable key-value pairs of the component and tenant.

use super::{answer, seconds};
use crate::wasm::bindings::triggerd::runtime::state::{Entry, Host};
use crate::wasm::bindings::triggerd::runtime::types::ServiceError;
use crate::wasm::guest::{Forbidden, Guest};
use crate::wasm::services::StateEntry;

type Answered<T> = wasmtime::Result<Result<T, ServiceError>>;

impl Guest {
    fn admit_state(&self) -> wasmtime::Result<()> {
        self.admit(self.reach.capabilities.grants_state(), || {
            Forbidden::new("triggerd:runtime/state", "\"state\": true")
        })
    }
}

impl From<StateEntry> for Entry {
    fn from(entry: StateEntry) -> Self {
        Self { value: entry.value, version: entry.version }
    }
}

impl Host for Guest {
    async fn get(&mut self, key: String) -> Answered<Option<Entry>> {
        self.admit_state()?;
        let found = self.reach.ask(move |to, cx| Box::pin(async move { to.state_get(cx, &key).await })).await;
        answer(found.map(|entry| entry.map(Entry::from)))
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_seconds: Option<u64>) -> Answered<u64> {
        self.admit_state()?;
        let ttl = seconds(ttl_seconds);
        answer(self.reach.ask(move |to, cx| Box::pin(async move { to.state_set(cx, &key, value, ttl).await })).await)
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl_seconds: Option<u64>,
    ) -> Answered<Option<u64>> {
        self.admit_state()?;
        let ttl = seconds(ttl_seconds);
        let question = self
            .reach
            .ask(move |to, cx| Box::pin(async move { to.state_compare_and_set(cx, &key, expected, value, ttl).await }));
        answer(question.await)
    }

    async fn delete(&mut self, key: String) -> Answered<bool> {
        self.admit_state()?;
        answer(self.reach.ask(move |to, cx| Box::pin(async move { to.state_delete(cx, &key).await })).await)
    }
}
