//! PostgreSQL, beside an INSERT of the same row with sqlx.

use std::sync::Arc;

use anyhow::Context;
use serde_json::json;
use sqlx::postgres::PgPoolOptions;

use super::{Connector, Sender, order};

/// Connections of either side.
const CONNECTIONS: u32 = 8;

pub(super) async fn connect(url: &str) -> anyhow::Result<Connector> {
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .connect(url)
        .await
        .context("PostgreSQL does not answer; --target postgres://USER@HOST/DATABASE")?;
    for table in ["triggerd_bench_client", "triggerd_bench_action"] {
        let ddl =
            format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id bigint, customer_id text, body jsonb)");
        // The names are ours.
        sqlx::raw_sql(sqlx::AssertSqlSafe(ddl)).execute(&pool).await.context("the tables cannot be made")?;
    }
    let raw: Sender = Arc::new(move |number| {
        let pool = pool.clone();
        Box::pin(async move {
            sqlx::query("INSERT INTO triggerd_bench_client (id, customer_id, body) VALUES ($1, $2, $3::text::jsonb)")
                .bind(i64::try_from(number).unwrap_or(i64::MAX))
                .bind(order(number)["customer_id"].as_str())
                .bind(order(number).to_string())
                .execute(&pool)
                .await?;
            Ok(())
        })
    });
    Ok(Connector {
        raw,
        resource: Some(("databases", json!({"url": url, "maxConnections": CONNECTIONS}))),
        action: json!({"type": "database.insert", "config": {
            "database": "bench", "table": "triggerd_bench_action",
            "values": {"id": "{{record.id}}", "customer_id": "{{record.customer_id}}", "body": "{{record}}"}
        }}),
        _held: None,
    })
}
