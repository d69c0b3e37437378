//! What commands print: tables for people, JSON for scripts.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// How to print.
#[derive(Clone, Copy)]
pub struct Output {
    /// JSON instead of tables.
    pub json: bool,
}

impl Output {
    /// Prints a list: each column a heading and where in an item its value stands (`runs.0.status`).
    pub fn list(self, items: &[Value], columns: &[(&str, &str)]) {
        if self.json {
            return self.value(&Value::Array(items.to_vec()));
        }
        if items.is_empty() {
            println!("none");
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(columns.iter().map(|(heading, _)| heading.to_uppercase()));
        for item in items {
            table.add_row(columns.iter().map(|(_, place)| text_at(item, place)));
        }
        println!("{table}");
    }

    /// Prints a value as JSON.
    pub fn value(self, value: &Value) {
        // A `Value` always serialises.
        println!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// Prints a sentence for people; scripts get `value` instead.
    pub fn done(self, sentence: &str, value: &Value) {
        if self.json {
            self.value(value);
        } else {
            println!("{sentence}");
        }
    }
}

/// The value at a dotted place, as text.
#[must_use]
pub fn text_at(item: &Value, place: &str) -> String {
    let found = place.split('.').try_fold(item, |at, step| match step.parse::<usize>() {
        Ok(index) => at.get(index),
        Err(_) => at.get(step),
    });
    match found {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
