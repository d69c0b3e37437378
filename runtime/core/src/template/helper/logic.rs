//! `{{and a b}}`, `{{or a b}}`, `{{not a}}`: true or false, by the rules of `{{#if}}`; also as blocks.

use super::{Absent, Call, Helper, Run};
use crate::template::found::Found;

pub(super) static AND: Helper = verdict("and", (1, usize::MAX), and);
pub(super) static OR: Helper = verdict("or", (1, usize::MAX), or);
pub(super) static NOT: Helper = verdict("not", (1, 1), not);

const fn verdict(name: &'static str, args: (usize, usize), run: Run) -> Helper {
    Helper { name, args, options: &[], absent: Absent::Taken, verdict: true, run }
}

fn and<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    weigh(call)?;
    Ok(Found::Made(call.args.iter().all(|arg| arg.is_truthy(false)).into()))
}

fn or<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    weigh(call)?;
    Ok(Found::Made(call.args.iter().any(|arg| arg.is_truthy(false)).into()))
}

fn not<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    weigh(call)?;
    Ok(Found::Made((!call.first().is_truthy(false)).into()))
}

fn weigh(call: &Call<'_, '_>) -> Result<(), String> {
    call.budget.work(call.args.iter().map(Found::digits).sum())
}
