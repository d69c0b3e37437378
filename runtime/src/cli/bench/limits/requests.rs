//! A bare axum server that reads each request's JSON.

use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use crate::cli::bench::generator::{self, Plan};

pub(super) async fn measure(connections: usize, time: Duration) -> anyhow::Result<f64> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer =
        async |Json(event): Json<Value>| (StatusCode::ACCEPTED, Json(json!({"event_id": event["record"]["id"]})));
    let app = Router::new().route("/api/v1/events", post(answer));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let plan = Plan { connections, time, ..Plan::to(address, String::new()) };
    let load = generator::run(plan).await;
    serving.abort();
    let load = load?;
    Ok(load.accepted as f64 / load.elapsed.as_secs_f64())
}
