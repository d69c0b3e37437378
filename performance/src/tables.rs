//! Reports as Markdown tables.

use serde_json::Value;

/// A number for people: no more digits than were measured.
pub fn number(value: &Value) -> String {
    match value.as_f64() {
        None => "–".to_owned(),
        Some(number) if number >= 1000.0 => grouped((number / 100.0).round() as u64 * 100),
        Some(number) if number >= 100.0 => format!("{number:.0}"),
        Some(number) if number >= 10.0 => format!("{number:.1}"),
        Some(number) => format!("{number:.2}"),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `p50 / p99` of a distribution.
fn both(of: &Value) -> String {
    if of.is_object() { format!("{} / {}", number(&of["p50"]), number(&of["p99"])) } else { "–".to_owned() }
}

fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", headings.join(" | "), " --- |".repeat(headings.len()));
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}

fn results(report: &Value) -> impl Iterator<Item = &Value> {
    report["results"].as_array().into_iter().flatten()
}

/// What the workloads reach, and of what.
pub fn workloads(report: &Value) -> String {
    let row = |result: &Value| {
        let median = &result["median"];
        let share = result["share_of_limit"].as_f64().map(|share| {
            let limit = result["limit"].as_str().unwrap_or_default();
            format!(
                "{:.0} % of {} {}/s",
                share * 100.0,
                number(&result["limits_per_second"][limit]),
                limit.replace('_', " ")
            )
        });
        vec![
            format!("`{}`", result["workload"].as_str().unwrap_or_default()),
            result["store"].as_str().unwrap_or_default().to_owned(),
            number(&median["accepted_per_second"]),
            number(&median["finished_per_second"]),
            share.unwrap_or_else(|| "–".to_owned()),
            both(&median["acceptance_ms"]),
            both(&median["acceptance_to_start_ms"]),
            number(&median["server_cpu_us_per_event"]),
            number(&median["server_peak_rss_mib"]),
        ]
    };
    let headings = [
        "workload",
        "store",
        "accepted/s",
        "finished/s",
        "of the raw limit",
        "accepted in, ms (p50 / p99)",
        "to the action's start, ms",
        "server's CPU, µs an event",
        "peak memory, MiB",
    ];
    table(&headings, results(report).map(row))
}

/// A sweep: one row for each value, both stores beside each other.
pub fn sweep(report: &Value, figures: &[(&str, &str)]) -> String {
    let by = report["sweep"].as_str().unwrap_or_default();
    let mut headings = vec![by];
    let named: Vec<String> = ["sqlite", "postgres"]
        .iter()
        .flat_map(|store| figures.iter().map(move |(_, what)| format!("{store}: {what}")))
        .collect();
    headings.extend(named.iter().map(String::as_str));
    let of = |store: &'static str| results(report).filter(move |result| result["store"] == store);
    let rows = of("sqlite").map(|result| {
        let mut row = vec![value(&result[by])];
        let other = of("postgres").find(|other| other[by] == result[by]).unwrap_or(&Value::Null);
        for result in [result, other] {
            row.extend(figures.iter().map(|(place, _)| {
                let found = &result["median"][place];
                if found.is_object() { both(found) } else { number(found) }
            }));
        }
        row
    });
    table(&headings, rows)
}

fn value(value: &Value) -> String {
    value.as_u64().map_or("–".to_owned(), grouped)
}

/// The machine, in a sentence.
pub fn machine(report: &Value) -> String {
    let machine = &report["machine"];
    let text = |name: &str| machine[name].as_str().unwrap_or("?").to_owned();
    format!(
        "The machine: {} cores ({}), {} of memory, Linux {}; a sync of the disk takes {} ms (p99 {} ms). triggerd {} in a {}, {}: {} runs of {} s each, \
         after {} s that do not count, turn about; medians. Sweeps are one run for each value.\n",
        machine["cpus"],
        text("cpu"),
        text("memory"),
        text("kernel"),
        number(&machine["disk_sync_ms"]["p50"]),
        number(&machine["disk_sync_ms"]["p99"]),
        report["version"].as_str().unwrap_or("?"),
        if report["build"] == "debug" { "debug build" } else { "build of the profile `dist`" },
        report["at"].as_str().unwrap_or("?").split('T').next().unwrap_or("?"),
        report["runs"],
        report["seconds"],
        report["warm_up_seconds"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_have_the_digits_that_were_measured() {
        let shown: Vec<String> =
            [json!(1_234_567.8), json!(12_345.0), json!(123.45), json!(12.345), json!(1.2345), json!(null)]
                .iter()
                .map(number)
                .collect();
        assert_eq!(shown, ["1,234,600", "12,300", "123", "12.3", "1.23", "–"]);
    }

    #[test]
    fn a_sweep_has_both_stores_in_a_row() {
        let result = |store: &str, batch: u64, rate: f64| json!({"store": store, "batch": batch, "median": {"accepted_per_second": rate}});
        let report = json!({"sweep": "batch", "results": [result("sqlite", 10, 1.0), result("sqlite", 100, 2.0), result("postgres", 100, 3.0), result("postgres", 10, 4.0)]});
        let table = sweep(&report, &[("accepted_per_second", "accepted/s")]);
        assert!(table.contains("| 10 | 1.00 | 4.00 |"), "{table}");
        assert!(table.contains("| 100 | 2.00 | 3.00 |"), "{table}");
    }
}
