//! Actions against real receivers: HTTP and SMTP servers on sockets, a real redis-server, the embedded store.
#![allow(clippy::unwrap_used, missing_docs)]

mod broker_and_cache;
mod custom;
mod databases;
mod egress;
mod email;
mod harness;
mod http;
mod resources;
mod rotation;
mod storage;
