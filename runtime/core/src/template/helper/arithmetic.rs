//! `{{add a b …}}`, `sub`, `mul`, `div`: exact on whole numbers and decimals of up to 38 digits; a quotient is
//! rounded after 20 digits. Strings that are numbers count as numbers. Alone they give a JSON number.

use super::{Absent, Call, Helper, Run};
use crate::template::decimal::Decimal;
use crate::template::found::Found;

pub(super) static ADD: Helper = operation("add", add);
pub(super) static SUB: Helper = operation("sub", sub);
pub(super) static MUL: Helper = operation("mul", mul);
pub(super) static DIV: Helper = operation("div", div);

const fn operation(name: &'static str, run: Run) -> Helper {
    Helper { name, args: (2, usize::MAX), options: &[], absent: Absent::Passes, verdict: false, run }
}

fn add<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    fold(call, Decimal::add)
}

fn sub<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    fold(call, Decimal::sub)
}

fn mul<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    fold(call, Decimal::mul)
}

fn div<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    for divisor in &call.args[1..] {
        if call.number(divisor)?.is_zero() {
            return Err("divides by zero".to_owned());
        }
    }
    fold(call, Decimal::div)
}

/// From left to right.
fn fold<'v>(call: &Call<'_, 'v>, apply: fn(Decimal, Decimal) -> Option<Decimal>) -> Result<Found<'v>, String> {
    let mut result = call.number(call.first())?;
    for arg in &call.args[1..] {
        result = apply(result, call.number(arg)?).ok_or("the result has more than 38 digits")?;
    }
    let number = result.to_number().ok_or("the result is no JSON number")?;
    Ok(Found::Made(number.into()))
}
