//! One attempt: settings rendered, a place taken, the action run within its timeout.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tracing::Instrument as _;
use triggerd_core::definition::Action;
use triggerd_core::outcome::{Failure, Outcome};
use triggerd_core::run::{Attempt, AttemptOutcome, Effect};
use triggerd_core::template::Scope;

use super::job::Job;
use super::places::{self, Unavailable};
use crate::actions::{Context, Excerpt, Hop};
use crate::app::App;
use crate::redact::Redactor;
use crate::spans;
use crate::store;

/// How an attempt went.
#[allow(clippy::large_enum_variant, reason = "made and taken apart at once, one per attempt")]
pub(crate) enum Tried {
    /// It was made; how it ended is for `record` to settle.
    Ended {
        /// Filled in but for how it ended.
        attempt: Box<Attempt>,
        /// How it ended.
        outcome: Outcome,
        /// What it did to the event; `Refuse` where it refused the write.
        effect: Option<Effect>,
    },
    /// Its destination is stuck or left alone, or the node is full: it was not made and does not count.
    NoPlace(Unavailable),
}

/// Makes one attempt of the job's action at `path`.
pub(crate) async fn attempt(app: &Arc<App>, job: &mut Job, action: &Action, path: &str) -> Tried {
    let started_at = app.clock.now();
    let began = Instant::now();
    let (number, delivery_id) = {
        let progress = job.progress_of(path, action);
        (progress.last_attempt() + 1, progress.delivery_id)
    };
    let outputs = Arc::new(job.outputs());
    let span = spans::attempt(action, path, number, delivery_id);
    let mut cx = Context {
        services: app.services.clone(),
        event: job.event.clone(),
        run_id: job.run,
        trigger: job.trigger.tag.clone(),
        action: Arc::from(path),
        delivery_id,
        attempt: number,
        replay: job.replay,
        deadline: tokio::time::Instant::now() + Duration::from_millis(action.timeout_ms),
        outputs,
        secrets: Arc::default(),
        excerpt: Arc::new(Mutex::new(Excerpt::default())),
        effect: Arc::default(),
        not_made: Arc::default(),
        hop: span.as_ref().and_then(spans::place).map_or_else(|| Hop::new(&app.clock), Hop::within),
    };
    let performed = match &span {
        None => perform(app, &mut cx, action).await,
        // Boxed: it is for those who trace to pay for it.
        Some(span) => Box::pin(perform(app, &mut cx, action).instrument(span.clone())).await,
    };
    let outcome = match performed {
        Ok(outcome) => outcome,
        Err(Unmade::Failed(failure)) => Outcome::Dead(failure),
        Err(Unmade::NoPlace(why)) => return Tried::NoPlace(why),
    };
    let outcome = redacted(outcome, &cx.secrets);
    if let Some(span) = &span {
        spans::attempted(span, &outcome);
    }
    let excerpt = std::mem::take(&mut *cx.excerpt.lock());
    let attempt = Attempt {
        attempt: number,
        started_at,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        outcome: AttemptOutcome::Delivered,
        error_code: None,
        error: None,
        request: excerpt.request,
        response: excerpt.response,
    };
    count(action, &outcome, began.elapsed());
    let done = matches!(outcome, Outcome::Done(_));
    let effect = cx.effect.lock().take().filter(|effect| done || *effect == Effect::Refuse);
    Tried::Ended { attempt: Box::new(attempt), outcome, effect }
}

/// Why an attempt was not made.
enum Unmade {
    Failed(Failure),
    NoPlace(Unavailable),
}

impl From<Failure> for Unmade {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

async fn perform(app: &Arc<App>, cx: &mut Context, action: &Action) -> Result<Outcome, Unmade> {
    let is_guest = action.kind == "custom";
    if is_guest && let Some(wait) = app.components.cpu.wait(cx.tenant()) {
        return Err(Unmade::NoPlace(Unavailable::Quota(wait)));
    }
    let config = render(app, cx, action)?;
    let ready = app.registry.ready(action.kind, cx, config)?;
    let place = match &ready.destination {
        Some(destination) => {
            Some(places::enter(&app.dispatch.destinations, cx.tenant(), destination).await.map_err(Unmade::NoPlace)?)
        }
        None => None,
    };
    let _alone = match is_guest {
        true => places::enter_alone(&app.dispatch.destinations, cx.tenant()).await,
        false => None,
    };
    // The wait for a place is not the attempt's.
    cx.deadline = tokio::time::Instant::now() + Duration::from_millis(action.timeout_ms);
    let run = AssertUnwindSafe((ready.run)(cx.clone())).catch_unwind();
    let outcome = match tokio::time::timeout_at(cx.deadline, run).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => {
            tracing::error!(run.id = %cx.run_id, action = %cx.action, kind = action.kind, "Action {} panicked", cx.action);
            Outcome::retry("INTERNAL", "the action failed inside triggerd; the server's log says more")
        }
        Err(_) => {
            Outcome::retry("ETIMEDOUT", format!("no end within {} ms (the action's `timeout`)", action.timeout_ms))
        }
    };
    if let Some(after) = cx.not_made.lock().take() {
        return Err(Unmade::NoPlace(Unavailable::Open(after)));
    }
    if let Some(place) = place {
        place.settle(places::verdict(&outcome), places::is_pressed(&outcome));
    }
    Ok(outcome)
}

/// Renders the settings; secrets are fetched for the names that the templates use, and only those.
fn render(app: &Arc<App>, cx: &mut Context, action: &Action) -> Result<Value, Failure> {
    let names = action.config.secrets();
    let mut secrets = Map::new();
    for name in names {
        let secret = app.services.secrets.get_in(cx.tenant(), name, &cx.event.env);
        let Some(secret) = secret else {
            return Err(Failure::new(
                "SECRET_NOT_FOUND",
                format!("there is no secret `{name}`; PUT /api/v1/secrets/{name} makes it"),
            ));
        };
        secrets.insert(name.clone(), Value::String(secret));
    }
    if !secrets.is_empty() {
        cx.secrets = Arc::new(secrets.values().filter_map(Value::as_str).map(str::to_owned).collect());
    }
    let scope = Scope {
        event: &cx.event,
        trigger_tag: &cx.trigger,
        delivery_id: Some(cx.delivery_id),
        attempt: cx.attempt,
        outputs: Some(&cx.outputs),
        secrets: Some(&secrets),
        now: app.clock.now(),
    };
    let rendered = action.config.render(&scope, action.strict);
    rendered.map(|r| r.config).map_err(|mistake| Failure::new("TEMPLATE", format!("config{mistake}")))
}

/// Strikes secrets out of a failure's words: other systems like to repeat what they were sent.
fn redacted(outcome: Outcome, secrets: &[String]) -> Outcome {
    let strike = |failure: Failure| Failure { message: Redactor::new(secrets).text(&failure.message), ..failure };
    match outcome {
        Outcome::Done(output) => Outcome::Done(output),
        Outcome::Retry { failure, after } => Outcome::Retry { failure: strike(failure), after },
        Outcome::Dead(failure) => Outcome::Dead(strike(failure)),
    }
}

fn count(action: &Action, outcome: &Outcome, took: Duration) {
    let outcome = match outcome {
        Outcome::Done(_) => "done",
        Outcome::Retry { .. } => "retry",
        Outcome::Dead(_) => "dead",
    };
    metrics::counter!("triggerd_action_attempts_total", "kind" => action.kind, "outcome" => outcome).increment(1);
    metrics::histogram!("triggerd_action_duration_seconds", "kind" => action.kind).record(took.as_secs_f64());
}

/// Counts the action against its quota; `false` where it is used up.
pub(super) async fn within_quota(app: &Arc<App>, job: &Job, action: &Action, path: &str) -> Result<bool, store::Error> {
    let Some(quota) = &action.quota else { return Ok(true) };
    let now = app.clock.now();
    let scope = Scope::of_event(&job.event, &job.trigger.tag, now);
    // A key that cannot be rendered is the empty key: counted together rather than not at all.
    let key = quota.key.render_text(&scope).unwrap_or_default();
    let window = i64::try_from(quota.window_ms.max(1)).unwrap_or(i64::MAX);
    let start = now.as_millisecond().div_euclid(window).saturating_mul(window);
    let at = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    let (start, end) = (at(start), at(start.saturating_add(window)));
    app.store.quota_take(&job.event.tenant, &job.trigger.tag, path, &key, start, quota.limit, end).await
}
