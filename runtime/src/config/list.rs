//! The list of all settings: each stands here once, with the field it sets.

use super::Config;
use super::value::Setting;

/// The manual: every setting with its default, commented.
pub const MANUAL: &str = include_str!("../../../triggerd.default.toml");

/// What every variable of the environment begins with.
pub(super) const PREFIX: &str = "TRIGGERD_";

macro_rules! settings {
    ($($key:literal => $($field:ident).+;)+) => {
        /// Every setting: its key in the file. In the environment it is `TRIGGERD_` and the key in capitals, with `_`
        /// for `.`.
        pub const KEYS: &[&str] = &[$($key),+];

        impl Config {
            /// Sets one setting; `Ok(false)` where there is none of that name.
            pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, String> {
                match key {
                    $($key => self.$($field).+ = Setting::read(text)?,)+
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// Every setting as text, secrets hidden.
            #[must_use]
            pub fn shown(&self) -> Vec<(&'static str, String)> {
                vec![$(($key, self.$($field).+.show())),+]
            }
        }
    };
}

settings! {
    "listen" => server.listen;
    "environment" => environment;
    "data_dir" => store.data_dir;
    "store_url" => store.url;
    "storage_dir" => store.storage_dir;
    "retention" => store.retention;
    "audit_retention" => store.audit_retention;
    "max_sync_conflicts" => store.max_sync_conflicts;
    "admin_key" => access.admin_key;
    "master_key" => access.master_key;
    "master_key_previous" => access.master_key_previous;
    "rate_limit" => access.rate_limit;
    "rate_limit_redis" => access.rate_limit_redis;
    "allow_nets" => egress.allow_nets;
    "trusted_proxies" => server.trusted_proxies;
    "forwarded_header" => server.forwarded_header;
    "max_event_bytes" => intake.max_event_bytes;
    "max_batch" => intake.max_batch;
    "max_batch_bytes" => intake.max_batch_bytes;
    "max_in_flight_bytes" => intake.max_in_flight_bytes;
    "max_wait" => intake.max_wait;
    "idempotency_window" => intake.idempotency_window;
    "tls_cert" => server.tls_cert;
    "tls_key" => server.tls_key;
    "cors_origins" => server.cors_origins;
    "access_log" => log.access;
    "otlp_endpoint" => telemetry.otlp_endpoint;
    "otlp_sample_ratio" => telemetry.otlp_sample_ratio;
    "server.header_timeout" => server.header_timeout;
    "server.body_timeout" => server.body_timeout;
    "server.drain_delay" => server.drain_delay;
    "server.drain_timeout" => server.drain_timeout;
    "server.max_connections" => server.max_connections;
    "server.max_streams" => server.max_streams;
    "engine.in_flight" => engine.in_flight;
    "engine.per_tenant" => engine.per_tenant;
    "engine.per_destination" => engine.per_destination;
    "engine.lease" => engine.lease;
    "store.writers" => store.writers;
    "store.connections" => store.connections;
    "store.notify" => store.notify;
    "store.allow_degraded" => store.allow_degraded;
    "databases.sqlite_dirs" => databases.sqlite_dirs;
    "wasm.memory_bytes" => wasm.memory_bytes;
    "wasm.stack_bytes" => wasm.stack_bytes;
    "wasm.cpu" => wasm.cpu;
    "wasm.condition_cpu" => wasm.condition_cpu;
    "wasm.timeout" => wasm.timeout;
    "wasm.result_bytes" => wasm.result_bytes;
    "wasm.log_bytes" => wasm.log_bytes;
    "wasm.host_calls" => wasm.host_calls;
    "wasm.component_bytes" => wasm.component_bytes;
    "wasm.compile_timeout" => wasm.compile_timeout;
    "wasm.compilations" => wasm.compilations;
    "wasm.instances" => wasm.instances;
    "wasm.wasi_http" => wasm.wasi_http;
    "log.format" => log.format;
    "log.level" => log.level;
    "metrics.enabled" => metrics.enabled;
    "metrics.key_required" => metrics.key_required;
}

/// The variable that sets `key`.
#[must_use]
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}
