//! One component with one of each export, for tests of uploads and of all four ways to be called.

use serde::{Deserialize, Serialize};
use triggerd_sdk::{ActionError, Context, Event, Verdict};

/// What all of them look at.
#[derive(Serialize, Deserialize)]
struct Item {
    quantity: i64,
}

/// Answers with twice the quantity.
#[triggerd_sdk::action]
fn double(cx: Context) -> Result<Item, ActionError> {
    let item: Item = cx.record()?;
    Ok(Item { quantity: item.quantity.saturating_mul(2) })
}

/// Refuses less than nothing, and makes one of nothing.
#[triggerd_sdk::guard]
fn at_least_one(cx: Context) -> Result<Verdict, ActionError> {
    match cx.record::<Item>()?.quantity {
        ..0 => Ok(Verdict::refuse("NEGATIVE", "the quantity is below 0")),
        0 => Verdict::change(Item { quantity: 1 }),
        _ => Ok(Verdict::Proceed),
    }
}

/// Wants more than ten.
#[triggerd_sdk::condition]
fn many(cx: Context) -> Result<bool, ActionError> {
    Ok(cx.record::<Item>()?.quantity > 10)
}

/// Drops events of nothing, and counts in dozens.
#[triggerd_sdk::transform]
fn in_dozens(cx: Context) -> Result<Option<Event>, ActionError> {
    let quantity = cx.record::<Item>()?.quantity;
    if quantity == 0 {
        return Ok(None);
    }
    let mut event = cx.event()?;
    event.record["quantity"] = (quantity / 12).into();
    Ok(Some(event))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use triggerd_sdk::testing::{InvocationBuilder, TestHost, invocation};

    use super::*;

    fn of(quantity: i64) -> InvocationBuilder {
        invocation().record(json!({"quantity": quantity}))
    }

    #[test]
    fn each_function_can_be_called() {
        let host = TestHost::new();
        assert_eq!(host.call(double, of(4)).unwrap().quantity, 8);
        assert_eq!(host.call(at_least_one, of(0)), Ok(Verdict::Change(json!({"quantity": 1}))));
        assert_eq!(host.call(many, of(11)), Ok(true));
        assert_eq!(host.call(in_dozens, of(0)), Ok(None));
        assert_eq!(host.call(in_dozens, of(24)).unwrap().unwrap().record, json!({"quantity": 2}));
    }
}
