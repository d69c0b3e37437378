//! Logs and metrics of the process. Started once, before anything that logs or counts.

use std::sync::OnceLock;
use std::time::Instant;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry_sdk::trace::SdkTracer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{Config, LogFormat};
use crate::spans;

/// What durations are counted in: from a memory write to a slow third party, in seconds.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The same for claims, which are one look into an index and a commit: fine enough to tell twice as long from half.
const CLAIM_SECONDS: [f64; 20] = [
    0.000_25, 0.000_5, 0.000_75, 0.001, 0.001_5, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03,
    0.05, 0.1, 0.25, 1.0, 5.0,
];

/// The recorder is the process's, as the `metrics` crate has it; this is the way to its text.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Why logs and metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level cannot be read.
    #[error("`log.level`: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Something else in the process logs already.
    #[error("logs: {0}")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
    /// Spans cannot be exported.
    #[error("`otlp_endpoint`: {0}")]
    Spans(#[from] spans::Error),
    /// The recorder cannot be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] BuildError),
}

/// Starts both.
pub fn start(config: &Config) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&config.log.level)?;
    match spans::start(&config.telemetry)? {
        None => start_logs(config.log.format, filter)?,
        Some(tracer) => start_logs_and_spans(config.log.format, filter, tracer)?,
    }
    if config.metrics.enabled {
        start_metrics()?;
    }
    Ok(())
}

fn start_logs(format: LogFormat, filter: EnvFilter) -> Result<(), TryInitError> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(is_terminal()).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
}

/// The same lines, filtered for themselves: spans are no matter of theirs.
fn start_logs_and_spans(format: LogFormat, filter: EnvFilter, tracer: SdkTracer) -> Result<(), TryInitError> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(is_terminal()).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(lines).with(spans::layer(tracer)).try_init()
}

fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

fn start_metrics() -> Result<(), Error> {
    if RECORDER.get().is_some() {
        return Ok(());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full("triggerd_claim_duration_seconds".to_owned()), &CLAIM_SECONDS)?
        .install_recorder()?;
    describe();
    begin_at_zero();
    metrics_process::Collector::default().describe();
    metrics::gauge!("triggerd_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    // Another thread cannot have been here: there is one call per process, and the recorder refuses a second.
    let _ = RECORDER.set(handle);
    Ok(())
}

/// The metrics as Prometheus reads them; `None` where they are off.
#[must_use]
pub fn metrics() -> Option<String> {
    RECORDER.get().map(PrometheusHandle::render)
}

/// Measures the process itself. Called when somebody asks.
pub fn measure_process() {
    metrics_process::Collector::default().collect();
}

/// Folds what was recorded since the last call into the histograms: without it they grow in memory while nobody
/// scrapes. Called every few seconds.
pub fn keep_up() {
    if let Some(handle) = RECORDER.get() {
        handle.run_upkeep();
    }
}

/// Counters whose labels are known beforehand are there from the start: the first of its kind is an increase as well.
fn begin_at_zero() {
    for outcome in ["matched", "unmatched", "refused"] {
        metrics::counter!("triggerd_events_total", "outcome" => outcome).increment(0);
    }
    for why in ["fenced", "store_error"] {
        metrics::counter!("triggerd_runs_let_go_total", "why" => why).increment(0);
    }
    for to in ["open", "half_open", "closed"] {
        metrics::counter!("triggerd_circuit_state_changes_total", "to" => to).increment(0);
    }
    metrics::counter!("triggerd_loop_breaks_total").increment(0);
    metrics::counter!("triggerd_runs_taken_over_total").increment(0);
    metrics::counter!("triggerd_node_leases_lost_total").increment(0);
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!("triggerd_events_total", "Events that came in, by outcome");
    describe_counter!("triggerd_http_requests_total", "Requests answered, by route and status");
    describe_gauge!("triggerd_http_requests_in_flight", "Requests that are being answered");
    describe_histogram!(
        "triggerd_http_request_duration_seconds",
        Unit::Seconds,
        "From a request's head to the head of its answer, by route and class of status"
    );
    describe_counter!("triggerd_runs_let_go_total", "Runs whose holder gave them up");
    describe_counter!("triggerd_runs_taken_over_total", "Runs of dead nodes that this node made due again");
    describe_counter!("triggerd_node_leases_lost_total", "Times that this node was taken for dead");
    describe_counter!(
        "triggerd_circuit_state_changes_total",
        "Destinations left alone, tried again and taken up again"
    );
    describe_counter!("triggerd_captured_changes_total", "Changes of captured tables that became events");
    describe_histogram!("triggerd_capture_lag_seconds", Unit::Seconds, "From a change to its event's acceptance");
    describe_gauge!("triggerd_capture_retained_bytes", Unit::Bytes, "Log that a server keeps for us");
    describe_counter!("triggerd_action_attempts_total", "Attempts of actions, by type and outcome");
    describe_counter!("triggerd_dead_letters_total", "Runs that became dead letters, by code");
    describe_counter!(
        "triggerd_loop_breaks_total",
        "Events that were not emitted because their causation chain was cut"
    );
    describe_histogram!("triggerd_action_duration_seconds", Unit::Seconds, "How long attempts took, by type");
    describe_histogram!(
        "triggerd_claim_duration_seconds",
        Unit::Seconds,
        "How long the store took to claim runs that were due, or to find none"
    );
    describe_histogram!("triggerd_event_lag_seconds", Unit::Seconds, "From an event's acceptance to a run's end");
    describe_counter!("triggerd_sync_changes_total", "Rows that syncs looked after, by sync, direction and outcome");
    describe_counter!("triggerd_sync_conflicts_total", "Values that syncs did not carry over");
    describe_counter!(
        "triggerd_sync_conflicts_dropped_total",
        "Conflicts that nobody had resolved, dropped because a sync had too many"
    );
    describe_histogram!("triggerd_sync_lag_seconds", Unit::Seconds, "From a change's commit to the other side's");
    describe_gauge!("triggerd_queue_depth", "Runs by state");
    describe_gauge!("triggerd_oldest_pending_age_seconds", Unit::Seconds, "Age of the oldest run that has not ended");
    describe_gauge!("triggerd_dlq_events", "Dead letters");
    describe_gauge!("triggerd_runs_held", "Runs in this process's memory");
    describe_gauge!(
        "triggerd_tls_certificate_expiry_timestamp_seconds",
        Unit::Seconds,
        "When the server's certificate expires, in seconds since 1970"
    );
    describe_counter!("triggerd_tls_certificate_changes_total", "Changed certificates, by what became of them");
    describe_counter!("triggerd_audit_lost_total", "Entries of the audit log that could not be kept");
    describe_gauge!(
        "triggerd_rate_limit_redis_up",
        "Whether the Redis server of the rates answers; while it does not, they hold by the store or for each node"
    );
    describe_gauge!("triggerd_build_info", "The version that runs");
}

/// Counting takes at most one part in so many of the time: a million runs that wait are not counted at every scrape.
const COUNTING: u32 = 10;

/// Figures that cost something to count: told again, instead of counted anew, for some times as long as counting took.
#[derive(Default)]
pub struct Counted(tokio::sync::Mutex<Option<Instant>>);

impl Counted {
    /// Counts, unless that has just been done. Who asks while it is being done waits, and has the same figures.
    pub async fn anew<E>(&self, count: impl AsyncFnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut until = self.0.lock().await;
        let began = Instant::now();
        if until.is_some_and(|until| began < until) {
            return Ok(());
        }
        count().await?;
        *until = Some(Instant::now() + began.elapsed() * COUNTING);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_takes_long_to_count_is_counted_seldom_and_a_failure_is_tried_again() {
        let counted = Counted::default();
        let mut times = 0;
        assert_eq!(counted.anew(async || Err("no")).await, Err("no"));
        for _ in 0..3 {
            let count = async || {
                tokio::time::sleep(Duration::from_secs(1)).await;
                times += 1;
                Ok::<(), ()>(())
            };
            assert_eq!(counted.anew(count).await, Ok(()));
        }
        assert_eq!(times, 1);
    }
}
