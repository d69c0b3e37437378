//! What is measured: one report for each series.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A series: its name, and what `triggerd bench` is asked.
pub struct Series {
    /// Names its report, and its place on the page.
    pub name: &'static str,
    arguments: &'static [&'static str],
}

/// All of them.
pub const ALL: [Series; 7] = [
    Series {
        name: "workloads",
        arguments: &["--workload", "unmatched,log,wasm,http,fanout-10,ordered,batch", "--store", "sqlite,postgres"],
    },
    Series { name: "backlog", arguments: &["--workload", "backlog", "--store", "sqlite,postgres"] },
    Series {
        name: "paced",
        arguments: &[
            "--workload",
            "log,wasm",
            "--store",
            "sqlite,postgres",
            "--rate",
            "5000",
            "--triggers",
            "1000",
            "--seconds",
            "10",
            "--no-limits",
        ],
    },
    Series {
        name: "connections",
        arguments: &[
            "--workload",
            "log",
            "--store",
            "sqlite,postgres",
            "--sweep",
            "connections=1,4,16,64,256",
            "--runs",
            "1",
            "--no-limits",
        ],
    },
    Series {
        name: "batch",
        arguments: &[
            "--workload",
            "batch",
            "--store",
            "sqlite,postgres",
            "--sweep",
            "batch=2,10,50,100,500,1000",
            "--runs",
            "1",
            "--no-limits",
        ],
    },
    Series {
        name: "triggers",
        arguments: &[
            "--workload",
            "log",
            "--store",
            "sqlite,postgres",
            "--sweep",
            "triggers=0,100,1000,10000",
            "--runs",
            "1",
            "--no-limits",
        ],
    },
    Series {
        name: "depth",
        arguments: &[
            "--workload",
            "backlog",
            "--store",
            "sqlite,postgres",
            "--sweep",
            "backlog=1000,10000,100000,1000000",
            "--runs",
            "1",
            "--no-limits",
        ],
    },
];

/// Where a series' report is.
pub fn report(results: &Path, name: &str) -> PathBuf {
    results.join(format!("{name}.json"))
}

/// Runs every series; `quick` runs each once and briefly, to see that it works.
pub fn measure(triggerd: &Path, results: &Path, quick: bool) -> Result<()> {
    std::fs::create_dir_all(results).with_context(|| format!("cannot make {}", results.display()))?;
    for series in &ALL {
        println!("== {}", series.name);
        let path = report(results, series.name);
        let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut command = Command::new(triggerd);
        command.args(["bench", "--json"]).args(arguments(series, quick)).stdout(Stdio::from(file));
        let status = command.status().with_context(|| format!("cannot run {}", triggerd.display()))?;
        if !status.success() {
            bail!("{command:?} ended with {status}");
        }
    }
    Ok(())
}

/// What is asked; a quick run sets aside what takes long.
fn arguments(series: &Series, quick: bool) -> Vec<String> {
    let mut arguments: Vec<String> = series.arguments.iter().map(|word| (*word).to_owned()).collect();
    if !quick {
        return arguments;
    }
    for (name, value) in [("--runs", "1"), ("--seconds", "1"), ("--warm-up", "1"), ("--backlog", "2000")] {
        match arguments.iter().position(|word| word == name) {
            Some(at) => value.clone_into(&mut arguments[at + 1]),
            None => arguments.extend([name.to_owned(), value.to_owned()]),
        }
    }
    if let Some(at) = arguments.iter().position(|word| word == "--sweep") {
        let (name, values) = arguments[at + 1].split_once('=').unwrap_or_default();
        let few: Vec<&str> = values.split(',').take(2).collect();
        arguments[at + 1] = format!("{name}={}", few.join(","));
    }
    arguments
}

/// Reads a series' report.
pub fn read(results: &Path, name: &str) -> Result<Value> {
    let path = report(results, name);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}: measure first", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_is_short_and_has_every_series() {
        for series in &ALL {
            let asked = arguments(series, true);
            let value = |name: &str| asked.iter().position(|word| word == name).map(|at| asked[at + 1].as_str());
            assert_eq!((value("--runs"), value("--seconds")), (Some("1"), Some("1")), "{}", series.name);
            assert!(value("--sweep").is_none_or(|sweep| sweep.split(',').count() <= 2), "{asked:?}");
        }
    }
}
