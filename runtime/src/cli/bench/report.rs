//! Percentiles, and the tables for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

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

/// The rates of one run in a line.
#[must_use]
pub fn line(figures: &Value) -> String {
    let rate = |name: &str, what: &str| figures[name].as_f64().map(|rate| format!("{rate:.0} {what}/s"));
    let rates = [rate("accepted_per_second", "accepted"), rate("finished_per_second", "finished")];
    let mut line = rates.into_iter().flatten().collect::<Vec<_>>().join(", ");
    for (name, what) in [("refused", "refused"), ("dead_letters", "dead letters"), ("unfinished", "unfinished")] {
        if let Some(count) = figures[name].as_u64().filter(|count| *count > 0) {
            line += &format!(", {count} {what}");
        }
    }
    line
}

/// Prints a series for people.
pub fn print(report: &Value) {
    let machine = &report["machine"];
    let disk = &machine["disk_sync_ms"];
    println!(
        "{} CPUs ({}), {}, Linux {}; the disk syncs in {:.2} ms (p99 {:.2} ms)",
        machine["cpus"],
        machine["cpu"].as_str().unwrap_or("?"),
        machine["memory"].as_str().unwrap_or("?"),
        machine["kernel"].as_str().unwrap_or("?"),
        disk["p50"].as_f64().unwrap_or(f64::NAN),
        disk["p99"].as_f64().unwrap_or(f64::NAN),
    );
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "WORKLOAD",
        "STORE",
        "CONNECTIONS",
        "BATCH",
        "ACCEPTED/S",
        "FINISHED/S",
        "SHARE OF LIMIT",
        "ANSWER MS P50/P99",
        "TO START MS P50/P99",
        "TO END MS P50/P95",
        "CLAIM MS P50/P99",
        "CPU US/EVENT",
        "PEAK MIB",
    ]);
    for result in report["results"].as_array().into_iter().flatten() {
        let median = &result["median"];
        let number =
            |value: &Value, decimals: usize| value.as_f64().map_or("-".to_owned(), |n| format!("{n:.decimals$}"));
        let both = |of: &Value| {
            if of.is_object() {
                format!("{} / {}", number(&of["p50"], 1), number(&of["p99"], 1))
            } else {
                "-".to_owned()
            }
        };
        let answers = if median["answer_ms"].is_object() { &median["answer_ms"] } else { &median["acceptance_ms"] };
        let ends = &median["acceptance_to_end_ms"];
        let ended = match ends.is_object() {
            true => format!("{} / {}", number(&ends["p50"], 1), number(&ends["p95"], 1)),
            false => "-".to_owned(),
        };
        let share = result["share_of_limit"].as_f64().map_or("-".to_owned(), |share| {
            format!("{:.0} % of {}", share * 100.0, result["limit"].as_str().unwrap_or_default())
        });
        table.add_row([
            result["workload"].as_str().unwrap_or_default().to_owned(),
            result["store"].as_str().unwrap_or_default().to_owned(),
            result["connections"].to_string(),
            result["batch"].to_string(),
            number(&median["accepted_per_second"], 0),
            number(&median["finished_per_second"], 0),
            share,
            both(answers),
            both(&median["acceptance_to_start_ms"]),
            ended,
            both(&median["claim_ms"]),
            number(&median["server_cpu_us_per_event"], 1),
            number(&median["server_peak_rss_mib"], 0),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

/// Prints what an action costs beside its client library.
pub fn print_connector(report: &Value) {
    let connector = &report["connector"];
    let rate = |name: &str| connector[name].as_f64().unwrap_or(0.0);
    println!("client     {:>21.0}/s", rate("client_per_second"));
    println!("action     {:>21.0}/s   ({:.0} % of the client)", rate("action_per_second"), rate("share") * 100.0);
    println!("server     {}", line(&report["server"]));
}
