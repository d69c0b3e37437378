//! One call: a fresh instance, held to its limits, and what came of it.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::{Store, UpdateDeadline};

use super::answer::{GuestAnswer, read, said, verdict_of};
use super::bindings::triggerd::runtime::types::Invocation;
use super::capabilities::Capabilities;
use super::cpu::{Meter, Metered};
use super::failure::{CallError, CpuExhausted, WallExhausted};
use super::guest::{Guest, Reach};
use super::host::{Host, Prepared};
use super::limits::{Limiter, Limits};
use super::logs::{LogBook, LogLine};
use super::services::{ServiceContext, Services};
use crate::spans;

/// A running guest lets others go first after so much CPU time.
const YIELD_AFTER: Duration = Duration::from_millis(10);
/// Handles of the component model that a guest may hold at once.
const HANDLES: usize = 1_000;

/// What is called, for whom, and within which bounds.
pub struct Call {
    /// The component's name: with the tenant, whose state it is.
    pub component: String,
    /// Which of its functions.
    pub export: Export,
    /// What it is given.
    pub invocation: Invocation,
    /// What it may reach.
    pub capabilities: Capabilities,
    /// What it may use.
    pub limits: Limits,
    /// Who serves its imports.
    pub services: Arc<dyn Services>,
}

/// Which of a component's functions is called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Export {
    /// `run`, of an action.
    Run,
    /// `check`, of a guard.
    Guard,
    /// `matches`, of a condition.
    Matches,
    /// `rewrite`, of a transform.
    Transform,
}

impl Export {
    /// All of them, in the order in which one is chosen where nobody says which.
    pub const ALL: [Self; 4] = [Self::Run, Self::Guard, Self::Transform, Self::Matches];

    /// The world that exports it.
    #[must_use]
    pub fn world(self) -> &'static str {
        match self {
            Self::Run => "action",
            Self::Guard => "guard",
            Self::Matches => "condition",
            Self::Transform => "transform",
        }
    }
}

/// How a call went.
#[derive(Clone, PartialEq, Debug)]
pub struct CallReport {
    /// The answer, or why there is none.
    pub result: Result<GuestAnswer, CallError>,
    /// What the guest wrote, as far as it was kept.
    pub logs: Vec<LogLine>,
    /// Lines that were not kept.
    pub logs_dropped: u64,
    /// How long it took, without the wait for a free slot.
    pub duration: Duration,
    /// The CPU time of it.
    pub cpu: Duration,
    /// The most linear memory that the guest had, in bytes.
    pub memory_peak: usize,
}

impl Host {
    /// Calls an export on a fresh instance. Never panics and never fails but in the report. Dropping the future ends the guest.
    pub async fn call(&self, prepared: &Arc<Prepared>, call: Call) -> CallReport {
        let span = spans::guest(&call.component, call.export.world());
        let Call { component, export, invocation, capabilities, mut limits, services } = call;
        let context = Arc::new(service_context(&invocation, component));
        let slot = self.slots.take(&invocation.tenant).await;
        let log = LogBook::new(limits.log_bytes, limits.log_lines);
        let meter = Arc::new(Meter::default());
        limits.memory_bytes = limits.memory_bytes.min(self.memory_ceiling);
        let (began, in_place) = (Instant::now(), prepared.habit.is_quick());
        let reach = Reach::new(Arc::new(capabilities), services, context, Handle::current(), &limits);
        let guest = Guest {
            limiter: Limiter::new(limits.memory_bytes),
            meter: Arc::clone(&meter),
            log: log.clone(),
            reach,
            limits,
            published: 0,
            emitted: 0,
            in_place,
            wasi: None,
        };
        let store = self.store(guest);
        let running = Metered::new(Arc::clone(&meter), {
            let prepared = Arc::clone(prepared);
            async move {
                let ended = run(store, &prepared, export, &invocation).await;
                drop(slot);
                ended
            }
        });
        let (result, memory_peak) = self.to_its_end(running, in_place).await.unwrap_or_else(|failed| {
            tracing::error!(error = failed, "The host failed while it ran a component: {failed}");
            (Err(CallError::host("the host failed while it ran the component")), 0)
        });
        prepared.habit.learn(meter.used());
        let (logs, logs_dropped) = log.close();
        let report =
            CallReport { result, logs, logs_dropped, duration: began.elapsed(), cpu: meter.used(), memory_peak };
        if let Some(span) = span {
            spans::called(&span, report.cpu, report.memory_peak, report.result.is_err());
        }
        report
    }

    /// Runs a call on the guests' threads, having begun it here where it is likely to end soon. An error says what failed.
    async fn to_its_end<F>(&self, mut running: Metered<F>, in_place: bool) -> Result<F::Output, String>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        if in_place {
            let first = poll_fn(|context| {
                let poll = AssertUnwindSafe(|| Pin::new(&mut running).poll(context));
                Poll::Ready(std::panic::catch_unwind(poll))
            });
            match first.await {
                Ok(Poll::Ready(ended)) => return Ok(ended),
                Ok(Poll::Pending) => {}
                Err(_panic) => return Err("a panic".to_owned()),
            }
        }
        AbortOnDropHandle::new(self.threads().spawn(running)).await.map_err(|failed| failed.to_string())
    }

    fn store(&self, guest: Guest) -> Store<Guest> {
        let transfer = guest.limits.transfer_bytes();
        let mut store = Store::new(self.engine(), guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(transfer);
        store.set_max_component_handles(HANDLES);
        store.set_epoch_deadline(1);
        let mut last_yield = Duration::ZERO;
        store.epoch_deadline_callback(move |mut store| {
            let guest = store.data();
            let used = guest.meter.used_now();
            if used > guest.limits.cpu {
                return Err(CpuExhausted(guest.limits.cpu).into());
            }
            if guest.reach.time_left().is_zero() {
                return Err(WallExhausted(guest.limits.wall).into());
            }
            if !std::mem::take(&mut store.data_mut().in_place) && used.saturating_sub(last_yield) < YIELD_AFTER {
                return Ok(UpdateDeadline::Continue(1));
            }
            last_yield = used;
            Ok(UpdateDeadline::Yield(1))
        });
        store
    }
}

type Ended = (Result<GuestAnswer, CallError>, usize);

/// Runs the call to its end and drops the store, whatever happened in it.
async fn run(mut store: Store<Guest>, prepared: &Prepared, export: Export, invocation: &Invocation) -> Ended {
    let (wall, left) = (store.data().limits.wall, store.data().reach.time_left());
    let result = tokio::time::timeout(left, enter(&mut store, prepared, export, invocation)).await;
    let result = result.unwrap_or_else(|_| Err(CallError::timeout(wall)));
    let forbidden = store.data_mut().forbidden_request();
    let result = forbidden.map_or(result, |forbidden| Err(CallError::forbidden(&forbidden)));
    (result, store.data().limiter.peak())
}

async fn enter(
    store: &mut Store<Guest>,
    prepared: &Prepared,
    export: Export,
    invocation: &Invocation,
) -> Result<GuestAnswer, CallError> {
    let starting = |error: wasmtime::Error| CallError::of_trap(&error, false);
    let ended = |error: wasmtime::Error| CallError::of_trap(&error, true);
    let limit = store.data().limits.result_bytes;
    let instance = prepared.pre.instantiate_async(&mut *store).await.map_err(starting)?;
    match export {
        Export::Run => {
            let indices = prepared.run.as_ref().ok_or_else(|| CallError::no_export("run"))?;
            let guest = indices.load(&mut *store, &instance).map_err(starting)?;
            let answer = guest.call_run(&mut *store, invocation).await.map_err(ended)?;
            said(answer).and_then(|text| read(&text, limit)).map(GuestAnswer::Json)
        }
        Export::Guard => {
            let indices = prepared.check.as_ref().ok_or_else(|| CallError::no_export("check"))?;
            let guest = indices.load(&mut *store, &instance).map_err(starting)?;
            let answer = guest.call_check(&mut *store, invocation).await.map_err(ended)?;
            said(answer).and_then(|verdict| verdict_of(verdict, limit)).map(GuestAnswer::Guard)
        }
        Export::Matches => {
            let indices = prepared.matches.as_ref().ok_or_else(|| CallError::no_export("matches"))?;
            let guest = indices.load(&mut *store, &instance).map_err(starting)?;
            said(guest.call_matches(&mut *store, invocation).await.map_err(ended)?).map(GuestAnswer::Matches)
        }
        Export::Transform => {
            let indices = prepared.rewrite.as_ref().ok_or_else(|| CallError::no_export("rewrite"))?;
            let guest = indices.load(&mut *store, &instance).map_err(starting)?;
            let answer = said(guest.call_rewrite(&mut *store, invocation).await.map_err(ended)?)?;
            answer.map(|text| read(&text, limit)).transpose().map(GuestAnswer::Transform)
        }
    }
}

fn service_context(invocation: &Invocation, component: String) -> ServiceContext {
    ServiceContext {
        tenant: invocation.tenant.clone(),
        component,
        event_id: invocation.event_id.clone(),
        delivery_id: invocation.delivery_id.clone(),
        trigger: invocation.trigger.clone(),
        env: invocation.env.clone(),
        traceparent: invocation.traceparent.clone(),
    }
}
