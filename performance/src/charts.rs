//! Sweeps as charts: a line for each store, throughput above and latency below, over the value that is varied.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;
use serde_json::Value;

const SIZE: (u32, u32) = (720, 520);
const STORES: [(&str, RGBColor); 2] =
    [("sqlite", RGBColor(0x1f, 0x77, 0xb4)), ("postgres", RGBColor(0xd6, 0x27, 0x28))];

/// One of a chart's panels.
pub struct Panel {
    /// Where in a result's medians the figure is.
    pub place: &'static [&'static str],
    /// What it is, with its unit.
    pub caption: &'static str,
}

type Points = Vec<(f64, f64)>;

/// Draws a sweep into `path`.
pub fn draw(report: &Value, title: &str, panels: &[Panel], path: &Path) -> Result<()> {
    let by = report["sweep"].as_str().context("the report is of no sweep")?;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let failed = |error: DrawingAreaErrorKind<std::io::Error>| anyhow!("cannot draw {}: {error}", path.display());
    area.fill(&WHITE).map_err(failed)?;
    let area = area.titled(title, ("sans-serif", 18)).map_err(failed)?;
    for (panel, area) in panels.iter().zip(area.split_evenly((panels.len(), 1))) {
        let lines: Vec<(&str, RGBColor, Points)> =
            STORES.iter().map(|(store, color)| (*store, *color, points(report, by, store, panel.place))).collect();
        let all = || lines.iter().flat_map(|(_, _, points)| points.iter().copied());
        let (low, high) = all().fold((f64::MAX, 1.0_f64), |(low, high), (x, _)| (low.min(x), high.max(x)));
        let top = all().fold(f64::MIN_POSITIVE, |top, (_, y)| top.max(y)) * 1.15;
        // Values go from one to a million: each step of ten is as wide as the next. A zero stands at the left end.
        let range = (low.clamp(1.0, high)..high.max(low.max(1.0) * 1.01)).log_scale();
        let mut chart = ChartBuilder::on(&area)
            .caption(panel.caption, ("sans-serif", 14))
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(64)
            .build_cartesian_2d(range, 0.0..top)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc(by)
            .light_line_style(WHITE.mix(0.0))
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .draw()
            .map_err(failed)?;
        for (store, color, points) in lines {
            let points: Points = points.into_iter().map(|(x, y)| (x.max(1.0), y)).collect();
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))
                .map_err(failed)?
                .label(store)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
            chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, color.filled()))).map_err(failed)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()
            .map_err(failed)?;
    }
    area.present().map_err(failed)
}

fn points(report: &Value, by: &str, store: &str, place: &[&str]) -> Points {
    let of_store = report["results"].as_array().into_iter().flatten().filter(|result| result["store"] == store);
    let mut points: Points = of_store
        .filter_map(|result| {
            let figure = place.iter().fold(&result["median"], |at, step| &at[step]);
            Some((result[by].as_f64()?, figure.as_f64()?))
        })
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// A number on an axis.
fn short(number: f64) -> String {
    match number {
        n if n >= 1_000_000.0 => format!("{}M", n / 1_000_000.0),
        n if n >= 10_000.0 => format!("{}k", (n / 1000.0).round()),
        n if n >= 100.0 => format!("{n:.0}"),
        n => format!("{}", (n * 10.0).round() / 10.0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_chart_is_drawn_with_a_line_for_each_store() {
        let result = |store: &str, backlog: u64, rate: f64| json!({"store": store, "backlog": backlog, "median": {"finished_per_second": rate}});
        let report = json!({"sweep": "backlog", "results": [result("sqlite", 1000, 20_000.0), result("sqlite", 1_000_000, 21_000.0), result("postgres", 1000, 12_000.0)]});
        let path = std::env::temp_dir().join(format!("triggerd-chart-{}.svg", std::process::id()));
        draw(
            &report,
            "Delivered from a backlog",
            &[Panel { place: &["finished_per_second"], caption: "webhooks a second" }],
            &path,
        )
        .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for part in ["<svg", "sqlite", "postgres", "webhooks a second", "1M", "polyline"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
