//! The database of a server under load: made on the PostgreSQL server that `--store` names, and dropped afterwards.

use std::str::FromStr as _;

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};

/// An empty database, the bench's own.
pub struct Database {
    server: PgConnectOptions,
    name: String,
    url: String,
}

impl Database {
    /// Makes one on the server that `url` names; its user needs the right to. `what` goes into its name.
    pub async fn make(url: &str, what: &str) -> anyhow::Result<Self> {
        let server = PgConnectOptions::from_str(url).context("--store is no PostgreSQL URL")?;
        let name = format!("triggerd_bench_{what}_{}", std::process::id());
        let mut parsed = reqwest::Url::parse(url).context("--store is no URL")?;
        parsed.set_path(&name);
        let mut conn = PgConnection::connect_with(&server).await.context("cannot connect to --store")?;
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await?;
        conn.close().await?;
        Ok(Self { server, name, url: parsed.to_string() })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Drops it, with whoever is still connected.
    pub async fn drop_it(self) -> anyhow::Result<()> {
        let mut conn = PgConnection::connect_with(&self.server).await?;
        sqlx::query(AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name))).execute(&mut conn).await?;
        Ok(conn.close().await?)
    }
}
