//! `{{lookup object key}}`: the member or item that a value names.

use serde_json::Value;

use super::{Absent, Call, Helper};
use crate::template::found::Found;

pub(super) static LOOKUP: Helper =
    Helper { name: "lookup", args: (2, 2), options: &[], absent: Absent::Passes, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    let key = call.text(&call.args[1])?;
    Ok(match call.first() {
        Found::Json(value) => member(value, &key).map_or(Found::Missing, Found::Json),
        Found::Made(value) => {
            call.weigh(call.first())?;
            member(value, &key).map_or(Found::Missing, |member| Found::Made(member.clone()))
        }
        Found::Text(_) | Found::Missing => Found::Missing,
    })
}

fn member<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    }
}
