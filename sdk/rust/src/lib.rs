//! Write triggerd actions, guards, conditions and transforms in Rust.
//!
//! A guest is a library of `crate-type = ["cdylib"]` with a plain function and an attribute:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use triggerd_sdk::{ActionError, Context};
//!
//! #[derive(Deserialize)]
//! struct Input { total: f64 }
//!
//! #[derive(Serialize, Debug, PartialEq)]
//! struct Score { touches: u32, large: bool }
//!
//! #[triggerd_sdk::action]
//! fn run(cx: Context<Input>) -> Result<Score, ActionError> {
//!     let touches = cx.state().update("touches", None, |n: Option<u32>| n.unwrap_or(0) + 1)?;
//!     Ok(Score { touches, large: cx.input.total > 1000.0 })
//! }
//!
//! // The same function runs natively, against a host in memory:
//! use triggerd_sdk::testing::{TestHost, invocation};
//! let host = TestHost::new();
//! let call = invocation().input(serde_json::json!({"total": 1200}));
//! assert_eq!(host.call(run, call).unwrap(), Score { touches: 1, large: true });
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes a component of it. What a guest imports
//! is what it uses, and each import has to be granted where the guest is used, except the log.
//!
//! | attribute | function | answers |
//! | --- | --- | --- |
//! | [`macro@action`] | does something for an event | `Result<T, ActionError>`, `T: Serialize` |
//! | [`macro@guard`] | looks at a write that is still to come | `Result<Verdict, ActionError>` |
//! | [`macro@condition`] | says whether an event is wanted | `Result<bool, ActionError>` |
//! | [`macro@transform`] | makes another event of an event, or drops it | `Result<Option<Event>, ActionError>` |
//!
//! A component may hold one of each.

// The generated bindings name this crate as a guest does.
#[cfg(target_family = "wasm")]
extern crate self as triggerd_sdk;

mod call;
mod context;
mod error;
mod event;
mod host;
mod invocation;
mod services;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod verdict;

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod guest;

pub use context::Context;
pub use error::{ActionError, Retry, ServiceError};
pub use event::{Change, Event};
pub use invocation::Invocation;
pub use services::broker::{Broker, Message};
pub use services::cache::Cache;
pub use services::database::Database;
pub use services::events::Events;
pub use services::http::{Http, Request, Response};
pub use services::log::{Level, Log};
pub use services::secrets::Secrets;
pub use services::state::{Entry, State};
pub use triggerd_sdk_macros::{action, condition, guard, transform};
pub use verdict::Verdict;

/// What the attributes expand to; not for use by hand.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{action, condition, guard, rt, transform};
    pub use crate::guest::{run_action, run_condition, run_guard, run_transform};
}

/// Compiles and runs what the README shows.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
