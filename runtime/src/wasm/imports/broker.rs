//! `broker`: publishing to the tenant's brokers.

use super::{answer, read_json};
use crate::wasm::bindings::triggerd::runtime::broker::{Host, Message};
use crate::wasm::bindings::triggerd::runtime::types::ServiceError;
use crate::wasm::guest::{Forbidden, Guest};
use crate::wasm::services::{self, BrokerMessage};

impl Host for Guest {
    async fn publish(&mut self, topic: String, message: Message) -> wasmtime::Result<Result<String, ServiceError>> {
        let Some((broker, subject)) = topic.split_once(':') else {
            self.count_call()?;
            let mistake = format!("`{topic}` is not TAG:TOPIC");
            return answer::<String, _>(Err(services::ServiceError::permanent("INVALID_TOPIC", mistake)));
        };
        self.admit(self.reach.capabilities.grants_broker(broker, subject), || {
            Forbidden::new(format!("triggerd:runtime/broker to {topic}"), format!("\"brokers\": [\"{topic}\"]"))
        })?;
        let body = match read_json("the message", &message.body) {
            Ok(body) => body,
            Err(mistake) => return answer::<String, _>(Err(mistake)),
        };
        let index = self.published;
        self.published += 1;
        let message = BrokerMessage {
            broker: broker.to_owned(),
            topic: subject.to_owned(),
            key: message.key,
            headers: message.headers,
            message: body,
            index,
        };
        let confirmed = self.reach.ask(move |to, cx| to.broker_publish(cx, message)).await;
        answer(confirmed.map(|said| said.to_string()))
    }
}
