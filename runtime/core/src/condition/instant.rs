//! RFC 3339 timestamps as instants: any offset, any number of fractional digits, compared exactly.

/// A point in time. The fraction has no trailing zeros, so its text orders as its value does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant<'t> {
    seconds: i64,
    fraction: &'t str,
}

impl<'t> Instant<'t> {
    /// Reads `2024-05-06T07:08:09.123+02:00`; `None` for anything else. As the RFC allows, `t`, `z` and a space
    /// in place of `T` are accepted, and second 60, which is second 0 of the next minute.
    pub fn read(text: &'t str) -> Option<Self> {
        let bytes = text.as_bytes();
        let shape = bytes.len() >= 20 && bytes[4] == b'-' && bytes[7] == b'-' && bytes[13] == b':' && bytes[16] == b':';
        if !shape || !matches!(bytes[10], b'T' | b't' | b' ') {
            return None;
        }
        let year = digits(&bytes[..4])?;
        let month = within(digits(&bytes[5..7])?, 1, 12)?;
        let day = within(digits(&bytes[8..10])?, 1, days_in_month(year, month))?;
        let hour = within(digits(&bytes[11..13])?, 0, 23)?;
        let minute = within(digits(&bytes[14..16])?, 0, 59)?;
        let second = within(digits(&bytes[17..19])?, 0, 60)?;
        let (fraction, offset) = fraction(&text[19..])?;
        let local = days_from_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        Some(Self { seconds: local - offset_seconds(offset.as_bytes())?, fraction })
    }
}

/// Splits `.123Z` into the fraction's digits and the offset.
fn fraction(text: &str) -> Option<(&str, &str)> {
    let Some(text) = text.strip_prefix('.') else {
        return Some(("", text));
    };
    let end = text.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
    Some((text[..end].trim_end_matches('0'), &text[end..]))
}

fn offset_seconds(text: &[u8]) -> Option<i64> {
    match text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let offset = within(digits(&[*h1, *h2])?, 0, 23)? * 3600 + within(digits(&[*m1, *m2])?, 0, 59)? * 60;
            Some(if *sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

fn within(value: i64, least: i64, most: i64) -> Option<i64> {
    (least..=most).contains(&value).then_some(value)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of the proleptic Gregorian calendar: years begin in March, so that the leap day is last.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn offsets_and_spellings_do_not_matter() {
        let instant = Instant::read("2024-02-29T10:00:00Z").unwrap();
        for same in [
            "2024-02-29T12:00:00+02:00",
            "2024-02-28T23:30:00-10:30",
            "2024-02-29t10:00:00.000z",
            "2024-02-29 10:00:00-00:00",
            "2024-02-29T09:59:60Z",
        ] {
            assert_eq!(Instant::read(same), Some(instant), "{same}");
        }
        assert!(Instant::read("2024-02-29T10:00:00.0000000000001Z").unwrap() > instant);
        assert!(Instant::read("2024-02-29T10:00:00.49Z") < Instant::read("2024-02-29T10:00:00.5Z"));
        assert!(Instant::read("0000-01-01T00:00:00Z") < Instant::read("0000-01-01T00:00:00.1Z"));
    }

    #[test]
    fn other_texts_are_no_instants() {
        for text in [
            "",
            "2024",
            "2024-02-29",
            "2024-02-29T10:00:00",
            "2024-02-30T10:00:00Z",
            "2023-02-29T10:00:00Z",
            "2024-13-01T10:00:00Z",
            "2024-02-29T24:00:00Z",
            "2024-02-29T10:00:00.Z",
            "2024-02-29T10:00:00+0200",
            "2024-02-29T10:00:00+02:00[Europe/Berlin]",
            "2024-02-29T10:00:00Zx",
            "2024-02-29T10:00:61Z",
            "20240229T100000Z....",
            "２024-02-29T10:00:00Z",
            "2024-02-29T10:00:00é",
        ] {
            assert_eq!(Instant::read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn seconds_are_those_of_the_calendar(seconds in -62_135_596_800i64..253_402_207_200) {
            let text = jiff::Timestamp::from_second(seconds).unwrap().to_string();
            prop_assert_eq!(Instant::read(&text).unwrap().seconds, seconds);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9é]{4}-[0-9]{2}-[0-9]{2}[Té][0-9:]{8}[.0-9Zé+:-]{0,9}") {
            let _ = Instant::read(&text);
        }
    }
}
