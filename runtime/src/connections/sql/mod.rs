//! SQL servers and files: connections by resource, through the guard, dropped when they break.

mod fault;
mod link;
mod listener;
mod pool;
mod server;
mod sqlite_files;
mod tunnel;
mod wire;

pub use fault::{DELIVERED, Fault};
pub use link::{Arg, Column, Link, Rows};
pub use listener::Listener;
pub use pool::{Pool, Session};
pub use server::{Engine, Server, Target, TlsMode, url_mistakes};
pub use sqlite_files::SqliteFiles;
pub use wire::Wire;
