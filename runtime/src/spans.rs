//! Spans for OpenTelemetry: request → match → run → action's attempt → call of a guest, exported to a collector by OTLP.
//!
//! Off, as it is unless `otlp_endpoint` is set, each place that makes one looks at a flag and goes on. On, an event carries the trace
//! of the request that brought it, so that what it leads to, at once or after a restart, on this node or another, is in the same trace;
//! and what an attempt sends names the attempt's span.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::field::Empty;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::registry::LookupSpan;
use triggerd_core::definition::Action;
use triggerd_core::event::Event;
use triggerd_core::outcome::Outcome;
use triggerd_core::trace::{Parent, TraceContext};

use crate::config::Telemetry;

/// What spans are told from log lines by.
const TARGET: &str = "triggerd::span";
/// What a collector's address is followed by, as the standard has it for a base address.
const TRACES: &str = "/v1/traces";
/// How long one export may take.
const EXPORT_LIMIT: Duration = Duration::from_secs(10);
/// How long the last export may keep the end of the process waiting.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Whether spans are made.
static ON: AtomicBool = AtomicBool::new(false);
/// There is one for the process, as there is one subscriber.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exporter cannot be made.
    #[error(transparent)]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Its HTTP client cannot be made.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

/// Makes what exports, where an endpoint is set. To be called outside of a runtime: it has a thread and a client of its own.
pub fn start(config: &Telemetry) -> Result<Option<SdkTracer>, Error> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
    // As all clients of the process, it reads no proxy from the environment.
    let client = reqwest::blocking::Client::builder().no_proxy().timeout(EXPORT_LIMIT).build()?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}{TRACES}", endpoint.base()))
        .with_timeout(EXPORT_LIMIT)
        .build()?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.otlp_sample_ratio.0)));
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(sampler)
        .with_batch_exporter(exporter)
        .build();
    let tracer = provider.tracer("triggerd");
    // There is one call per process: nothing else can have set it.
    let _ = PROVIDER.set(provider);
    ON.store(true, Ordering::Relaxed);
    Ok(Some(tracer))
}

/// What the spans come from. OTEL_RESOURCE_ATTRIBUTES wins over what is said here, and OTEL_SERVICE_NAME over both.
fn resource() -> Resource {
    let said = [("service.name", "triggerd"), ("service.version", env!("CARGO_PKG_VERSION"))];
    let resource = Resource::builder_empty()
        .with_attributes(said.map(|(key, value)| KeyValue::new(key, value)))
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

/// The part of the subscriber that makes spans, and takes nothing else.
pub fn layer<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let ours = FilterFn::new(|metadata| metadata.is_span() && metadata.target() == TARGET);
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(ours.with_max_level_hint(LevelFilter::INFO))
}

/// Exports what is left. To be called outside of a runtime, once nothing makes spans any more.
pub fn end() {
    ON.store(false, Ordering::Relaxed);
    if let Some(Err(error)) = PROVIDER.get().map(|provider| provider.shutdown_with_timeout(END_LIMIT)) {
        tracing::warn!(%error, "The last spans could not be exported: {error}");
    }
}

/// Whether spans are made.
#[must_use]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Of a request to a route; `None` where spans are off.
#[must_use]
pub fn request(method: &'static str, route: &'static str, given: impl FnOnce() -> TraceContext) -> Option<Span> {
    is_on().then(|| {
        let span = tracing::info_span!(
            target: TARGET,
            "request",
            otel.name = format!("{method} {route}"),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            http.route = route,
            http.response.status_code = Empty,
        );
        adopt(&span, &given());
        span
    })
}

/// The request was answered.
pub fn answered(span: &Span, status: http::StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// Of the search for an event's triggers, below the request that brought it. An event that comes by itself and brings no trace
/// begins one here.
#[must_use]
pub fn matching(event: &mut Arc<Event>) -> Option<Span> {
    is_on().then(|| {
        let is_root = Span::current().is_disabled();
        let span = tracing::info_span!(
            target: TARGET,
            "match",
            triggerd.event.id = %event.id,
            triggerd.event.name = event.event_type,
            triggerd.matches = Empty,
        );
        if is_root {
            adopt(&span, &given(event));
        }
        if event.traceparent.is_none()
            && let Some(here) = context_of(&span)
        {
            Arc::make_mut(event).traceparent = here.traceparent;
        }
        span
    })
}

/// So many triggers matched.
pub fn matched(span: &Span, count: usize) {
    span.record("triggerd.matches", i64::try_from(count).unwrap_or(i64::MAX));
}

/// Of a run's way through its actions, from its beginning or from where it was left.
#[must_use]
pub fn run(event: &Event, trigger: &str, run: impl std::fmt::Display) -> Option<Span> {
    is_on().then(|| {
        let span = tracing::info_span!(
            target: TARGET,
            parent: None,
            "run",
            otel.name = format!("run {trigger}"),
            otel.kind = "consumer",
            triggerd.trigger = trigger,
            triggerd.run.id = %run,
            triggerd.event.id = %event.id,
            triggerd.event.name = event.event_type,
            triggerd.tenant = event.tenant.as_str(),
        );
        adopt(&span, &given(event));
        span
    })
}

/// Of one attempt of an action, below its run.
#[must_use]
pub fn attempt(action: &Action, path: &str, number: u32, delivery_id: impl std::fmt::Display) -> Option<Span> {
    is_on().then(|| {
        tracing::info_span!(
            target: TARGET,
            "attempt",
            otel.name = format!("{} {path}", action.kind),
            otel.kind = "client",
            otel.status_code = Empty,
            "error.type" = Empty,
            triggerd.action.kind = action.kind,
            triggerd.attempt = number,
            triggerd.delivery.id = %delivery_id,
            triggerd.outcome = Empty,
        )
    })
}

/// The attempt has ended.
pub fn attempted(span: &Span, outcome: &Outcome) {
    let (name, failure) = match outcome {
        Outcome::Done(_) => ("done", None),
        Outcome::Retry { failure, .. } => ("retry", Some(failure)),
        Outcome::Dead(failure) => ("dead", Some(failure)),
    };
    span.record("triggerd.outcome", name);
    if let Some(failure) = failure {
        // The code and not the message: what others have said does not leave for a third party.
        span.record("otel.status_code", "ERROR").record("error.type", failure.code.as_str());
    }
}

/// Of a call of a component, below what calls it.
#[must_use]
pub fn guest(component: &str, world: &str) -> Option<Span> {
    is_on().then(|| {
        tracing::info_span!(
            target: TARGET,
            "wasm",
            otel.name = format!("wasm {component}"),
            otel.status_code = Empty,
            triggerd.component = component,
            triggerd.world = world,
            triggerd.cpu_ms = Empty,
            triggerd.memory_bytes = Empty,
        )
    })
}

/// The call has ended.
pub fn called(span: &Span, cpu: Duration, memory_peak: usize, is_error: bool) {
    span.record("triggerd.cpu_ms", cpu.as_secs_f64() * 1e3);
    span.record("triggerd.memory_bytes", i64::try_from(memory_peak).unwrap_or(i64::MAX));
    if is_error {
        span.record("otel.status_code", "ERROR");
    }
}

/// The trace context of what is under way here, where spans are on: what a request brings is of its span.
#[must_use]
pub fn here() -> Option<TraceContext> {
    if is_on() { context_of(&Span::current()) } else { None }
}

/// A span's place: trace, span and flags.
pub type Place = ([u8; 16], [u8; 8], u8);

/// Where what is sent in a span stands.
#[must_use]
pub fn place(span: &Span) -> Option<Place> {
    let context = span.context();
    let context = context.span().span_context().clone();
    let place = || (context.trace_id().to_bytes(), context.span_id().to_bytes(), context.trace_flags().to_u8());
    context.is_valid().then(place)
}

fn given(event: &Event) -> TraceContext {
    TraceContext { traceparent: event.traceparent.clone(), tracestate: event.tracestate.clone() }
}

/// Puts a span below what `given` names, if it names something.
fn adopt(span: &Span, given: &TraceContext) {
    let Some(parent) = given.traceparent.as_deref().and_then(Parent::parse) else { return };
    let (Ok(trace), Ok(above)) = (TraceId::from_hex(parent.trace), SpanId::from_hex(parent.span)) else { return };
    let state = given.tracestate.as_deref().and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
    let above = SpanContext::new(trace, above, TraceFlags::new(parent.flags), true, state);
    if let Err(error) = span.set_parent(Context::new().with_remote_span_context(above)) {
        tracing::debug!(?error, "A span could not be put into its trace");
    }
}

fn context_of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| {
        let flags = context.trace_flags().to_u8();
        let state = context.trace_state().header();
        TraceContext {
            traceparent: Some(format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())),
            tracestate: Some(state).filter(|state| !state.is_empty()),
        }
    })
}
