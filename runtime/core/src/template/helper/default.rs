//! `{{default value other …}}`: the first that is there: not missing, not null, not an empty string. It keeps its type.

use super::{Absent, Call, Helper};
use crate::template::found::Found;

pub(super) static DEFAULT: Helper =
    Helper { name: "default", args: (2, usize::MAX), options: &[], absent: Absent::Taken, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    let there = |found: &&Found<'v>| !found.is_absent() && found.as_str() != Some("");
    // Where all are empty, the last is what the author wrote for that case.
    Ok(call.args.iter().find(there).or(call.args.last()).cloned().unwrap_or(Found::Missing))
}
