//! The load generator: plain HTTP/1.1 over kept-open connections, cheap enough to share a machine with the server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the execute call says of a write that may be done.
const ALLOWED: &[u8] = br#""allowed":true"#;
/// A body as the generator sends them.
pub const ORDER: &str = r#"{"operation":"insert","database":"orders-db","table":"orders","record":{"id":12345,"status":"confirmed","total":45.5,"customer_id":"c-2345","customer_email":"c12345@example.com","items":[{"sku":"a-1","quantity":2}]}}"#;

/// What to send.
#[derive(Clone)]
pub struct Plan {
    /// Where to.
    pub address: SocketAddr,
    /// The API key.
    pub key: String,
    /// How many connections, each with one request under way.
    pub connections: usize,
    /// Events in a request.
    pub batch: usize,
    /// Events per second over all connections.
    pub rate: Option<u32>,
    /// Ask about writes that are still to come, over the execute call.
    pub execute: bool,
    /// For how long it is sent before anything counts.
    pub warm_up: Duration,
    /// For how long, after that.
    pub time: Duration,
    /// As many events as are enough, also before the time is over.
    pub enough: Option<u64>,
}

impl Plan {
    /// As fast as one connection can, for a second.
    #[must_use]
    pub fn to(address: SocketAddr, key: String) -> Self {
        let (warm_up, time) = (Duration::ZERO, Duration::from_secs(1));
        Self { address, key, connections: 1, batch: 1, rate: None, execute: false, warm_up, time, enough: None }
    }
}

/// What came of it.
pub struct Load {
    /// When the first request was sent that counts.
    pub started_at: Timestamp,
    /// How long it took from then until the last answer.
    pub elapsed: Duration,
    /// Events that were answered 202; writes that were allowed.
    pub accepted: u64,
    /// The same while nothing counted yet.
    pub warmed_up: u64,
    /// Requests that were answered otherwise.
    pub refused: u64,
    /// Of these, those whose answer did not say when to come again.
    pub refused_for_good: u64,
    /// From the moment a request was due to its answer, in microseconds.
    pub latencies: Histogram<u64>,
}

/// Sends events until the time is over.
pub async fn run(plan: Plan) -> anyhow::Result<Load> {
    let (started_at, began) = (Timestamp::now() + plan.warm_up, Instant::now());
    let warm_up = plan.warm_up;
    let senders: Vec<_> = (0..plan.connections).map(|index| tokio::spawn(send(plan.clone(), index, began))).collect();
    let elapsed = Duration::ZERO;
    let mut load = Load {
        started_at,
        elapsed,
        accepted: 0,
        warmed_up: 0,
        refused: 0,
        refused_for_good: 0,
        latencies: histogram()?,
    };
    for sender in senders {
        let part = sender.await.context("a sender panicked")??;
        load.accepted += part.accepted;
        load.warmed_up += part.warmed_up;
        load.refused += part.refused;
        load.refused_for_good += part.refused_for_good;
        load.latencies.add(&part.latencies).context("latencies cannot be added")?;
    }
    load.elapsed = began.elapsed().saturating_sub(warm_up);
    Ok(load)
}

struct Part {
    /// Before this nothing counts.
    counts_from: Instant,
    accepted: u64,
    warmed_up: u64,
    refused: u64,
    refused_for_good: u64,
    latencies: Histogram<u64>,
}

/// How a request was answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// 202, or a write that is allowed.
    Well,
    /// Not now: `Retry-After` says when.
    Later,
    Otherwise,
}

async fn send(plan: Plan, index: usize, began: Instant) -> anyhow::Result<Part> {
    let mut connection = TcpStream::connect(plan.address).await.context("the server does not answer")?;
    connection.set_nodelay(true)?;
    let counts_from = began + plan.warm_up;
    let latencies = histogram()?;
    let mut part = Part { counts_from, accepted: 0, warmed_up: 0, refused: 0, refused_for_good: 0, latencies };
    let share = plan.enough.map(|events| events.div_ceil((plan.connections * plan.batch) as u64));
    let pause =
        plan.rate.map(|rate| Duration::from_secs_f64((plan.connections * plan.batch) as f64 / f64::from(rate.max(1))));
    // Connections are spread over one pause, so that they do not send in step.
    let mut due = began + pause.unwrap_or_default().mul_f64(index as f64 / plan.connections as f64);
    let mut request = Vec::with_capacity(1024);
    let mut answer = Vec::with_capacity(4096);
    let mut number = 0_u64;
    let end = counts_from + plan.time;
    while Instant::now() < end && share.is_none_or(|share| number < share) {
        if pause.is_some() {
            tokio::time::sleep_until(due.into()).await;
        }
        write_request(&mut request, &plan, index, number);
        // With a rate it is measured from when it was due, not from when it was sent: a late generator must not hide a slow server.
        let since = if pause.is_some() { due } else { Instant::now() };
        let answered = exchange(&mut connection, &request, &mut answer).await?;
        part.count(answered, plan.batch, since);
        due += pause.unwrap_or_default();
        number += 1;
    }
    Ok(part)
}

impl Part {
    /// Counts a request that was sent, or due, at an instant and is answered now.
    fn count(&mut self, answered: Answered, events: usize, since: Instant) {
        if answered != Answered::Well {
            self.refused += 1;
            self.refused_for_good += u64::from(answered == Answered::Otherwise);
        } else if Instant::now() < self.counts_from {
            self.warmed_up += events as u64;
        } else {
            self.accepted += events as u64;
        }
        if since >= self.counts_from {
            self.latencies.saturating_record(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    }
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).context("no histogram")
}

fn write_request(request: &mut Vec<u8>, plan: &Plan, index: usize, number: u64) {
    use std::fmt::Write as _;
    let mut body = String::with_capacity(256 * plan.batch);
    if plan.batch > 1 {
        body.push('[');
    }
    if plan.execute {
        body.push_str(r#"{"event":"beforeInsert","context":"#);
    }
    let operation = if plan.execute { "" } else { r#""operation":"insert","# };
    for item in 0..plan.batch {
        if item > 0 {
            body.push(',');
        }
        let id = (number * plan.batch as u64 + item as u64) * plan.connections as u64 + index as u64;
        // Writing to a String cannot fail.
        let _ = write!(
            body,
            r#"{{{operation}"database":"orders-db","table":"orders","record":{{"id":{id},"status":"confirmed","total":{}.5,"customer_id":"c-{}","customer_email":"c{id}@example.com","items":[{{"sku":"a-1","quantity":2}}]}}}}"#,
            20 + id % 1000,
            id % 5000
        );
    }
    if plan.batch > 1 {
        body.push(']');
    }
    if plan.execute {
        body.push('}');
    }
    let path = match (plan.execute, plan.batch) {
        (true, _) => "/api/v1/execute",
        (false, 1) => "/api/v1/events",
        (false, _) => "/api/v1/events/batch",
    };
    request.clear();
    request.extend_from_slice(
        format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            plan.address,
            plan.key,
            body.len()
        )
        .as_bytes(),
    );
    request.extend_from_slice(body.as_bytes());
}

/// Sends a request and reads its answer whole.
async fn exchange(connection: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> anyhow::Result<Answered> {
    connection.write_all(request).await.context("the server closed the connection")?;
    answer.clear();
    loop {
        if connection.read_buf(answer).await.context("the server closed the connection")? == 0 {
            bail!("the server closed the connection in the middle of an answer");
        }
        let Some(head_end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..head_end]).context("the answer's head is not text")?;
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok())
            .context("the answer has no content-length")?;
        if answer.len() >= head_end + 4 + length {
            let is_allowed = || answer[head_end..].windows(ALLOWED.len()).any(|part| part == ALLOWED);
            let is_well = head.starts_with("HTTP/1.1 202") || head.starts_with("HTTP/1.1 200") && is_allowed();
            let says_when = || {
                head.lines().any(|line| line.get(..12).is_some_and(|name| name.eq_ignore_ascii_case("retry-after:")))
            };
            return Ok(match is_well {
                true => Answered::Well,
                false if says_when() => Answered::Later,
                false => Answered::Otherwise,
            });
        }
    }
}
