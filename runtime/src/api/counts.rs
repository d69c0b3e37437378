//! What is counted of requests: how many, how long they took, how many are under way.
//!
//! Each series is looked up by its labels once and kept: making labels, and finding the series by them, costs more than
//! counting.

use std::time::Instant;

use dashmap::DashMap;
use http::StatusCode;
use metrics::{Counter, Gauge, Histogram};

/// The series of requests. One for the process.
pub struct Counts {
    under_way: Gauge,
    answered: DashMap<Labels, Series>,
}

/// A route is one of the router's own, and a method one of a few: there are so many series and no more.
type Labels = (&'static str, &'static str, StatusCode);

struct Series {
    requests: Counter,
    duration: Histogram,
}

/// A request under way. Counted as ended when it is dropped, also where nobody waited for the answer.
pub struct UnderWay<'a> {
    counts: &'a Counts,
    method: &'static str,
    route: &'static str,
    began: Instant,
}

impl Default for Counts {
    fn default() -> Self {
        Self { under_way: metrics::gauge!("triggerd_http_requests_in_flight"), answered: DashMap::new() }
    }
}

impl Counts {
    /// A request has come.
    #[must_use]
    pub fn begin(&self, method: &'static str, route: &'static str) -> UnderWay<'_> {
        self.under_way.increment(1.0);
        UnderWay { counts: self, method, route, began: Instant::now() }
    }
}

impl UnderWay<'_> {
    /// It has been answered.
    pub fn answered(self, status: StatusCode) {
        let labels = (self.route, self.method, status);
        let took = self.began.elapsed().as_secs_f64();
        if let Some(series) = self.counts.answered.get(&labels) {
            return series.count(took);
        }
        self.counts.answered.entry(labels).or_insert_with(|| Series::of(labels)).count(took);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.counts.under_way.decrement(1.0);
    }
}

impl Series {
    fn of((route, method, status): Labels) -> Self {
        let code = status.as_str().to_owned();
        Self {
            requests: metrics::counter!(
                "triggerd_http_requests_total", "method" => method, "route" => route, "status" => code
            ),
            duration: metrics::histogram!(
                "triggerd_http_request_duration_seconds", "route" => route, "status" => class(status)
            ),
        }
    }

    fn count(&self, took: f64) {
        self.requests.increment(1);
        self.duration.record(took);
    }
}

/// `2xx` and so on: durations of single codes would be many series for little.
fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
