//! The page: what lies between `<!-- measured: NAME -->` and `<!-- end -->` is made of the report of that name.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::charts::{self, Panel};
use crate::{series, tables};

const PAGE: &str = "performance.md";
const CHARTS: &str = "charts";

/// Makes the tables and charts of all reports.
pub fn write(results: &Path, docs: &Path) -> Result<()> {
    let path = docs.join(PAGE);
    let mut page = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let charts = docs.join(CHARTS);
    std::fs::create_dir_all(&charts).with_context(|| format!("cannot make {}", charts.display()))?;
    page = replace(&page, "machine", &tables::machine(&series::read(results, "workloads")?))?;
    for series in &series::ALL {
        let report = series::read(results, series.name)?;
        page = replace(&page, series.name, &part(series.name, &report, &charts)?)?;
    }
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// What the page says of a series; its chart, where it has one, is drawn on the way.
fn part(name: &str, report: &Value, charts: &Path) -> Result<String> {
    let accepted = ("accepted_per_second", "accepted/s");
    let finished = ("finished_per_second", "finished/s");
    let (title, panels, figures): (_, Vec<Panel>, Vec<(&str, &str)>) = match name {
        "workloads" | "backlog" | "paced" => return Ok(tables::workloads(report)),
        "connections" => (
            "A condition and a log line, one event a request, over connections",
            vec![Panel { place: FINISHED, caption: "finished a second" }, latency()],
            vec![finished, ("acceptance_ms", "ms (p50 / p99)")],
        ),
        "batch" => (
            "Batches that match nothing, over events a request",
            vec![Panel { place: ACCEPTED, caption: "accepted a second" }, latency()],
            vec![accepted, ("acceptance_ms", "ms (p50 / p99)")],
        ),
        "triggers" => (
            "A condition and a log line, over further triggers of the same table",
            vec![Panel { place: FINISHED, caption: "finished a second" }, latency()],
            vec![finished, ("acceptance_ms", "ms (p50 / p99)"), ("server_peak_rss_mib", "MiB")],
        ),
        "depth" => (
            "Webhooks delivered from a backlog, over its depth",
            vec![Panel { place: FINISHED, caption: "delivered a second" }],
            vec![
                ("finished_per_second", "delivered/s"),
                ("claim_ms", "claim, ms (p50 / p99)"),
                ("server_peak_rss_mib", "MiB"),
            ],
        ),
        other => bail!("there is no series `{other}`"),
    };
    charts::draw(report, title, &panels, &charts.join(format!("{name}.svg")))?;
    Ok(format!("![{title}]({CHARTS}/{name}.svg)\n\n{}", tables::sweep(report, &figures)))
}

const FINISHED: &[&str] = &["finished_per_second"];
const ACCEPTED: &[&str] = &["accepted_per_second"];

fn latency() -> Panel {
    Panel { place: &["acceptance_ms", "p99"], caption: "accepted in, p99, ms" }
}

/// The page with another text in a marked place.
fn replace(page: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- measured: {name} -->\n"), "<!-- end -->");
    let Some((before, rest)) = page.split_once(&begin) else { bail!("{PAGE} has no place `{}`", begin.trim()) };
    let Some((_, after)) = rest.split_once(end) else { bail!("the place `{}` of {PAGE} has no end", begin.trim()) };
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_is_marked_is_replaced() {
        let page = "a\n<!-- measured: x -->\nold\n<!-- end -->\nb\n<!-- measured: y -->\n<!-- end -->\n";
        let new = replace(page, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- measured: x -->\nnew\n<!-- end -->\nb\n<!-- measured: y -->\n<!-- end -->\n");
        assert!(replace(page, "z", "").is_err());
    }

    #[test]
    fn the_page_has_a_place_for_every_series() {
        let page = include_str!("../../docs/performance.md");
        for series in &series::ALL {
            assert!(replace(page, series.name, "").is_ok(), "{}", series.name);
        }
    }
}
