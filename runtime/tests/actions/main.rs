//! Actions against real receivers: HTTP and SMTP servers on sockets, real redis-servers,
#![allow(clippy::unwrap_used, missing_docs)]

mod broker_and_cache;
mod custom;
mod egress;
mod email;
mod harness;
mod http;
mod redis;
mod resources;
