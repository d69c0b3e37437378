//! `triggerd bench --action`: what an action costs beside the client library that it uses.
//!
//! In one run, turn about: the client alone, and the action as dispatch runs it (settings rendered and read, the
//! connection taken from the pool, the confirmation awaited), both with as many under way as `--connections` says. What the
//! whole server does with the same action is measured after that, by the load generator.

mod action;
mod kafka;
mod nats;
mod postgres;
mod redis;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use action::Attempts;

/// Rounds of each; the median is told.
const ROUNDS: usize = 3;

/// The systems whose connectors are measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// `http.post` to the built-in receiver, beside reqwest.
    Http,
    /// `broker.publish` to a Redis stream, beside redis.
    Redis,
    /// `broker.publish` to a NATS stream, beside async-nats.
    Nats,
    /// `broker.publish` to Kafka (by default librdkafka's mock cluster), beside rdkafka.
    Kafka,
    /// `database.insert` with its ledger, beside sqlx.
    Postgres,
}

/// Sends the message of that number and waits for its confirmation.
type Sender = Arc<dyn Fn(u64) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// A system that is ready to be measured.
pub struct Connector {
    /// The client library alone.
    raw: Sender,
    /// The resource that the action names: kind and settings.
    pub resource: Option<(&'static str, Value)>,
    /// The action, as a definition has it.
    pub action: Value,
    /// What has to live as long as the measure does.
    _held: Option<Box<dyn std::any::Any>>,
}

impl System {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Kafka => "kafka",
            Self::Postgres => "postgres",
        }
    }

    /// Connects to `target`, and prepares what the messages go to.
    pub async fn connect(self, target: Option<&str>, receiver: &str) -> anyhow::Result<Connector> {
        match self {
            Self::Http => http(receiver),
            Self::Redis => redis::connect(target.unwrap_or("redis://127.0.0.1:6379")).await,
            Self::Nats => nats::connect(target.unwrap_or("nats://127.0.0.1:4222")).await,
            Self::Kafka => kafka::connect(target),
            Self::Postgres => postgres::connect(target.unwrap_or("postgres://postgres@127.0.0.1:5432/postgres")).await,
        }
    }
}

impl Connector {
    /// Measures the client and the action, turn about, each for `time` in all.
    pub async fn measure(&self, under_way: usize, time: Duration) -> anyhow::Result<Value> {
        let attempts = Attempts::prepare(self).await?;
        let action: Sender = Arc::new(move |number| attempts.make(number));
        let round = time / ROUNDS as u32;
        // Connections and caches first.
        rate(&self.raw, under_way, round / 4).await.context("the client alone")?;
        rate(&action, under_way, round / 4).await.context("the action")?;
        let (mut raw_rates, mut action_rates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            raw_rates.push(rate(&self.raw, under_way, round).await.context("the client alone")?);
            action_rates.push(rate(&action, under_way, round).await.context("the action")?);
        }
        let (raw, action) = (median(raw_rates), median(action_rates));
        Ok(json!({"client_per_second": raw, "action_per_second": action, "share": action / raw}))
    }
}

/// How many a second are confirmed, with `under_way` at a time.
async fn rate(sender: &Sender, under_way: usize, time: Duration) -> anyhow::Result<f64> {
    let (next, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let tasks: Vec<_> = (0..under_way)
        .map(|_| {
            let (sender, next) = (sender.clone(), next.clone());
            tokio::spawn(async move {
                let mut done = 0_u64;
                while began.elapsed() < time {
                    sender(next.fetch_add(1, Ordering::Relaxed)).await?;
                    done += 1;
                }
                anyhow::Ok(done)
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.context("a sender panicked")??;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

/// The middle one.
pub fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// How many different messages there are.
const MESSAGES: u64 = 512;

/// What the messages say: orders as the load generator sends them. They are there before the measure begins, for either
/// side: where an event comes from is not what is measured.
static ORDERS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let order = |number: u64| {
        json!({
            "id": number, "status": "confirmed", "total": 99.5, "customer_id": format!("c-{number}"),
            "customer_email": format!("c{number}@example.com"), "items": [{"sku": "a-1", "quantity": 2}],
        })
    };
    (0..MESSAGES).map(order).collect()
});

/// The message of that number.
fn order(number: u64) -> &'static Value {
    &ORDERS[(number % MESSAGES) as usize]
}

fn http(receiver: &str) -> anyhow::Result<Connector> {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(256).build()?;
    let url = receiver.to_owned();
    let raw: Sender = Arc::new(move |number| {
        let request = client.post(&url).json(order(number));
        Box::pin(async move {
            request.send().await?.error_for_status()?;
            Ok(())
        })
    });
    let action = json!({"type": "http.post", "config": {"url": receiver, "body": "{{record}}"}});
    Ok(Connector { raw, resource: None, action, _held: None })
}
