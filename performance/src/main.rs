//! Measures with `triggerd bench`, and writes what comes of it into docs/performance.md and docs/charts.
//!
//! `triggerd-performance measure TRIGGERD RESULTS [--quick]` runs every series and keeps each report as JSON; `… write RESULTS DOCS` makes
//! tables and charts of the reports, in the marked places of the page. What stands around them is written by people.

mod charts;
mod page;
mod series;
mod tables;

use std::path::Path;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["measure", triggerd, results] => series::measure(Path::new(triggerd), Path::new(results), false),
        ["measure", triggerd, results, "--quick"] => series::measure(Path::new(triggerd), Path::new(results), true),
        ["write", results, docs] => page::write(Path::new(results), Path::new(docs)),
        _ => bail!("triggerd-performance measure TRIGGERD RESULTS [--quick]\ntriggerd-performance write RESULTS DOCS"),
    }
}
