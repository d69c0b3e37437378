//! `{{number value}}`: the value as a JSON number. With `decimals=2`, `thousands=","`, `point="."`, or a pattern
//! like `"0,0.00"`, it is text: rounded (halves away from zero), filled up with zeros, grouped by thousands.

use super::{Absent, Call, Helper};
use crate::template::found::Found;

pub(super) static NUMBER: Helper = Helper {
    name: "number",
    args: (1, 3),
    options: &["format", "decimals", "thousands", "point"],
    absent: Absent::Passes,
    verdict: false,
    run,
};

/// The most decimals that can be asked for.
const MAX_DECIMALS: usize = 38;

/// How a number is written.
#[derive(Default)]
struct Style {
    /// As many as there are where not said.
    decimals: Option<usize>,
    thousands: String,
    point: Option<String>,
}

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    let value = call.number(call.first())?;
    if call.args.len() == 1 && call.options.is_empty() {
        return Ok(Found::Made(value.to_number().ok_or("is no JSON number")?.into()));
    }
    let style = style(call)?;
    let rounded = style.decimals.map_or(value, |decimals| value.rounded(u32::try_from(decimals).unwrap_or(u32::MAX)));
    let (negative, whole, fraction) = rounded.parts();
    let fraction = format!("{fraction:0<width$}", width = style.decimals.unwrap_or(0));
    let sign = if negative { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { style.point.as_deref().unwrap_or(".") };
    Ok(Found::text(format!("{sign}{}{point}{fraction}", grouped(&whole, &style.thousands))))
}

/// `{{number value 2 ","}}`, `{{number value "0,0.00"}}` and the named arguments, which win.
fn style(call: &Call<'_, '_>) -> Result<Style, String> {
    let pattern = call.option("format").or_else(|| call.args.get(1).filter(|arg| arg.as_number().is_none()));
    let mut style = match pattern {
        Some(pattern) => parse(pattern.as_str().unwrap_or_default())?,
        None => Style { decimals: call.count(1, "decimals", MAX_DECIMALS)?, ..Style::default() },
    };
    if call.option("decimals").is_some() {
        style.decimals = call.count(usize::MAX, "decimals", MAX_DECIMALS)?;
    }
    if let Some(thousands) = call.text_at(2, "thousands")? {
        style.thousands = short(&thousands)?;
    }
    if let Some(point) = call.option("point") {
        style.point = Some(short(&call.text(point)?)?);
    }
    Ok(style)
}

fn short(text: &str) -> Result<String, String> {
    if text.len() > 8 { Err("a separator has at most 8 bytes".to_owned()) } else { Ok(text.to_owned()) }
}

/// `0`, `0.00`, `0,0.00`, `#,##0.00`
fn parse(pattern: &str) -> Result<Style, String> {
    let (whole, fraction) = pattern.split_once('.').unwrap_or((pattern, ""));
    let digits = |text: &str| text.bytes().all(|b| matches!(b, b'0' | b'#'));
    if !digits(&whole.replace(',', "")) || !digits(fraction) || whole.is_empty() || fraction.len() > MAX_DECIMALS {
        return Err("the format is a pattern like `0.00` or `0,0.00`".to_owned());
    }
    let thousands = if whole.contains(',') { ",".to_owned() } else { String::new() };
    Ok(Style { decimals: Some(fraction.len()), thousands, point: None })
}

fn grouped(whole: &str, separator: &str) -> String {
    let mut grouped = String::with_capacity(whole.len() * 2);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push_str(separator);
        }
        grouped.push(digit);
    }
    grouped
}
