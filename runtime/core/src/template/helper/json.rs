//! `{{json value}}`: the value as JSON text, a string with its quotes; `pretty=true` on several lines.

use super::{Absent, Call, Helper};
use crate::template::MAX_OUTPUT;
use crate::template::found::{Found, json_text};

pub(super) static JSON: Helper =
    Helper { name: "json", args: (1, 1), options: &["pretty"], absent: Absent::Taken, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    let pretty = call.option("pretty").is_some_and(|pretty| pretty.is_truthy(false));
    let mut hold = serde_json::Value::Null;
    let value = call.first().clone().hold(&mut hold);
    let text = json_text(value, MAX_OUTPUT, pretty).ok_or("the value is too large to become text")?;
    Ok(Found::text(text))
}
