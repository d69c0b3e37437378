//! Webhook subscriptions: a URL that is told of the events that its owner selects.
//!
//! A subscription is a resource (its settings) and a trigger that is made of it (`trigger.rs`), whose only action sends the event
//! (`actions/subscription.rs`). So events are matched, kept, tried again, dead-lettered and replayed as they are for any
//! trigger. What is a subscription's own is here: which of its events go in one request (`batches.rs`), and when it is
//! disabled (`health.rs`).

mod batches;
mod health;
mod trigger;

use triggerd_core::event::DEFAULT_ENV;
use triggerd_core::id::TenantId;
use triggerd_core::outcome::Failure;

pub use batches::{Batches, Sender, Sent};
pub use health::{DISABLED, Health, note};
pub use trigger::{ACTION, TYPE, install, mistakes, subscription_of};

use crate::resources::{Resources, Subscription};

/// The code of what is not sent because its subscription is disabled.
pub const DISABLED_CODE: &str = "SUBSCRIPTION_DISABLED";

/// The subscription of that id, with its secrets; `None` where there is none.
pub fn resolve(
    resources: &Resources,
    tenant: &TenantId,
    id: &str,
) -> Option<Result<std::sync::Arc<crate::resources::Resolved<Subscription>>, Failure>> {
    resources.resolve::<Subscription>(tenant, "subscriptions", id, DEFAULT_ENV)
}
