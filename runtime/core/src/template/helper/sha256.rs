//! `{{sha256 value}}`: the SHA-256 of the value's text in lower-case hex.

use sha2::{Digest, Sha256};

use super::{Absent, Call, Helper};
use crate::template::budget::COSTLY;
use crate::template::found::Found;

pub(super) static SHA256: Helper =
    Helper { name: "sha256", args: (1, 1), options: &[], absent: Absent::Passes, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    call.budget.work(COSTLY)?;
    Ok(Found::text(hex::encode(Sha256::digest(call.first_text()?.as_bytes()))))
}
