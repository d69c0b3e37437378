//! `{{join array ", "}}`: the items' texts with a separator (`, ` by default) between them.

use serde_json::Value;

use super::{Absent, Call, Helper};
use crate::template::MAX_OUTPUT;
use crate::template::found::{Found, value_text};

pub(super) static JOIN: Helper =
    Helper { name: "join", args: (1, 2), options: &["separator"], absent: Absent::Passes, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    let Some(Value::Array(items)) = call.first().json() else {
        return Err(format!("wants an array, got {}", call.first().kind()));
    };
    let separator = call.text_at(1, "separator")?.unwrap_or_else(|| ", ".into());
    let mut joined = String::new();
    for (i, item) in items.iter().enumerate() {
        let text = value_text(item, MAX_OUTPUT).ok_or("an item is too large to become text")?;
        let separator = if i == 0 { "" } else { &*separator };
        call.budget.work(separator.len() + text.len() + 1)?;
        joined.push_str(separator);
        joined.push_str(&text);
    }
    Ok(Found::text(joined))
}
