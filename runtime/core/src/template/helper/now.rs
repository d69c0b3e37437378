//! `{{now}}`, `{{now "%Y-%m-%d" "Europe/Berlin"}}`: the instant of rendering, written as `date` writes it.

use super::{Absent, Call, Helper, date};
use crate::template::found::Found;

pub(super) static NOW: Helper =
    Helper { name: "now", args: (0, 2), options: &["format", "tz"], absent: Absent::Passes, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    date::write(call, call.scope.now, 0)
}
