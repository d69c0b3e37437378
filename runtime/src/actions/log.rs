//! `log.*`: a line in the server's log, with the event's coordinates. One call is one line, whatever it says.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerd_core::outcome::Outcome;

use super::{Action, Context};

/// The longest message, and the longest data, in bytes.
const MAX_TEXT: usize = 8 * 1024;

/// How much a line matters.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For developers.
    Debug,
    /// For the record.
    #[default]
    Info,
    /// Somebody should look.
    Warn,
    /// Somebody must look.
    Error,
}

/// Settings of `log.create`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConfig {
    /// How much it matters; `info` where it is left out.
    #[serde(default)]
    level: Level,
    /// In words.
    #[serde(default)]
    message: Value,
    /// Anything more.
    #[serde(default)]
    data: Value,
}

/// Settings of `log.debug` and its siblings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// In words.
    #[serde(default)]
    message: Value,
    /// Anything more.
    #[serde(default)]
    data: Value,
}

/// `log.create`
pub struct Create;

impl Action for Create {
    const KIND: &'static str = "log.create";
    const READS_EVENT: bool = false;
    type Config = CreateConfig;

    async fn run(cx: Context, config: CreateConfig) -> Outcome {
        write(&cx, config.level, &config.message, config.data)
    }
}

macro_rules! at_level {
    ($($name:ident $kind:literal $level:ident;)*) => {$(
        #[doc = concat!("`", $kind, "`")]
        pub struct $name;

        impl Action for $name {
            const KIND: &'static str = $kind;
            const READS_EVENT: bool = false;
            type Config = Config;

            async fn run(cx: Context, config: Config) -> Outcome {
                write(&cx, Level::$level, &config.message, config.data)
            }
        }
    )*};
}

at_level! {
    Debug "log.debug" Debug;
    Info "log.info" Info;
    Warn "log.warn" Warn;
    Error "log.error" Error;
}

fn write(cx: &Context, level: Level, message: &Value, data: Value) -> Outcome {
    let redactor = cx.redactor(&[]);
    let message = match message {
        Value::String(text) => printable(&redactor.text(text)),
        Value::Null => String::new(),
        other => printable(&redactor.text(&other.to_string())),
    };
    let data = if data.is_null() { String::new() } else { printable(&redactor.value(data).to_string()) };
    macro_rules! line {
        ($level:ident) => {
            tracing::event!(
                target: "triggerd::log",
                tracing::Level::$level,
                tenant = %cx.event.tenant,
                event.id = %cx.event.id,
                trigger = %cx.trigger,
                action = %cx.action,
                delivery.id = %cx.delivery_id,
                data = %data,
                "{message}"
            )
        };
    }
    match level {
        Level::Debug => line!(DEBUG),
        Level::Info => line!(INFO),
        Level::Warn => line!(WARN),
        Level::Error => line!(ERROR),
    }
    Outcome::Done(json!(null))
}

/// `text` on one line and without anything that a terminal obeys, cut at the bound.
#[must_use]
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT));
    for c in text.chars() {
        if out.len() >= MAX_TEXT {
            out.push_str("...");
            break;
        }
        // Bidirectional controls can make a line read as another one.
        let hidden =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || hidden { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_forge_lines_or_colours() {
        assert_eq!(
            printable("ok\nERROR forged\r\x1b[31mred\u{202e}x\u{9b}31m"),
            "ok\\nERROR forged\\r\\u{1b}[31mred\\u{202e}x\\u{9b}31m"
        );
        assert_eq!(printable("grün"), "grün");
        assert_eq!(printable(&"x".repeat(100_000)).len(), MAX_TEXT + 3);
    }
}
