//! `{{base64 value}}`: the value's text in standard base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Absent, Call, Helper};
use crate::template::found::Found;

pub(super) static BASE64: Helper =
    Helper { name: "base64", args: (1, 1), options: &[], absent: Absent::Passes, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    Ok(Found::text(STANDARD.encode(call.first_text()?.as_bytes())))
}
