//! Actions against real receivers: HTTP and SMTP servers on sockets, real brokers, the embedded store.
#![allow(clippy::unwrap_used, missing_docs)]

mod broker_and_cache;
mod broker_mqtt;
mod broker_nats;
mod broker_rabbitmq;
mod brokers;
mod custom;
mod egress;
mod email;
mod harness;
mod http;
mod resources;
