//! Actions against real receivers: HTTP and SMTP servers on sockets, a real redis-server, the embedded store.
#![allow(clippy::unwrap_used, missing_docs)]

mod broker_and_cache;
mod callback;
mod custom;
mod databases;
mod egress;
mod email;
mod harness;
mod http;
mod push;
mod resources;
mod rotation;
mod sms;
mod storage;
