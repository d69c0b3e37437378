//! Several runs of each measure, turn about, with the machine's raw limits in between: medians of each, and what share of its
//! limit each one is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use super::connector::median;
use super::limits::{Bare, Limit};
use super::receiver::Receiver;
use super::run::Run;
use super::store::Used;
use super::workload::Workload;

/// What is varied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sweep {
    /// Which setting.
    pub what: Swept,
    /// The values that it takes.
    pub values: Vec<u64>,
}

/// A setting that can be varied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swept {
    /// `--connections`.
    Connections,
    /// `--batch`.
    Batch,
    /// `--triggers`.
    Triggers,
    /// `--backlog`.
    Backlog,
}

impl Swept {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Batch => "batch",
            Self::Triggers => "triggers",
            Self::Backlog => "backlog",
        }
    }
}

impl std::str::FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) = text.split_once('=').ok_or("`NAME=VALUE,VALUE…`")?;
        let all = [Swept::Connections, Swept::Batch, Swept::Triggers, Swept::Backlog];
        let what = all.into_iter().find(|swept| swept.name() == name);
        let what = what.ok_or("`connections`, `batch`, `triggers` or `backlog` can be varied")?;
        let values: Result<Vec<u64>, _> = values.split(',').map(|value| value.trim().parse()).collect();
        let values = values.map_err(|_| format!("{name} takes whole numbers, with commas between them"))?;
        Ok(Self { what, values })
    }
}

/// What is measured.
pub struct Series<'b> {
    /// The workloads.
    pub workloads: &'b [Workload],
    /// The stores.
    pub stores: &'b [Used],
    /// Runs of each.
    pub runs: usize,
    /// What every run has in common; the workload is each one's own, and the batch where none is given.
    pub run: Run<'b>,
    /// Events in a request, where the workload does not say.
    pub batch: Option<usize>,
    /// What is varied.
    pub sweep: Option<&'b Sweep>,
    /// How long each raw limit is measured; not at all without.
    pub limit_time: Option<Duration>,
}

/// One of the things that are measured, by what tells it from the others.
struct Point<'b> {
    run: Run<'b>,
    store: &'b Used,
    value: Option<u64>,
    figures: Vec<Value>,
}

impl Series<'_> {
    /// Measures all of it. `extras` makes the definitions of a number of idle triggers.
    pub async fn measure(&self, receiver: &Receiver, dir: &Path) -> anyhow::Result<Value> {
        let values: Vec<Option<u64>> = match self.sweep {
            Some(sweep) => sweep.values.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let mut points = Vec::new();
        for store in self.stores {
            for workload in self.workloads {
                for value in &values {
                    let run = self.run_of(*workload, *value)?;
                    points.push(Point { run, store, value: *value, figures: Vec::new() });
                }
            }
        }
        let mut limits: BTreeMap<(Limit, &'static str, usize, usize), Vec<f64>> = BTreeMap::new();
        for number in 1..=self.runs {
            for point in &mut points {
                let Point { run, store, .. } = point;
                for limit in run.workload.limits(run.batch) {
                    let measured = limits.entry(key(limit, run, store)).or_default();
                    let Some(time) = self.limit_time.filter(|_| measured.len() < number) else { continue };
                    let bare = Bare { dir, store, connections: run.connections, batch: run.batch, time };
                    let name = limit.name();
                    measured
                        .push(limit.measure(&bare, receiver).await.with_context(|| format!("the raw limit {name}"))?);
                }
                let triggers = self.triggers(point.value);
                let extras = super::workload::Extras { triggers, ..*point.run.extras };
                let run = Run { extras: &extras, ..point.run };
                let what = format!("{} on {}, run {number}", run.workload.name(), point.store.name());
                let figures = run.measure(point.store, receiver).await.with_context(|| what.clone())?;
                eprintln!("{what}: {}", super::report::line(&figures));
                point.figures.push(figures);
            }
        }
        let limits: BTreeMap<_, f64> = limits
            .into_iter()
            .filter(|(_, rates)| !rates.is_empty())
            .map(|(key, rates)| (key, median(rates)))
            .collect();
        let results: Vec<Value> = points.iter().map(|point| self.result(point, &limits)).collect();
        Ok(Value::Array(results))
    }

    fn triggers(&self, value: Option<u64>) -> usize {
        match (self.sweep, value) {
            (Some(sweep), Some(value)) if sweep.what == Swept::Triggers => usize::try_from(value).unwrap_or(usize::MAX),
            _ => self.run.extras.triggers,
        }
    }

    fn run_of(&self, workload: Workload, value: Option<u64>) -> anyhow::Result<Run<'_>> {
        let batch = self.batch.unwrap_or_else(|| workload.batch());
        let mut run = Run { workload, batch, ..self.run };
        if let (Some(sweep), Some(value)) = (self.sweep, value) {
            let number = usize::try_from(value).context("a value is too large")?;
            match sweep.what {
                Swept::Connections => run.connections = number,
                Swept::Batch => run.batch = number,
                Swept::Backlog => run.backlog = value,
                Swept::Triggers => {}
            }
        }
        if run.connections == 0 || run.batch == 0 || run.batch > 10_000 {
            bail!("connections are at least 1, batches 1 to 10,000");
        }
        Ok(run)
    }

    fn result(&self, point: &Point<'_>, limits: &BTreeMap<(Limit, &'static str, usize, usize), f64>) -> Value {
        let Point { run, store, value, figures } = point;
        let mut result = json!({
            "workload": run.workload.name(), "store": store.name(), "connections": run.connections, "batch": run.batch,
            "rate_wanted": run.rate, "triggers": self.triggers(*value),
            "median": medians(figures), "runs": figures,
        });
        if run.workload == Workload::Backlog {
            result["backlog"] = run.backlog.into();
        }
        let own: Map<String, Value> = run
            .workload
            .limits(run.batch)
            .into_iter()
            .filter_map(|limit| Some((limit.name().to_owned(), json!(limits.get(&key(limit, run, store))?))))
            .collect();
        let least = own.iter().min_by(|a, b| number(a.1).total_cmp(&number(b.1)));
        if let Some((name, rate)) = least {
            let median = &result["median"];
            let reached = median.get("finished_per_second").or_else(|| median.get("accepted_per_second"));
            result["share_of_limit"] = json!(reached.map(number).unwrap_or_default() / number(rate));
            result["limit"] = json!(name);
        }
        result["limits_per_second"] = Value::Object(own);
        result
    }
}

/// What a raw limit depends on.
fn key(limit: Limit, run: &Run<'_>, store: &Used) -> (Limit, &'static str, usize, usize) {
    match limit {
        Limit::Requests | Limit::Deliveries => (limit, "", run.connections, 1),
        Limit::Inserts => (limit, store.name(), run.connections, run.batch),
        Limit::Calls => (limit, "", 1, 1),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

/// The median of each figure.
fn medians(runs: &[Value]) -> Value {
    match runs.first() {
        Some(Value::Object(first)) => first
            .keys()
            .map(|name| (name.clone(), medians(&runs.iter().map(|run| run[name].clone()).collect::<Vec<_>>())))
            .collect(),
        Some(Value::Number(_)) => json!(median(runs.iter().filter_map(Value::as_f64).collect())),
        Some(other) => other.clone(),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn medians_are_of_each_figure_by_itself() {
        let runs = [
            json!({"a": 1, "b": {"p50": 9.0}, "c": null}),
            json!({"a": 3, "b": {"p50": 7.0}, "c": null}),
            json!({"a": 2, "b": {"p50": 8.0}, "c": null}),
        ];
        assert_eq!(medians(&runs), json!({"a": 2.0, "b": {"p50": 8.0}, "c": null}));
    }

    #[test]
    fn a_sweep_names_what_it_varies() {
        let sweep: Sweep = "batch=1, 10,100".parse().unwrap();
        assert_eq!(sweep, Sweep { what: Swept::Batch, values: vec![1, 10, 100] });
        assert!("seconds=1".parse::<Sweep>().is_err());
        assert!("batch=ten".parse::<Sweep>().is_err());
        assert!("batch".parse::<Sweep>().is_err());
    }
}
