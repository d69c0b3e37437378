//! Actions against real receivers: HTTP and SMTP servers on sockets, real brokers and databases, librdkafka's mock cluster,
//! the embedded store.
#![allow(clippy::unwrap_used, missing_docs)]

mod broker_and_cache;
mod broker_cloud_events;
mod broker_mqtt;
mod broker_nats;
mod broker_rabbitmq;
mod brokers;
mod callback;
mod capture_wal;
mod custom;
mod databases;
mod docs;
mod egress;
mod email;
mod harness;
mod http;
mod kafka;
mod leaks;
mod push;
mod redis;
mod resources;
mod rotation;
mod sms;
mod storage;
