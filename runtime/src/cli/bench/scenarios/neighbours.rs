//! The calm tenant sends webhooks at a tenth of its limit, first alone, then while the loud one sends as fast as ten times its own
//! limit; the loud one's receiver does not answer, so that its runs pile up.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{LIMIT, TELL, measure, plan, post_all, ratio};
use crate::cli::bench::generator;
use crate::cli::bench::receiver::Receiver;
use crate::cli::bench::server::Server;

/// Measures both parts.
pub async fn run(time: Duration, server: &Server, receiver: &Receiver) -> anyhow::Result<Value> {
    let (calm, loud) = (server.of_tenant("calm", LIMIT).await?, server.of_tenant("loud", LIMIT).await?);
    // It reads and does not answer.
    let silent = Receiver::start().await?;
    silent.set_open(false);
    post_all(&calm, TELL, receiver.url()).await?;
    post_all(&loud, TELL, silent.url()).await?;
    let alone = measure(&calm, LIMIT / 10, time).await?;
    let noise = tokio::spawn(generator::run(plan(&loud, LIMIT * 10, time * 2)));
    // Until its runs have piled up.
    tokio::time::sleep(time / 2).await;
    let beside = measure(&calm, LIMIT / 10, time).await?;
    let noise = noise.await.context("the loud one panicked")??;
    let figures = json!({
        "p99 accepted, beside to alone": ratio("acceptance_ms", &beside, &alone),
        "p99 delivered, beside to alone": ratio("acceptance_to_end_ms", &beside, &alone),
        "accepted of the loud one": noise.accepted,
        "refused of the loud one": noise.refused,
    });
    Ok(json!({"parts": {"alone": alone, "beside": beside}, "figures": figures}))
}
