//! `events`: emitting events whose cause is this one.

use super::{answer, read_json};
use crate::wasm::bindings::triggerd::runtime::events::Host;
use crate::wasm::bindings::triggerd::runtime::types::ServiceError;
use crate::wasm::guest::{Forbidden, Guest};
use crate::wasm::services::EmittedEvent;

impl Host for Guest {
    async fn emit(&mut self, event_type: String, payload: String) -> wasmtime::Result<Result<String, ServiceError>> {
        self.admit(self.reach.capabilities.grants_event(&event_type), || {
            Forbidden::new(
                format!("triggerd:runtime/events of {event_type}"),
                format!("\"events\": [\"{event_type}\"]"),
            )
        })?;
        let payload = match read_json("the payload", &payload) {
            Ok(payload) => payload,
            Err(mistake) => return answer::<String, _>(Err(mistake)),
        };
        let index = self.emitted;
        self.emitted += 1;
        let event = EmittedEvent { event_type, payload, index };
        answer(self.reach.ask(move |to, cx| to.emit(cx, event)).await)
    }
}
