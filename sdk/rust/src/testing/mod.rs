//! Runs a guest's functions natively, in `cargo test`, against a host in memory.
//!
//! ```
//! # use triggerd_sdk::{ActionError, Context};
//! # use triggerd_sdk::testing::{TestHost, invocation};
//! # use serde_json::{Value, json};
//! # fn run(cx: Context) -> Result<Value, ActionError> {
//! #     let rate: Value = cx.http().get("https://rates.example/EUR").send()?.success()?.json()?;
//! #     cx.log().info("Fetched");
//! #     Ok(rate)
//! # }
//! let host = TestHost::new().with_http("GET", "https://rates.example/EUR", 200, json!({"USD": 1.1}));
//! let answer = host.call(run, invocation().record(json!({"total": 5})))?;
//! assert_eq!(answer["USD"], json!(1.1));
//! assert_eq!(host.logs()[0].message, "Fetched");
//! # Ok::<(), ActionError>(())
//! ```
//!
//! Every import works as if it were granted; grants and limits are the real host's.

mod host;
mod invocation;
mod memory;

pub use host::{Emitted, Logged, Published, SentRequest, Stated, TestHost};
pub use invocation::{InvocationBuilder, invocation};
