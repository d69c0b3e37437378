//! The database is away for a time: its processes are killed, or they are stopped, so that it accepts connections and never answers.
//!
//! Producers go on at their rate and keep what is refused; once the database is back, all that they have is accepted and done
//! within twice the time that it was away. `TRIGGERD_CHAOS_OUTAGE_SECONDS` says how long that is.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::check::{Findings, and};
use super::figures::{length, milliseconds, percentile, report};
use super::load::{Load, Plan};
use super::{apis, define, nodes};
use crate::harness::Receiver;
use crate::harness::sql_server::Database;

/// How the database goes away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    Killed,
    Frozen,
}

/// What became of a load through an outage.
pub struct Outcome {
    pub found: Findings,
    /// How long the answers took that were given meanwhile, all of them refusals.
    pub answers: Vec<Duration>,
    /// Refusals that do not say when to come again, or whose status is another one.
    pub bad_answers: usize,
    pub unanswered: u64,
    /// From the database's return until everything was done that had been produced.
    pub drained: Duration,
    pub produced: u64,
}

const RATE: f64 = 40.0;
/// What is produced before.
const LEAD: Duration = Duration::from_secs(2);

pub async fn run(how: How, time: Duration, fault: Option<&str>) -> Outcome {
    let mut database = Database::postgres().await;
    let receiver = Receiver::start().await;
    let nodes = nodes(&database, 2, fault);
    define(&apis(&nodes), &receiver).await;
    let produced = ((LEAD + time).as_secs_f64() * RATE) as u64;
    // More impatient than they are asked to be.
    let pause = Duration::from_millis(100);
    let plan = Plan { rate: Some(RATE), keyed: true, total: Some(produced), pause, ..Plan::of(12) };
    let load = Load::start(apis(&nodes), plan);
    tokio::time::sleep(LEAD).await;
    let gone = Instant::now();
    match how {
        How::Killed => tokio::task::block_in_place(|| database.kill()),
        How::Frozen => database.signal("STOP"),
    }
    tokio::time::sleep(time).await;
    let back = Instant::now();
    match how {
        How::Killed => database.start().await,
        How::Frozen => database.signal("CONT"),
    }
    let told = load.all_sent().await;
    super::check::settle(&database.url()).await;
    let drained = back.elapsed();
    let found = Findings::of(&database.url(), &told, &receiver).await;
    let refusals = told.refusals.lock().unwrap();
    let meanwhile = refusals.iter().filter(|one| one.at >= gone && one.at + one.took <= back);
    let answers: Vec<Duration> = meanwhile.clone().map(|one| one.took).collect();
    let bad_answers = meanwhile.filter(|one| one.status == 503 && !one.has_retry_after).count();
    drop(refusals);
    let unanswered = told.unanswered.load(std::sync::atomic::Ordering::SeqCst);
    Outcome { found, answers, bad_answers, unanswered, drained, produced }
}

impl Outcome {
    fn figures(&self, time: Duration) -> Value {
        let within = self.answers.iter().filter(|took| **took <= Duration::from_millis(100)).count();
        let figures = json!({
            "outage_ms": milliseconds(time), "produced": self.produced, "answers_meanwhile": self.answers.len(),
            "answers_within_100_ms": within, "answers_p50_ms": percentile(&self.answers, 0.5),
            "answers_p99_ms": percentile(&self.answers, 0.99), "answers_max_ms": percentile(&self.answers, 1.0),
            "without_retry_after": self.bad_answers, "unanswered": self.unanswered,
            "drained_ms": milliseconds(self.drained),
        });
        and(self.found.figures(), figures)
    }

    #[track_caller]
    fn hold(&self, time: Duration) {
        self.found.hold();
        assert_eq!(self.found.kept as u64, self.produced, "one event for each key");
        assert_eq!(self.bad_answers, 0, "every refusal says when to come again");
        // An idle connection may be closed by the server just when its client uses it again.
        assert!(
            self.unanswered <= 2 + self.answers.len() as u64 / 1000,
            "{} requests without an answer",
            self.unanswered
        );
        assert!(self.drained <= time * 2, "{:?} to drain what came in {time:?}", self.drained);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_is_told_of_at_once_and_what_was_kept_back_drains() {
    let time = Duration::from_secs(length("TRIGGERD_CHAOS_OUTAGE_SECONDS", 4));
    let outcome = run(How::Killed, time, None).await;
    report("outage_killed", &outcome.figures(time));
    outcome.hold(time);
    // The slowest are the machine's, where others have it too: `figures` has them.
    let usual = percentile(&outcome.answers, 0.5);
    assert!(usual.as_f64().unwrap() <= 100.0, "answers took {usual} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_answer_is_told_of_and_what_was_kept_back_drains() {
    let time = Duration::from_secs(length("TRIGGERD_CHAOS_OUTAGE_SECONDS", 6));
    let outcome = run(How::Frozen, time, None).await;
    report("outage_frozen", &outcome.figures(time));
    outcome.hold(time);
    assert!(!outcome.answers.is_empty(), "nobody was answered for {time:?}");
}
