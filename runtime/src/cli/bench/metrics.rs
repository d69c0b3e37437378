//! What the server under load says of itself: the text of `/metrics`.

use serde_json::{Value, json};

/// A number of the text; 0 where it is not there.
#[must_use]
pub fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse::<f64>().ok()).map_or(0, |value| value as u64)
}

/// Percentiles of a histogram without labels, in milliseconds: within a bucket as if what fell into it lay evenly, as
/// Prometheus' `histogram_quantile` has it. `null` where nothing was recorded.
#[must_use]
pub fn percentiles(text: &str, name: &str) -> Value {
    let bucket = format!("{name}_bucket{{le=\"");
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for line in text.lines() {
        let Some((bound, count)) = line.strip_prefix(&bucket).and_then(|rest| rest.split_once("\"} ")) else {
            continue;
        };
        if let (Ok(bound), Ok(count)) = (bound.parse(), count.trim().parse()) {
            buckets.push((bound, count));
        }
    }
    let count = buckets.last().map_or(0.0, |(_, count)| *count);
    if count == 0.0 {
        return Value::Null;
    }
    json!({"count": count, "p50": quantile(&buckets, 0.5 * count), "p99": quantile(&buckets, 0.99 * count)})
}

fn quantile(buckets: &[(f64, f64)], rank: f64) -> f64 {
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank && bound.is_finite() {
            return (low + (bound - low) * (rank - below) / (count - below)) * 1000.0;
        }
        if bound.is_finite() {
            (low, below) = (*bound, *count);
        }
    }
    // Beyond the last bound: that is all that is known of it.
    low * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE waits histogram\nwaits_bucket{le=\"0.001\"} 50\nwaits_bucket{le=\"0.002\"} 90\n\
        waits_bucket{le=\"0.01\"} 98\nwaits_bucket{le=\"+Inf\"} 100\nwaits_sum 1\nwaits_count 100\ndepth{queue=\"pending\"} 12\n";

    #[test]
    fn percentiles_lie_evenly_within_buckets() {
        assert_eq!(percentiles(TEXT, "waits"), json!({"count": 100.0, "p50": 1.0, "p99": 10.0}));
        let half_of_second = TEXT.replace("} 50\n", "} 10\n");
        assert_eq!(percentiles(&half_of_second, "waits")["p50"], json!(1.5));
        assert_eq!(percentiles(TEXT, "nothing"), Value::Null);
    }

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        assert_eq!(number(TEXT, "depth{queue=\"pending\"}"), 12);
        assert_eq!(number(TEXT, "depth{queue=\"failed\"}"), 0);
    }
}
