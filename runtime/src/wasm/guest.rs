//! What the host knows of one running guest: its grants, its budget and whom its imports speak to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::bindings::triggerd::runtime::types;
use super::capabilities::Capabilities;
use super::cpu::Meter;
use super::imports::wasi::Wasi;
use super::limits::{Limiter, Limits};
use super::logs::LogBook;
use super::services::{Answer, ServiceContext, ServiceError, Services};

/// The data of one call's store.
pub(super) struct Guest {
    pub(super) reach: Reach,
    pub(super) limits: Limits,
    pub(super) limiter: Limiter,
    pub(super) meter: Arc<Meter>,
    pub(super) log: LogBook,
    pub(super) published: u32,
    pub(super) emitted: u32,
    /// It has begun on its caller's thread, which is not for long calculations: it goes on elsewhere from the next epoch on.
    pub(super) in_place: bool,
    /// Made when the guest first asks for it: most small guests never do.
    pub(super) wasi: Option<Box<Wasi>>,
}

/// Whom the imports of one call speak to, and what of it is granted. Cheap to clone: requests of `wasi:http` run on their own.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) capabilities: Arc<Capabilities>,
    pub(super) services: Arc<dyn Services>,
    pub(super) context: Arc<ServiceContext>,
    /// Where the services run: never on the threads that guests compute on.
    pub(super) home: Handle,
    pub(super) deadline: Instant,
    calls_left: Arc<AtomicU32>,
}

/// An import was called that is not granted. Ends the call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{what}` is not granted: {grant} in `capabilities` grants it")]
pub(super) struct Forbidden {
    what: String,
    grant: String,
}

/// The guest called the host more often than it may. Ends the call.
#[derive(Debug, thiserror::Error)]
#[error("the guest called the host more often than its limit of {0} calls")]
pub(super) struct CallsExhausted(u32);

impl Forbidden {
    pub(super) fn new(what: impl Into<String>, grant: impl Into<String>) -> Self {
        Self { what: super::logs::shown(&what.into()), grant: super::logs::shown(&grant.into()) }
    }
}

impl Reach {
    pub(super) fn new(
        capabilities: Arc<Capabilities>,
        services: Arc<dyn Services>,
        context: Arc<ServiceContext>,
        home: Handle,
        limits: &Limits,
    ) -> Self {
        let deadline = Instant::now() + limits.wall;
        Self {
            capabilities,
            services,
            context,
            home,
            deadline,
            calls_left: Arc::new(AtomicU32::new(limits.host_calls)),
        }
    }

    /// What is left of the call's time.
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Takes one call off the budget; `false` where none is left.
    pub(super) fn count_call(&self) -> bool {
        self.calls_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Asks a service, at its home. A service that panics is an error of that call alone.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'a> FnOnce(&'a dyn Services, &'a ServiceContext) -> Answer<'a, T> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let (services, context) = (Arc::clone(&self.services), Arc::clone(&self.context));
        let asked = self.home.spawn(async move { question(&*services, &context).await });
        match AbortOnDropHandle::new(asked).await {
            Ok(answer) => answer,
            Err(failed) => {
                tracing::error!(error = %failed, component = %self.context.component, "A service failed while a guest waited for it");
                Err(ServiceError::retryable("INTERNAL", "the host failed while serving this call"))
            }
        }
    }
}

impl Guest {
    /// Counts a call of an import; an error past the budget.
    pub(super) fn count_call(&self) -> wasmtime::Result<()> {
        if self.reach.count_call() { Ok(()) } else { Err(CallsExhausted(self.limits.host_calls).into()) }
    }

    /// Counts a call of an import, and ends the guest where it is not granted.
    pub(super) fn admit(&self, granted: bool, forbidden: impl FnOnce() -> Forbidden) -> wasmtime::Result<()> {
        self.count_call()?;
        if granted { Ok(()) } else { Err(forbidden().into()) }
    }
}

impl From<ServiceError> for types::ServiceError {
    fn from(error: ServiceError) -> Self {
        Self { code: error.code, message: error.message, retryable: error.retryable }
    }
}
