//! The report: percentiles, the machine, and the table for people.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

/// Percentiles of microseconds, in milliseconds.
#[must_use]
pub fn percentiles(latencies: &Histogram<u64>) -> Value {
    QUANTILES
        .iter()
        .map(|(name, q)| ((*name).to_owned(), json!(latencies.value_at_quantile(*q) as f64 / 1000.0)))
        .collect()
}

/// Percentiles of a sample in milliseconds.
#[must_use]
pub fn percentiles_of(sample: &[f64]) -> Value {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |q: f64| sorted.get(((sorted.len() as f64 * q).ceil() as usize).saturating_sub(1)).copied();
    QUANTILES.iter().map(|(name, q)| ((*name).to_owned(), json!(at(*q)))).collect()
}

/// What machine this is.
#[must_use]
pub fn machine() -> Value {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": field(&read("/proc/cpuinfo"), "model name"),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

/// Prints the report for people.
pub fn print(report: &Value) {
    let rate = |name: &str| report[name].as_f64().unwrap_or(0.0);
    println!(
        "scenario {}, {} connections, {} events a request, {:.1} s",
        report["scenario"],
        report["connections"],
        report["batch"],
        rate("seconds")
    );
    if let Some(connector) = report.get("connector") {
        let rate = |name: &str| connector[name].as_f64().unwrap_or(0.0);
        println!("client     {:>21.0}/s", rate("client_per_second"));
        println!("action     {:>21.0}/s   ({:.0} % of the client)", rate("action_per_second"), rate("share") * 100.0);
    }
    println!("accepted   {:>10}   {:>10.0}/s", report["accepted"], rate("accepted_per_second"));
    println!(
        "finished   {:>10}   {:>10.0}/s   ({} unfinished)",
        report["finished"],
        rate("finished_per_second"),
        report["unfinished"]
    );
    let measured = [("acceptance", "acceptance_ms"), ("answer", "answer_ms"), ("to start", "acceptance_to_start_ms")];
    for (name, place) in measured {
        if report[place].is_object() {
            let ms = |q: &str| report[place][q].as_f64().unwrap_or(f64::NAN);
            println!("{name:<10} p50 {:.2} ms   p99 {:.2} ms   max {:.2} ms", ms("p50"), ms("p99"), ms("max"));
        }
    }
    println!("server's peak memory {:.0} MiB", rate("server_peak_rss_mib"));
}
