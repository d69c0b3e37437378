//! `{{date value "%d.%m.%Y" "Europe/Berlin"}}`: an instant in strftime's notation and an IANA time zone (UTC by
//! default). Without a format it is RFC 3339 with milliseconds; `unix` and `unixMs` give numbers.

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::{Absent, Call, Helper};
use crate::template::budget::COSTLY;
use crate::template::found::Found;

pub(super) static DATE: Helper =
    Helper { name: "date", args: (1, 3), options: &["format", "tz"], absent: Absent::Passes, verdict: false, run };

/// The longest format.
const MAX_FORMAT: usize = 256;

/// From here on a number is milliseconds: as seconds it would be after the year 5000.
const FIRST_MILLISECONDS: i128 = 100_000_000_000;

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    write(call, instant(call.first())?, 1)
}

/// Writes `instant` by the call's format (its argument at `at`) and time zone (the one after).
pub(super) fn write<'v>(call: &Call<'_, 'v>, instant: Timestamp, at: usize) -> Result<Found<'v>, String> {
    let format = call.text_at(at, "format")?.filter(|format| !format.is_empty());
    let zoned = match call.text_at(at + 1, "tz")? {
        None => instant.to_zoned(TimeZone::UTC),
        Some(zone) => instant.to_zoned(time_zone(&zone)?),
    };
    // A format's two bytes can stand for a whole date.
    let length = format.as_deref().map_or(0, str::len).min(MAX_FORMAT);
    call.budget.work(COSTLY + 64 * length)?;
    Ok(match format.as_deref() {
        None | Some("iso") => Found::text(rfc3339(&zoned)),
        Some("unix") => Found::Made(instant.as_second().into()),
        Some("unixMs") => Found::Made(instant.as_millisecond().into()),
        Some(format) => Found::text(strftime(format, &zoned)?),
    })
}

fn rfc3339(zoned: &Zoned) -> String {
    match zoned.time_zone() == &TimeZone::UTC {
        true => format!("{:.3}", zoned.timestamp()),
        false => strtime::format("%Y-%m-%dT%H:%M:%S.%3f%:z", zoned).unwrap_or_else(|_| zoned.timestamp().to_string()),
    }
}

fn strftime(format: &str, zoned: &Zoned) -> Result<String, String> {
    if format.len() > MAX_FORMAT {
        return Err(format!("the format is longer than {MAX_FORMAT} bytes"));
    }
    if !format.contains('%') {
        return Err(
            "the format has no `%`; it is strftime's, like `%Y-%m-%d %H:%M`, or `iso`, `unix`, `unixMs`".to_owned()
        );
    }
    strtime::format(format, zoned).map_err(|e| format!("the format is wrong: {e}"))
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    if name.eq_ignore_ascii_case("utc") || name == "Z" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| "the time zone is unknown; it is an IANA name like `Europe/Berlin`".to_owned())
}

/// RFC 3339, a date, a date and time without a zone (UTC), or Unix seconds or milliseconds.
fn instant(found: &Found<'_>) -> Result<Timestamp, String> {
    let wrong = || format!("wants an RFC 3339 timestamp or Unix time, got {} that is neither", found.kind());
    let text = found.as_number().map(|n| n.as_str()).or_else(|| found.as_str()).ok_or_else(wrong)?;
    if text.len() > 64 {
        return Err(wrong());
    }
    if let Some(number) = super::Decimal::parse(text) {
        let thousand = super::Decimal::parse("1000").ok_or_else(wrong)?;
        let whole = number.rounded(0).to_whole().ok_or_else(wrong)?;
        let milliseconds = if whole.abs() >= FIRST_MILLISECONDS { Some(number) } else { number.mul(thousand) };
        let milliseconds =
            milliseconds.and_then(|ms| i64::try_from(ms.rounded(0).to_whole()?).ok()).ok_or_else(wrong)?;
        return Timestamp::from_millisecond(milliseconds).map_err(|_| wrong());
    }
    let text = text.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let civil = text.parse::<DateTime>().map_err(|_| wrong())?;
    Ok(civil.to_zoned(TimeZone::UTC).map_err(|_| wrong())?.timestamp())
}
