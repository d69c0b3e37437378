//! `cargo xtask chaos`: brings faults about, at full length, and gathers what was measured.
//!
//! The scenarios are tests of the black-box suite (`tests/it/chaos/`), which this runs one after another with the environment
//! variables that make them long. What each reports is a file in `target/chaos/`; all together are `target/chaos.json`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::debian_packages;
use crate::guest_toolchain::workspace_root;
use crate::test_servers;

/// A scenario: its name, the tests that it is, and what makes them long.
struct Scenario {
    name: &'static str,
    tests: &'static str,
    long: &'static [(&'static str, &'static str)],
    what: &'static str,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "node_killed",
        tests: "chaos::node_killed::",
        long: &[("TRIGGERD_CHAOS_KILLS", "60")],
        what: "kill -9 of one of three nodes",
    },
    Scenario {
        name: "database_killed",
        tests: "chaos::database_killed::",
        long: &[("TRIGGERD_CHAOS_RESTARTS", "100")],
        what: "kill -9 of PostgreSQL",
    },
    Scenario {
        name: "commit_cut",
        tests: "chaos::commit_cut::",
        long: &[("TRIGGERD_CHAOS_CUTS", "10000")],
        what: "connections cut at COMMIT",
    },
    Scenario {
        name: "outage",
        tests: "chaos::outage::",
        long: &[("TRIGGERD_CHAOS_OUTAGE_SECONDS", "600")],
        what: "the database away, killed and frozen",
    },
    Scenario { name: "disk_full", tests: "chaos::disk_full::", long: &[], what: "the disk of PostgreSQL full" },
    Scenario {
        name: "disk_full_embedded",
        tests: "full_disk::",
        long: &[],
        what: "the disk of the embedded store full",
    },
    Scenario {
        name: "clock_steps",
        tests: "chaos::clock_steps::",
        long: &[("TRIGGERD_CHAOS_STEPS", "24")],
        what: "one node's clock set by ten minutes",
    },
    Scenario {
        name: "paused",
        tests: "chaos::paused::",
        long: &[("TRIGGERD_CHAOS_PAUSES", "20")],
        what: "a node stopped for twice its lease",
    },
    Scenario {
        name: "power_loss",
        tests: "chaos::power_loss::",
        long: &[("TRIGGERD_CHAOS_POWER_LOSSES", "100"), ("TRIGGERD_CHAOS_DISK_STATES", "100")],
        what: "losses of power under the embedded store",
    },
];

/// The tests that are of `tests/it/chaos/` alone, by what their names begin with.
pub fn tests() -> impl Iterator<Item = &'static str> {
    SCENARIOS
        .iter()
        .map(|scenario| scenario.tests)
        .filter(|tests| tests.starts_with("chaos::"))
        .chain(["chaos::seeded::"])
}

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    names: Vec<String>,
    is_short: bool,
    is_seeded: bool,
}

impl Asked {
    fn of(words: &[&str]) -> Result<Self> {
        let mut asked = Self::default();
        for word in words {
            match *word {
                "--short" => asked.is_short = true,
                "--seeded" => asked.is_seeded = true,
                name if SCENARIOS.iter().any(|scenario| scenario.name == name) => asked.names.push(name.to_owned()),
                other => bail!("there is no scenario `{other}`; there are:\n{}", list()),
            }
        }
        Ok(asked)
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| name == scenario.name)
    }
}

fn list() -> String {
    SCENARIOS.iter().map(|scenario| format!("  {:<20} {}\n", scenario.name, scenario.what)).collect()
}

/// Runs what is asked for; an error where something did not hold.
pub fn run(words: &[&str]) -> Result<()> {
    if words.iter().any(|word| matches!(*word, "help" | "--help" | "-h")) {
        print!("{}", list());
        return Ok(());
    }
    let asked = Asked::of(words)?;
    test_servers::prepare()?;
    let target = workspace_root().join("target");
    let figures = target.join("chaos");
    if figures.exists() {
        fs::remove_dir_all(&figures).with_context(|| format!("removing {}", figures.display()))?;
    }
    fs::create_dir_all(&figures).with_context(|| format!("making {}", figures.display()))?;
    let mut failed = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| asked.wants(scenario)) {
        println!("\n== {}: {}", scenario.name, scenario.what);
        let began = Instant::now();
        if !run_one(scenario, &asked, &figures)? {
            failed.push(scenario.name);
        }
        println!("== {}: {} s", scenario.name, began.elapsed().as_secs());
    }
    let all = gather(&figures)?;
    print!("{}", table(&all));
    let told = target.join("chaos.json");
    let document = json!({"commit": commit(), "short": asked.is_short, "seeded": asked.is_seeded, "figures": all});
    fs::write(&told, format!("{document:#}\n")).with_context(|| format!("writing {}", told.display()))?;
    println!("\nAll figures: {}", told.display());
    ensure!(failed.is_empty(), "what did not hold: {}", failed.join(", "));
    Ok(())
}

/// Whether everything held.
fn run_one(scenario: &Scenario, asked: &Asked, figures: &Path) -> Result<bool> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--locked", "--package", "triggerd", "--test", "it", "--"]);
    command.args(["--nocapture", "--test-threads=1"]).current_dir(workspace_root());
    if asked.is_seeded {
        // Named after the scenario whose tests they are of.
        command.arg(format!("chaos::seeded::{}_notices", scenario.name));
    } else {
        command.arg(scenario.tests);
        if !asked.is_short {
            command.envs(scenario.long.iter().copied());
        }
    }
    command.env("TRIGGERD_CHAOS_FIGURES", figures);
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    // A name that no test has is no failure to cargo.
    let prefix = if asked.is_seeded { format!("seeded_{}", scenario.name) } else { scenario.name.to_owned() };
    let is_told = gather(figures)?.keys().any(|name| name.starts_with(&prefix));
    if !is_told {
        eprintln!("{} has reported nothing", scenario.name);
    }
    Ok(status.success() && is_told)
}

/// What the scenarios have written, by their names.
fn gather(dir: &Path) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let figures = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        all.insert(name, figures);
    }
    Ok(all)
}

/// One line for each figure, under the scenario's name.
fn table(all: &Map<String, Value>) -> String {
    let mut names: Vec<&String> = all.keys().collect();
    names.sort();
    let mut text = String::new();
    for name in names {
        text.push_str(&format!("\n{name}\n"));
        for (figure, value) in all[name].as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!("  {figure:<34} {value:>16}\n"));
        }
    }
    text
}

/// Which commit was tried, where git knows.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["rev-parse", "HEAD"]).current_dir(workspace_root());
    debian_packages::run(&mut git).ok().map(|commit| commit.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_asked_for_by_name() {
        let asked = Asked::of(&["paused", "--short"]).expect("a name");
        assert!(asked.is_short && !asked.is_seeded);
        let names: Vec<&str> = SCENARIOS.iter().filter(|one| asked.wants(one)).map(|one| one.name).collect();
        assert_eq!(names, ["paused"]);
        assert!(Asked::of(&["--seeded"]).expect("all").wants(&SCENARIOS[0]));
        assert!(Asked::of(&["pause"]).is_err(), "a name that is not there is no empty run");
    }

    #[test]
    fn figures_are_shown_by_scenario() {
        let mut all = Map::new();
        all.insert("b".to_owned(), json!({"lost": 0}));
        all.insert("a".to_owned(), json!({"by": "x"}));
        let text = table(&all);
        assert!(text.find("\na\n") < text.find("\nb\n") && text.contains("lost"), "{text}");
    }
}
