//! What one call may use, and what holds it to that.

use std::time::Duration;

use serde_json::Value;
use triggerd_core::mistake::{Mistake, join};
use wasmtime::ResourceLimiter;

use super::engine::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// What one call may use. The defaults are the documented ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Linear memory, all of the component's memories together.
    pub memory_bytes: usize,
    /// CPU time of the guest.
    pub cpu: Duration,
    /// The whole call, host calls included.
    pub wall: Duration,
    /// The answer.
    pub result_bytes: usize,
    /// Kept log text; what is over is counted.
    pub log_bytes: usize,
    /// Kept log lines; what is over is counted.
    pub log_lines: usize,
    /// Calls of imports.
    pub host_calls: u32,
    /// Requests under way at once through `wasi:http`.
    pub in_flight: usize,
    /// Bytes of one HTTP request or response body.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            cpu: Duration::from_secs(1),
            wall: Duration::from_secs(30),
            result_bytes: 1 << 20,
            log_bytes: 256 << 10,
            log_lines: 2_000,
            host_calls: 10_000,
            in_flight: 64,
            body_bytes: 4 << 20,
        }
    }
}

impl Limits {
    /// Those of a condition: 10 ms of CPU.
    #[must_use]
    pub fn condition() -> Self {
        Self { cpu: Duration::from_millis(10), ..Self::default() }
    }

    /// These limits with what `written` changes: `{"memoryBytes", "cpuMs", "wallMs", "resultBytes", "logBytes"}`, all
    /// whole numbers above zero; `null` changes nothing. The operator's limits are the ceiling.
    pub fn with(&self, written: &Value) -> Result<Self, Vec<Mistake>> {
        const KNOWN: [&str; 5] = ["memoryBytes", "cpuMs", "wallMs", "resultBytes", "logBytes"];
        let fields = match written {
            Value::Null => return Ok(self.clone()),
            Value::Object(fields) => fields,
            _ => return Err(vec![Mistake::new("", "limits are an object")]),
        };
        let mut limits = self.clone();
        let mut mistakes = Vec::new();
        for (name, value) in fields {
            let Some(number) = value.as_u64().filter(|number| *number > 0) else {
                mistakes.push(Mistake::new(join("", name), "a whole number above zero is needed"));
                continue;
            };
            let bytes = usize::try_from(number).unwrap_or(usize::MAX);
            let time = Duration::from_millis(number);
            match name.as_str() {
                "memoryBytes" => limits.memory_bytes = bytes.min(self.memory_bytes),
                "cpuMs" => limits.cpu = time.min(self.cpu),
                "wallMs" => limits.wall = time.min(self.wall),
                "resultBytes" => limits.result_bytes = bytes.min(self.result_bytes),
                "logBytes" => limits.log_bytes = bytes.min(self.log_bytes),
                _ => mistakes.push(Mistake::unknown(join("", name), "limit", name, KNOWN)),
            }
        }
        if mistakes.is_empty() { Ok(limits) } else { Err(mistakes) }
    }

    /// What a single host call may hand over, in bytes: the largest thing that it may legally be, and what is around it.
    pub(super) fn transfer_bytes(&self) -> usize {
        self.result_bytes.max(self.body_bytes).max(self.log_bytes).max(1 << 20) + (64 << 10)
    }
}

/// The guest wanted more memory than it may have.
#[derive(Debug, thiserror::Error)]
#[error("the guest asked for {wanted} bytes of memory; its limit is {limit}")]
pub(super) struct MemoryExhausted {
    wanted: usize,
    limit: usize,
}

/// The guest wanted a larger table than it may have.
#[derive(Debug, thiserror::Error)]
#[error("the guest asked for a table of {wanted} elements; the limit is {MAX_TABLE_ELEMENTS}")]
pub(super) struct TableExhausted {
    wanted: usize,
}

/// Refuses growth past the limits, and remembers the largest use.
pub(super) struct Limiter {
    limit: usize,
    used: usize,
    peak: usize,
}

impl Limiter {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, used: 0, peak: 0 }
    }

    /// The most memory the guest had.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.limit {
            // An error ends the call with a name for what happened; `false` would leave it to the guest's allocator.
            return Err(MemoryExhausted { wanted, limit: self.limit }.into());
        }
        self.used = wanted;
        self.peak = self.peak.max(wanted);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE_ELEMENTS {
            return Err(TableExhausted { wanted: desired }.into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}
