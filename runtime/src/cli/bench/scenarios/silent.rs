//! One endpoint of a tenant is sent every event, first alone, then while a second trigger sends each to one of 5,000 endpoints that
//! accept and never answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::{LIMIT, TELL, measure, post_all, ratio};
use crate::cli::bench::receiver::Receiver;
use crate::cli::bench::server::Server;

/// Measures both parts.
pub async fn run(time: Duration, server: &Server, receiver: &Receiver) -> anyhow::Result<Value> {
    let tenant = server.of_tenant("many", LIMIT).await?;
    post_all(&tenant, TELL, receiver.url()).await?;
    let alone = measure(&tenant, LIMIT / 10, time).await?;
    let silent = Receiver::start().await?;
    silent.set_open(false);
    // Each path is an endpoint of its own, and the generator's orders are of 5,000 customers.
    post_all(&tenant, "hang", &format!("{}{{{{record.customer_id}}}}", silent.url())).await?;
    // Until attempts hang in all places that they may take.
    measure(&tenant, LIMIT / 10, time).await?;
    let beside = measure(&tenant, LIMIT / 10, time).await?;
    let figures = json!({
        "p99 accepted, beside to alone": ratio("acceptance_ms", &beside, &alone),
        "p99 delivered, beside to alone": ratio("acceptance_to_end_ms", &beside, &alone),
    });
    Ok(json!({"parts": {"alone": alone, "beside": beside}, "figures": figures}))
}
