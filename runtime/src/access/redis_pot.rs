//! Rates in Redis: leaky buckets by Redis' own clock (GCRA), one script for each look.
//!
//! The operator names this server, no tenant does: it is not asked for at the guard. Requests do not wait for a server that is away: after
//! a failure it is left alone for a second, and connected to again beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo as _, RedisError, Script};

use crate::config::Secret;

/// What stands before the names of all buckets.
const PREFIX: &str = "triggerd:rate:";
/// How long a request waits for an answer.
const ANSWER: Duration = Duration::from_millis(250);
const CONNECT: Duration = Duration::from_secs(5);
/// How long a server that has failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// The bucket is the time at which it will be empty, in microseconds since 1970, and forgotten a second after that.
const TAKE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local poured, cost, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local empty_at = tonumber(redis.call('GET', KEYS[1]) or '0')
if empty_at < now then empty_at = now end
if empty_at + cost > now + burst then return empty_at + cost - now - burst end
empty_at = empty_at + poured
redis.call('SET', KEYS[1], string.format('%.0f', empty_at), 'PX', math.ceil((empty_at - now) / 1000) + 1000)
return 0";

/// A Redis server that nodes take their rates from.
pub struct RedisPot(Arc<Server>);

struct Server {
    client: redis::Client,
    take: Script,
    line: Mutex<Line>,
    is_up: AtomicBool,
}

/// How the connection stands.
enum Line {
    /// Nobody has asked for it yet, or it has failed: not to be tried before then.
    Down(Option<Instant>),
    Connecting,
    Up(MultiplexedConnection),
}

impl RedisPot {
    /// Of `redis://` or `rediss://`; nothing is connected to yet.
    pub fn new(url: &Secret) -> Result<Self, String> {
        // Another part of the process may have chosen the same one before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let wrong = || "this is no Redis URL; write it like `redis://host:6379` or, with TLS, `rediss://host:6379`";
        let info = url.expose().into_connection_info().map_err(|_| wrong())?;
        if let ConnectionAddr::TcpTls { insecure: true, .. } = info.addr() {
            return Err("certificates are always checked: leave `#insecure` out".to_owned());
        }
        let client = redis::Client::open(info).map_err(|_| wrong())?;
        let server = Arc::new(Server {
            client,
            take: Script::new(TAKE),
            line: Mutex::new(Line::Down(None)),
            is_up: AtomicBool::new(false),
        });
        metrics::gauge!("triggerd_rate_limit_redis_up").set(0.0);
        server.connection();
        Ok(Self(server))
    }

    /// Whether it answered when it was last asked.
    pub fn is_up(&self) -> bool {
        self.0.connection();
        self.0.is_up.load(Ordering::Relaxed)
    }

    /// Pours into a bucket, as [`super::pot::Pot::take`] says; `None` where Redis does not answer.
    pub async fn take(&self, name: &str, tokens: u64, cost: Duration, burst: Duration) -> Option<Option<Duration>> {
        let server = &self.0;
        let connection = server.connection()?;
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let (cost, burst) = (us(cost), us(burst.max(cost)));
        let mut call = server.take.key(format!("{PREFIX}{name}"));
        call.arg(cost.saturating_mul(tokens)).arg(cost).arg(burst);
        let asked = async {
            let mut connection = connection;
            call.invoke_async::<u64>(&mut connection).await
        };
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(0)) => Some(None),
            Ok(Ok(wait)) => Some(Some(Duration::from_micros(wait))),
            Ok(Err(error)) => server.failed(&error.to_string()),
            Err(_) => server.failed("no answer in time"),
        }
    }
}

impl Server {
    /// The connection, where it stands; else one is made beside the caller, unless that has just failed.
    fn connection(self: &Arc<Self>) -> Option<MultiplexedConnection> {
        let mut line = self.line.lock();
        match &*line {
            Line::Up(connection) => return Some(connection.clone()),
            Line::Connecting => return None,
            Line::Down(Some(until)) if Instant::now() < *until => return None,
            Line::Down(_) => *line = Line::Connecting,
        }
        drop(line);
        let server = self.clone();
        tokio::spawn(async move {
            match server.connect().await {
                Ok(connection) => {
                    *server.line.lock() = Line::Up(connection);
                    server.tell(true);
                    tracing::info!("Rates are taken from Redis");
                }
                Err(error) => {
                    server.failed::<()>(&error.to_string());
                }
            }
        });
        None
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(CONNECT));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        Ok(connection)
    }

    fn failed<T>(&self, error: &str) -> Option<T> {
        *self.line.lock() = Line::Down(Some(Instant::now() + PAUSE));
        if self.is_up.load(Ordering::Relaxed) {
            tracing::warn!(error, "Redis does not answer, rates hold for each node or by the store: {error}");
        } else {
            tracing::debug!(error, "Redis still does not answer: {error}");
        }
        self.tell(false);
        None
    }

    fn tell(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
        metrics::gauge!("triggerd_rate_limit_redis_up").set(f64::from(u8::from(is_up)));
    }
}
