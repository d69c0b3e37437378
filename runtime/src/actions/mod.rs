//! What a trigger can do: one file per family, one line each in [`KINDS`].
//!
//! An action ends [`Outcome::Done`], [`Outcome::Retry`] or [`Outcome::Dead`]; a failure is never `Done`. It runs
//! outside of any transaction or lock, may be run again after a crash, and carries the same delivery id then.

mod broker;
mod cache;
mod callback;
mod context;
mod custom;
mod database;
mod email;
mod emit;
mod guest_services;
mod http;
mod log;
mod notification;
mod push;
mod recipients;
pub mod record;
mod registry;
mod sms;
mod storage;
mod subscription;
mod sync;
mod trace;
mod uses;

use std::future::Future;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use triggerd_core::catalog::Place;
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;

pub use context::{Context, Emit, Emitted, Excerpt, MAX_EXCERPT, Places, Services, Settings, Settle};
pub use guest_services::GuestServices;
pub use registry::{Internal, Kind, Ready, Registry};
pub use subscription::send_once;
pub use trace::Hop;
pub use uses::{Use, granted};

/// Every action type. A new one is a file and its lines here.
pub const KINDS: &[Kind] = &[
    Kind::of::<broker::Publish>(),
    Kind::of::<cache::Delete>(),
    Kind::of::<cache::Invalidate>(),
    Kind::of::<cache::Set>(),
    Kind::of::<callback::Callback>(),
    Kind::of::<custom::Custom>(),
    Kind::of::<database::Delete>(),
    Kind::of::<database::Insert>(),
    Kind::of::<database::Update>(),
    Kind::of::<database::Upsert>(),
    Kind::of::<email::Email>(),
    Kind::of::<emit::Emit>(),
    Kind::of::<http::Delete>(),
    Kind::of::<http::Get>(),
    Kind::of::<http::Patch>(),
    Kind::of::<http::Post>(),
    Kind::of::<http::Put>(),
    Kind::of::<log::Create>(),
    Kind::of::<log::Debug>(),
    Kind::of::<log::Error>(),
    Kind::of::<log::Info>(),
    Kind::of::<log::Warn>(),
    Kind::of::<push::Push>(),
    Kind::of::<record::Reject>(),
    Kind::of::<record::Set>(),
    Kind::of::<storage::Copy>(),
    Kind::of::<storage::Delete>(),
    Kind::of::<storage::Upload>(),
    Kind::of::<sms::Sms>(),
];

/// Types of triggers that this program makes itself: nobody can write them, and no list shows them.
const INTERNAL: &[Kind] = &[Kind::of::<subscription::Deliver>(), Kind::of::<sync::Apply>()];

/// One action type.
pub trait Action: 'static {
    /// Its name in definitions: `http.post`.
    const KIND: &'static str;
    /// Other names it goes by.
    const ALIASES: &'static [&'static str] = &[];
    /// It is for before-events only.
    const BEFORE_ONLY: bool = false;
    /// It looks at the event beyond what its templates insert: then all of a changed row is captured for it.
    const READS_EVENT: bool = true;
    /// Its settings, after rendering. `deny_unknown_fields`, camelCase as in definitions.md.
    type Config: DeserializeOwned + JsonSchema + Send + 'static;

    /// The setting that is any JSON and may be large: it is handed over as it is, where serde would build it anew.
    const WHOLE: Option<&'static str> = None;

    /// Where the value of [`Self::WHOLE`] goes.
    fn whole(_config: &mut Self::Config) -> Option<&mut Value> {
        None
    }

    /// Whether an alias with these settings means this type (`CUSTOM_HTTP` with `method`).
    fn claims(_alias: &str, _config: &Value) -> bool {
        true
    }

    /// Mistakes in unrendered settings beyond what the schema says, with pointers from the settings' root.
    fn check(_config: &Value) -> Vec<Mistake> {
        Vec::new()
    }

    /// Where the value rendered at `pointer` of the settings ends up.
    fn place(_config: &Value, _pointer: &str) -> Place {
        Place::Plain
    }

    /// The resources that unrendered settings name by a literal tag: while a trigger uses them, they cannot be deleted.
    /// Secrets in templates are found without it.
    fn uses(_config: &Value) -> Vec<Use> {
        Vec::new()
    }

    /// The destination that in-flight attempts are counted for (`https://host:port`); `None` for what stays inside.
    fn destination(_cx: &Context, _config: &Self::Config) -> Option<String> {
        None
    }

    /// One attempt. Called once per attempt, cancelled (dropped) at the action's timeout.
    fn run(cx: Context, config: Self::Config) -> impl Future<Output = Outcome> + Send;
}
