//! `{{truncate text 80 "…"}}`: at most so many characters, the suffix (none by default) included where it is cut.

use super::{Absent, Call, Helper};
use crate::template::MAX_OUTPUT;
use crate::template::found::Found;

pub(super) static TRUNCATE: Helper = Helper {
    name: "truncate",
    args: (1, 3),
    options: &["length", "suffix"],
    absent: Absent::Passes,
    verdict: false,
    run,
};

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    let text = call.first_text()?;
    let length = call.count(1, "length", MAX_OUTPUT)?.ok_or("wants a length")?;
    if text.chars().nth(length).is_none() {
        return Ok(Found::text(text));
    }
    let suffix = call.text_at(2, "suffix")?.unwrap_or_default();
    let kept = length.saturating_sub(suffix.chars().count());
    Ok(Found::text(text.chars().take(kept).chain(suffix.chars().take(length)).collect::<String>()))
}
