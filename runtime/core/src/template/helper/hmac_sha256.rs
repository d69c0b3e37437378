//! `{{hmacSha256 value key}}`: the HMAC-SHA256 of the value's text in lower-case hex, or with
//! `encoding="base64"` in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Absent, Call, Helper};
use crate::template::budget::COSTLY;
use crate::template::found::Found;

pub(super) static HMAC_SHA256: Helper = Helper {
    name: "hmacSha256",
    args: (1, 2),
    options: &["key", "encoding"],
    absent: Absent::Passes,
    verdict: false,
    run,
};

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    let value = call.first_text()?;
    // An empty key would sign nothing.
    let key = call.text_at(1, "key")?.filter(|key| !key.is_empty()).ok_or("wants a key that is not empty")?;
    call.budget.work(COSTLY)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|e| e.to_string())?;
    mac.update(value.as_bytes());
    let code = mac.finalize().into_bytes();
    match call.option("encoding").map(|encoding| encoding.as_str().unwrap_or_default()) {
        None | Some("hex") => Ok(Found::text(hex::encode(code))),
        Some("base64") => Ok(Found::text(STANDARD.encode(code))),
        Some(_) => Err("`encoding` is `hex` or `base64`".to_owned()),
    }
}
