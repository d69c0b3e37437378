//! One server for all tests that need none of their own: each of them gets a tenant.

use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::api::Api;
use super::server::{Server, Settings};
use super::sql_server::{Database, Engine};

static SERVER: OnceLock<Server> = OnceLock::new();
static TENANTS: AtomicU32 = AtomicU32::new(1);

/// A tenant of the shared server; acts as a client with all rights in it.
pub struct Home {
    api: Api,
    /// The tenant's name.
    pub tenant: String,
    server: &'static Server,
}

/// A fresh tenant on the shared server.
pub async fn home() -> Home {
    let server = SERVER.get_or_init(|| Server::with(Settings::default().set("RATE_LIMIT", "0")));
    let tenant = format!("t{}-{}", TENANTS.fetch_add(1, Ordering::Relaxed), std::process::id());
    let operator = server.api();
    operator.post("/api/v1/tenants", json!({"id": tenant})).await.expect(201);
    Home { api: operator.in_tenant(&tenant), tenant, server }
}

impl Home {
    /// The server, for its log and its files.
    pub fn server(&self) -> &'static Server {
        self.server
    }

    /// A client of the same tenant with a key of these scopes.
    pub async fn with_scopes(&self, scopes: &[&str]) -> Api {
        let made = self.api.post("/api/v1/keys", json!({"name": "it", "scopes": scopes})).await.expect(201);
        Api::new(&self.server.url(), Some(made["key"].as_str().expect("the key is shown once")))
    }
}

impl Deref for Home {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the shared server's log ---\n{}\n---", self.server.log_tail(25));
        }
    }
}

/// A database of that engine; SQLite's file lies where the shared server may open it.
pub async fn database(home: &Home, engine: Engine) -> Database {
    match engine {
        Engine::Postgres => Database::postgres().await,
        Engine::MariaDb => Database::mariadb().await,
        Engine::Sqlite => {
            let files = home.server().data_dir().join("databases");
            std::fs::create_dir_all(&files).unwrap();
            Database::file(&files)
        }
    }
}
