//! What the machines do to us: processes that are killed, connections that are cut in the middle of a commit, databases that go
//! away, disks that fill up, clocks that are set, and losses of power.
//!
//! Each scenario puts a load on nodes that share a PostgreSQL database (or on the embedded store), brings its fault about, and
//! then asks the same questions (`check.rs`): was everything delivered that was acknowledged, is every second delivery one
//! under the same id that a fault explains, do the store's numbers add up. `seeded.rs` shows that each scenario notices the
//! bug that it is there for. In a test run they are short; `cargo xtask chaos` runs them at full length and gathers what they
//! report (`figures.rs`).

mod check;
mod clock_steps;
mod commit_cut;
mod database_killed;
mod disk_full;
pub mod figures;
mod load;
mod node_killed;
mod outage;
mod paused;
mod power_loss;
mod proxy;
mod seeded;

use std::time::Duration;

use serde_json::json;

use crate::harness::sql_server::Database;
use crate::harness::{Api, Receiver, Server, Settings, call, eventually, on};

/// How long a node that is not heard of keeps its runs.
const LEASE: Duration = Duration::from_secs(4);

/// A node of that database.
fn settings(url: &str) -> Settings {
    Settings::default().node_of(url).set("ENGINE_LEASE", "4s").set("RATE_LIMIT", "0").set("LOG_LEVEL", "warn")
}

/// What is to go wrong in the product, if anything.
fn with(settings: Settings, fault: Option<&str>) -> Settings {
    match fault {
        Some(fault) => settings.set("TEST_FAULT", fault),
        None => settings,
    }
}

/// The trigger that every event of the load matches, in force on all nodes.
async fn define(nodes: &[Api], receiver: &Receiver) {
    let mut action = call("in", &receiver.url("/in"));
    action["retry"]["maxAttempts"] = json!(50);
    nodes[0].trigger(on("chaos", "chaos", json!([action]))).await;
    // Where one that was stored later is in force, so is the other.
    let seen = json!([{"name": "seen", "type": "log.debug", "config": {"message": "x"}}]);
    nodes[0].trigger(on("later", "defined", seen)).await;
    for node in nodes {
        eventually(|| async {
            let event = node.event("defined", json!({})).await;
            // With a bug that answers too early it is there a moment later.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let found = node.get(&format!("/api/v1/events/{event}")).await;
            if found.body["status"] == "delivered" { Ok(()) } else { Err(format!("{found:#?}")) }
        })
        .await;
    }
}

fn apis(nodes: &[Server]) -> Vec<Api> {
    nodes.iter().map(Server::api).collect()
}

/// Nodes of a database server of the scenario's own.
fn nodes(database: &Database, count: usize, fault: Option<&str>) -> Vec<Server> {
    (0..count).map(|_| Server::with(with(settings(&database.url()), fault))).collect()
}
