//! The effective configuration: defaults, then `triggerd.toml`, then `TRIGGERD_…` of the environment, then flags.
//!
//! One struct per concern. The manual is `triggerd.default.toml`; [`list`] names the settings once.

mod flags;
mod list;
mod load;
mod origins;
mod value;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use flags::Flags;
pub use list::{KEYS, MANUAL, variable_of};
pub use load::{Error, Loaded};
pub use origins::Origins;
pub use value::{
    AccessLog, Endpoint, Environment, Forwarded, LogFormat, Net, Pause, Secret, Share, read_duration, show_duration,
};

/// The effective configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Development or production.
    pub environment: Environment,
    /// The HTTP server.
    pub server: Server,
    /// What is kept, and for how long.
    pub store: Store,
    /// Keys and limits of callers.
    pub access: Access,
    /// Bounds of what comes in.
    pub intake: Intake,
    /// The engine's caps.
    pub engine: Engine,
    /// Outgoing connections.
    pub egress: Egress,
    /// Databases of tenants.
    pub databases: Databases,
    /// The sandbox's bounds.
    pub wasm: Wasm,
    /// Logs.
    pub log: Log,
    /// Metrics.
    pub metrics: Metrics,
    /// Spans for OpenTelemetry.
    pub telemetry: Telemetry,
}

/// The HTTP server.
#[derive(Clone, PartialEq, Debug)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// A connection that has not sent a request's head within this is closed.
    pub header_timeout: Duration,
    /// A request whose body has not come within this is answered 408.
    pub body_timeout: Duration,
    /// Open connections; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Concurrent HTTP/2 streams of one connection.
    pub max_streams: u32,
    /// How long requests are still taken once the server has been told to stop, and says so at `/ready`.
    pub drain_delay: Pause,
    /// How long a shutdown may take after that.
    pub drain_timeout: Duration,
    /// The certificate that the server shows, with those that it was signed by, as PEM. TLS where there is one.
    pub tls_cert: Option<PathBuf>,
    /// Its private key, as PEM.
    pub tls_key: Option<PathBuf>,
    /// The origins whose pages may use the API in browsers.
    pub cors_origins: Origins,
    /// Proxies that are believed whom they were called by.
    pub trusted_proxies: Vec<Net>,
    /// The header in which they tell.
    pub forwarded_header: Forwarded,
}

/// The files of the server's certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// The certificate and those that it was signed by.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Server {
    /// The certificate's files, where TLS is spoken.
    #[must_use]
    pub fn tls(&self) -> Option<Tls> {
        let (cert, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(Tls { cert, key })
    }
}

/// What is kept, and for how long.
#[derive(Clone, PartialEq, Debug)]
pub struct Store {
    /// Where files are.
    pub data_dir: PathBuf,
    /// A PostgreSQL database that nodes share; else SQLite in the data directory.
    pub url: Option<Secret>,
    /// Where storages of the kind `local` keep their folders; else `storage` in the data directory.
    pub storage_dir: Option<PathBuf>,
    /// Finished events older than this are deleted, and conflicts of syncs that were resolved; `None` keeps them.
    pub retention: Option<Duration>,
    /// Entries of the audit log older than this are deleted; `None` keeps them.
    pub audit_retention: Option<Duration>,
    /// Conflicts that are kept of each sync.
    pub max_sync_conflicts: u32,
    /// Connections that commit groups of writes. PostgreSQL only, as those that follow.
    pub writers: u32,
    /// Connections for reads, and for what is seldom written.
    pub connections: u32,
    /// Whether nodes wake each other with `NOTIFY`; without, they poll.
    pub notify: bool,
    /// Whether a server is used that may lose what it has committed.
    pub allow_degraded: bool,
}

/// Keys and limits of callers.
#[derive(Clone, PartialEq, Debug)]
pub struct Access {
    /// The admin key; else one is made at the first start.
    pub admin_key: Option<Secret>,
    /// Encrypts secrets; else one is made at the first start.
    pub master_key: Option<Secret>,
    /// The key before it: what it encrypts can still be read.
    pub master_key_previous: Option<Secret>,
    /// Requests per second of every tenant without a limit of its own; `Some(0)` is unlimited. `None`: 1000 for
    /// tenants made over the API, no limit for `default`.
    pub rate_limit: Option<u32>,
    /// The Redis server that nodes take their rates from; else the store that they share.
    pub rate_limit_redis: Option<Secret>,
}

/// Bounds of what comes in.
#[derive(Clone, PartialEq, Debug)]
pub struct Intake {
    /// The largest event.
    pub max_event_bytes: usize,
    /// The most events of one batch.
    pub max_batch: usize,
    /// The largest batch.
    pub max_batch_bytes: usize,
    /// Bodies of events that are being read and kept, in all.
    pub max_in_flight_bytes: usize,
    /// How long an `Idempotency-Key` is remembered.
    pub idempotency_window: Duration,
    /// How long `?wait=true` waits where no `timeout` is named, and at most.
    pub max_wait: Duration,
}

/// The engine's caps.
#[derive(Clone, PartialEq, Debug)]
pub struct Engine {
    /// Attempts in flight.
    pub in_flight: usize,
    /// Attempts in flight of one tenant.
    pub per_tenant: usize,
    /// Attempts in flight to one destination of one tenant.
    pub per_destination: usize,
    /// How long a node holds a run before others may take it.
    pub lease: Duration,
}

/// Outgoing connections.
#[derive(Clone, PartialEq, Debug)]
pub struct Egress {
    /// Private ranges that may be reached, as set; see [`Config::allowed_nets`].
    pub allow_nets: Option<Vec<Net>>,
}

/// Databases of tenants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Databases {
    /// The directories that SQLite files may be opened in, as set; see `connections::sql::SqliteFiles`.
    pub sqlite_dirs: Option<Vec<PathBuf>>,
}

/// The sandbox's bounds: what every call has where its trigger asks for nothing else, and may not exceed.
#[derive(Clone, PartialEq, Debug)]
pub struct Wasm {
    /// Linear memory of one instance.
    pub memory_bytes: usize,
    /// Stack of one instance.
    pub stack_bytes: usize,
    /// CPU time of one call.
    pub cpu: Duration,
    /// CPU time of one condition.
    pub condition_cpu: Duration,
    /// Wall clock of one call, host calls included.
    pub timeout: Duration,
    /// The largest result.
    pub result_bytes: usize,
    /// The logs kept of one call.
    pub log_bytes: usize,
    /// Host calls in flight of one call.
    pub host_calls: usize,
    /// The largest component.
    pub component_bytes: usize,
    /// The longest compilation.
    pub compile_timeout: Duration,
    /// Compilations at once.
    pub compilations: usize,
    /// Instances at once.
    pub instances: u32,
    /// Whether `wasi:http/outgoing-handler` is linked.
    pub wasi_http: bool,
}

/// Logs.
#[derive(Clone, PartialEq, Debug)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// A level, or directives (`info,triggerd::store=debug`).
    pub level: String,
    /// Which requests are logged.
    pub access: AccessLog,
}

/// Metrics.
#[derive(Clone, PartialEq, Debug)]
pub struct Metrics {
    /// Whether `/metrics` answers.
    pub enabled: bool,
    /// Whether it wants a key.
    pub key_required: bool,
}

/// Spans for OpenTelemetry.
#[derive(Clone, PartialEq, Debug)]
pub struct Telemetry {
    /// The collector that they are exported to; none where there is none.
    pub otlp_endpoint: Option<Endpoint>,
    /// The share of traces that begin here which is exported; others are exported if their caller's are.
    pub otlp_sample_ratio: Share,
}

const MIB: usize = 1024 * 1024;

impl Default for Config {
    fn default() -> Self {
        Self {
            environment: Environment::Development,
            server: Server {
                listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
                header_timeout: Duration::from_secs(10),
                body_timeout: Duration::from_secs(30),
                max_connections: 100_000,
                max_streams: 128,
                drain_delay: Pause(Duration::ZERO),
                drain_timeout: Duration::from_secs(30),
                tls_cert: None,
                tls_key: None,
                cors_origins: Origins::None,
                trusted_proxies: Vec::new(),
                forwarded_header: Forwarded::XForwardedFor,
            },
            store: Store {
                data_dir: PathBuf::from("./data"),
                url: None,
                storage_dir: None,
                retention: Some(days(90)),
                audit_retention: Some(days(365)),
                max_sync_conflicts: 10_000,
                writers: 2,
                connections: 8,
                notify: true,
                allow_degraded: false,
            },
            access: Access {
                admin_key: None,
                master_key: None,
                master_key_previous: None,
                rate_limit: None,
                rate_limit_redis: None,
            },
            intake: Intake {
                max_event_bytes: MIB,
                max_batch: 10_000,
                max_batch_bytes: 32 * MIB,
                max_in_flight_bytes: 128 * MIB,
                idempotency_window: days(1),
                max_wait: Duration::from_secs(60),
            },
            engine: Engine { in_flight: 4096, per_tenant: 1024, per_destination: 32, lease: Duration::from_secs(30) },
            egress: Egress { allow_nets: None },
            databases: Databases { sqlite_dirs: None },
            wasm: Wasm {
                memory_bytes: 64 * MIB,
                stack_bytes: 512 * 1024,
                cpu: Duration::from_secs(1),
                condition_cpu: Duration::from_millis(10),
                timeout: Duration::from_secs(30),
                result_bytes: MIB,
                log_bytes: 256 * 1024,
                host_calls: 64,
                component_bytes: 64 * MIB,
                compile_timeout: Duration::from_secs(60),
                compilations: 1,
                instances: 256,
                wasi_http: false,
            },
            log: Log { format: LogFormat::Text, level: "info".to_owned(), access: AccessLog::Off },
            metrics: Metrics { enabled: true, key_required: false },
            telemetry: Telemetry { otlp_endpoint: None, otlp_sample_ratio: Share(1.0) },
        }
    }
}

impl Config {
    /// Whether this is development.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.environment == Environment::Development
    }

    /// The private ranges that outgoing calls may reach: as set, else none in production and loopback in development.
    #[must_use]
    pub fn allowed_nets(&self) -> Vec<Net> {
        match &self.egress.allow_nets {
            Some(nets) => nets.clone(),
            None if self.is_development() => Net::loopback(),
            None => Vec::new(),
        }
    }

    /// Where storages keep their folders, given where everything else is kept.
    #[must_use]
    pub fn storage_dir(&self, data_dir: &std::path::Path) -> PathBuf {
        self.store.storage_dir.clone().unwrap_or_else(|| data_dir.join("storage"))
    }

    /// Where the embedded store is, and everything else that is kept in files.
    #[must_use]
    pub fn data_dir(&self) -> &std::path::Path {
        &self.store.data_dir
    }
}

/// A duration as settings are written: `500ms`, `30s`, `5m`, `24h`, `90d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    value::Setting::read(text)
}

fn days(n: u64) -> Duration {
    Duration::from_secs(n * 24 * 60 * 60)
}
