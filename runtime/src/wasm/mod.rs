//! Custom actions, guards, conditions and transforms as Wasm components, in a sandbox.
//!
//! An upload is looked at ([`Host::inspect`]), compiled off the request path and linked once; every call gets a fresh
//! instance from a pool, runs on threads of its own, and leaves nothing behind. Imports are denied unless
//! [`Capabilities`] grants them, and then asked of the application's [`Services`] on the application's own threads.
//!
//! ```text
//!  upload ── inspect ──► Inspected          call ── slot ──► fresh Store ──► instantiate ──► export
//!                │                                              │ limiter, epochs, wall clock    │
//!                └─ compile ─► Prepared (linked, kept)          └────────── dropped ◄────────────┘
//! ```

mod answer;
mod bindings;
mod cache;
mod call;
mod capabilities;
pub mod code_key;
mod compile;
mod component;
mod cpu;
mod cpu_quotas;
mod engine;
mod failure;
mod grants;
mod guest;
mod habit;
mod host;
mod imports;
mod invocation;
mod limits;
mod logs;
mod services;
mod signature;
mod slots;

pub use answer::{GuardVerdict, GuestAnswer};
pub use bindings::triggerd::runtime::types::Invocation;
pub use call::{Call, CallReport, Export};
pub use capabilities::Capabilities;
pub use component::{Inspected, MAX_UPLOAD_BYTES, Refusal, RefusalCode, digest};
pub use cpu_quotas::{CpuQuotas, Untold};
pub use failure::CallError;
pub use host::{CodeCacheConfig, Host, HostConfig, Prepared};
pub use limits::Limits;
pub use logs::LogLine;
pub use services::{
    Answer, BrokerMessage, DatabaseQuestion, EmittedEvent, HttpRequest, HttpResponse, ServiceContext, ServiceError,
    Services, StateEntry,
};
