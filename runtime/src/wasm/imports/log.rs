//! `log`: always granted, bounded by the log book and the budget of calls.

use serde_json::Value;

use crate::wasm::bindings::triggerd::runtime::log::{Host, Level};
use crate::wasm::guest::Guest;

impl Host for Guest {
    fn write(&mut self, level: Level, message: String, fields: Option<String>) -> wasmtime::Result<()> {
        self.count_call()?;
        let level = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let text = fields.unwrap_or_default();
        // Larger than the whole book: not worth parsing, and dropped by it.
        let fields = match &*text {
            "" => Value::Null,
            large if large.len() > self.limits.log_bytes => Value::Null,
            text => match serde_json::from_str(text) {
                Ok(fields @ Value::Object(_)) => fields,
                // A log line is worth more than its form.
                _ => serde_json::json!({ "fields": text }),
            },
        };
        self.log.write(level, &message, fields, text.len());
        Ok(())
    }
}
