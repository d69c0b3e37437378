//! How much CPU time a guest has used: the thread's own clock, read around every poll of the call.
//!
//! Wall time would charge a guest for other people's work on a busy machine, and epochs alone would charge it for
//! the time it waited for a host call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// The CPU time of one call. Written by whichever thread polls the call; one thread at a time does.
#[derive(Default, Debug)]
pub(super) struct Meter {
    before_poll_ns: AtomicU64,
    poll_began_ns: AtomicU64,
}

impl Meter {
    /// What was used, the poll under way included. Only to be asked from within that poll.
    pub(super) fn used_now(&self) -> Duration {
        let in_poll = thread_cpu_ns().saturating_sub(self.poll_began_ns.load(Ordering::Relaxed));
        Duration::from_nanos(self.before_poll_ns.load(Ordering::Relaxed) + in_poll)
    }

    /// What was used by the polls that have ended.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.before_poll_ns.load(Ordering::Relaxed))
    }
}

/// A future whose polls are metered.
pub(super) struct Metered<F> {
    meter: Arc<Meter>,
    future: Pin<Box<F>>,
}

impl<F: Future> Metered<F> {
    pub(super) fn new(meter: Arc<Meter>, future: F) -> Self {
        Self { meter, future: Box::pin(future) }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.poll_began_ns.store(thread_cpu_ns(), Ordering::Relaxed);
        let poll = self.future.as_mut().poll(cx);
        let used = self.meter.used_now().as_nanos();
        self.meter.before_poll_ns.store(u64::try_from(used).unwrap_or(u64::MAX), Ordering::Relaxed);
        poll
    }
}

#[cfg(unix)]
fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec of this frame, which the call fills.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    debug_assert_eq!(answer, 0, "POSIX has this clock");
    let (seconds, nanos) = (time.tv_sec as u64, time.tv_nsec as u64);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(not(unix))]
fn thread_cpu_ns() -> u64 {
    use std::sync::LazyLock;
    use std::time::Instant;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Lets every other thread of the machine go first, by so many steps of niceness. Best effort.
pub(super) fn yield_priority(steps: i32) {
    #[cfg(target_os = "linux")]
    // SAFETY: a call without pointers; on Linux `0` is the calling thread alone.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, steps);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = steps;
}
