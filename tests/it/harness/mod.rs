//! What the tests stand on: the real server, a client, and the systems that the server talks to.

mod api;
mod cli;
mod definitions;
mod guests;
mod ledger;
mod listener;
mod pgbouncer;
mod ports;
mod receiver;
mod redis;
mod server;
mod shared;
mod smtp;
/// The same database servers that the tests of actions start.
#[allow(dead_code)]
#[path = "../../../runtime/tests/actions/harness/sql_server.rs"]
pub mod sql_server;
pub mod store;
mod wait;

pub use api::{Answer, Api};
pub use cli::Cli;
pub use definitions::{after_insert, call, change, fast, on};
pub use guests::{guest, guest_examples};
pub use ledger::Ledger;
pub use listener::Listener;
pub use pgbouncer::PgBouncer;
pub use ports::free_port;
pub use receiver::{Receiver, Reply, Seen};
pub use redis::Redis;
pub use server::{ADMIN_KEY, Server, Settings, signal};
pub use shared::{Home, database, home};
pub use smtp::{Mail, Smtp, SmtpSettings, python};
pub use wait::{PATIENCE, eventually};
