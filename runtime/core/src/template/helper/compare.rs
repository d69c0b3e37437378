//! `{{eq a b}}`, `ne`, `gt`, `gte`, `lt`, `lte`: true or false; also as blocks. Numbers compare by value with all
//! their digits, a number and a string that is one too; two strings by code point; other mixed kinds are false.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::{Absent, Call, Helper, Run};
use crate::template::decimal;
use crate::template::found::Found;

pub(super) static EQ: Helper = verdict("eq", eq);
pub(super) static NE: Helper = verdict("ne", ne);
pub(super) static GT: Helper = verdict("gt", gt);
pub(super) static GTE: Helper = verdict("gte", gte);
pub(super) static LT: Helper = verdict("lt", lt);
pub(super) static LTE: Helper = verdict("lte", lte);

const fn verdict(name: &'static str, run: Run) -> Helper {
    Helper { name, args: (2, 2), options: &[], absent: Absent::Taken, verdict: true, run }
}

fn eq<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    Ok(Found::Made(equal(call)?.into()))
}

fn ne<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    Ok(Found::Made((!equal(call)?).into()))
}

fn gt<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    Ok(Found::Made((order(call)? == Some(Ordering::Greater)).into()))
}

fn gte<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    Ok(Found::Made(order(call)?.is_some_and(Ordering::is_ge).into()))
}

fn lt<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    Ok(Found::Made((order(call)? == Some(Ordering::Less)).into()))
}

fn lte<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    Ok(Found::Made(order(call)?.is_some_and(Ordering::is_le).into()))
}

/// JSON equality, numbers by value; missing equals null.
fn equal(call: &Call<'_, '_>) -> Result<bool, String> {
    let (a, b) = (&call.args[0], &call.args[1]);
    call.weigh(a)?;
    call.weigh(b)?;
    Ok(match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.json().zip(b.json()).is_some_and(|(a, b)| decimal::equal(a, b)),
        _ => false,
    })
}

fn order(call: &Call<'_, '_>) -> Result<Option<Ordering>, String> {
    let (a, b) = (&call.args[0], &call.args[1]);
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        call.budget.work(a.len().min(b.len()))?;
        return Ok(Some(a.cmp(b)));
    }
    if let (Some(Value::Bool(a)), Some(Value::Bool(b))) = (a.json(), b.json()) {
        return Ok(Some(a.cmp(b)));
    }
    call.budget.work(a.digits() + b.digits())?;
    Ok(number(a).zip(number(b)).and_then(|(a, b)| decimal::compare(&a, &b)))
}

fn number(found: &Found<'_>) -> Option<Number> {
    match found.as_str() {
        Some(text) if text.len() <= 400 => text.parse().ok(),
        Some(_) => None,
        None => found.as_number().cloned(),
    }
}
