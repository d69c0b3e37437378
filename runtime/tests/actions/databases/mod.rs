//! `database.*` against real servers, and a file: the same promises on each engine.

mod failures;
mod guests;
mod injection;
mod ledger;
mod newest;
mod operators;
pub mod tls;
mod types;

use std::time::Duration;

use serde_json::{Value, json};
use triggerd::config::Net;
use triggerd_core::outcome::Outcome;

use crate::harness::sql_server::{Database, Engine};
use crate::harness::{Bench, run};

/// Services with the resource `db`, which is a database of this engine.
pub struct Place {
    pub bench: Bench,
    pub db: Database,
}

impl Place {
    pub async fn on(engine: Engine) -> Self {
        let bench = Bench::with(Net::loopback(), true).await;
        let db = match engine {
            Engine::Postgres => Database::postgres().await,
            Engine::MariaDb => Database::mariadb().await,
            Engine::Sqlite => {
                let databases = bench.data_dir().join("databases");
                std::fs::create_dir_all(&databases).unwrap();
                Database::file(&databases)
            }
        };
        bench.put("databases", "db", db.settings()).await;
        Self { bench, db }
    }

    /// Runs an action, again for as long as it asks to be tried again.
    pub async fn act(&self, kind: &str, config: Value) -> Outcome {
        let cx = self.bench.context();
        for _ in 0..200 {
            match run(&cx, kind, config.clone()).await {
                Outcome::Retry { .. } => tokio::time::sleep(Duration::from_millis(10)).await,
                ended => return ended,
            }
        }
        panic!("{kind} is tried again for ever");
    }

    pub async fn insert(&self, table: &str, values: Value) -> Outcome {
        self.act("database.insert", json!({"database": "db", "table": table, "values": values})).await
    }

    pub async fn update(&self, table: &str, values: Value, filter: Value) -> Outcome {
        let config = json!({"database": "db", "table": table, "values": values, "where": filter});
        self.act("database.update", config).await
    }

    pub async fn upsert(&self, table: &str, values: Value, conflict: Value) -> Outcome {
        let config = json!({"database": "db", "table": table, "values": values, "conflict": conflict});
        self.act("database.upsert", config).await
    }

    pub async fn delete(&self, table: &str, filter: Value) -> Outcome {
        self.act("database.delete", json!({"database": "db", "table": table, "where": filter})).await
    }
}

/// JSON with the digits that it was written with.
pub fn exact(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
