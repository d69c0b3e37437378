//! `secrets`: single secrets, by name.

use super::answer;
use crate::wasm::bindings::triggerd::runtime::secrets::Host;
use crate::wasm::bindings::triggerd::runtime::types::ServiceError;
use crate::wasm::guest::{Forbidden, Guest};

impl Host for Guest {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, ServiceError>> {
        self.admit(self.reach.capabilities.grants_secret(&name), || {
            Forbidden::new(format!("triggerd:runtime/secrets of {name}"), format!("\"secrets\": [\"{name}\"]"))
        })?;
        answer(self.reach.ask(move |to, cx| Box::pin(async move { to.secret(cx, &name).await })).await)
    }
}
