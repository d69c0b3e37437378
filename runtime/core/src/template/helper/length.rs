//! `{{length value}}`: a string's characters, an array's items, an object's members; 0 for null and missing. A number.

use serde_json::Value;

use super::{Absent, Call, Helper};
use crate::template::found::Found;

pub(super) static LENGTH: Helper =
    Helper { name: "length", args: (1, 1), options: &[], absent: Absent::Taken, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    let found = call.first();
    let length = match (found.as_str(), found.json()) {
        (Some(text), _) => {
            call.budget.work(text.len())?;
            text.chars().count()
        }
        (None, Some(Value::Array(items))) => items.len(),
        (None, Some(Value::Object(members))) => members.len(),
        (None, Some(Value::Null)) => 0,
        _ => {
            return Err(format!("wants a string, an array or an object, got {}", found.kind()));
        }
    };
    Ok(Found::Made(length.into()))
}
