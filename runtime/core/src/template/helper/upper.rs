//! `{{upper text}}`: in upper case.

use super::{Absent, Call, Helper};
use crate::template::found::Found;

pub(super) static UPPER: Helper =
    Helper { name: "upper", args: (1, 1), options: &[], absent: Absent::Passes, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    Ok(Found::text(call.first_text()?.to_uppercase()))
}
