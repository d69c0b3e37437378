//! `{{urlencode value}}`: everything but letters, digits, `-`, `.`, `_` and `~` percent-encoded. Not needed in a
//! URL, where every value is encoded; there it changes nothing.

use percent_encoding::utf8_percent_encode;

use super::{Absent, Call, Helper};
use crate::template::found::Found;
use crate::template::output::RESERVED;

pub(super) static URLENCODE: Helper =
    Helper { name: "urlencode", args: (1, 1), options: &[], absent: Absent::Passes, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    Ok(Found::text(utf8_percent_encode(&call.first_text()?, RESERVED).to_string()))
}
