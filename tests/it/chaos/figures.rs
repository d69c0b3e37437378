//! What a scenario measured: printed, and written where `cargo xtask chaos` gathers it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// A number from the environment: how long a scenario is.
pub fn length(name: &str, short: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(short, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")))
}

/// Tells what was measured.
pub fn report(scenario: &str, figures: &Value) {
    println!("figures of {scenario}: {figures}");
    if let Some(dir) = std::env::var_os("TRIGGERD_CHAOS_FIGURES") {
        let dir = Path::new(&dir);
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join(format!("{scenario}.json")), format!("{figures:#}\n")).unwrap();
    }
}

/// The value below which `part` of them lie, in milliseconds; `Null` where there are none.
pub fn percentile(values: &[Duration], part: f64) -> Value {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let place = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(place).map_or(Value::Null, |value| milliseconds(*value))
}

/// A duration as it is reported.
pub fn milliseconds(value: Duration) -> Value {
    Value::from((value.as_secs_f64() * 10_000.0).round() / 10.0)
}
