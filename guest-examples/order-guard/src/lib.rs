//! Refuses orders that do not add up, and completes the others.
//!
//! Looks at an order before it is written: `items` of `sku`, `quantity` and `price`, a `currency`, and
//! maybe a `total`. Codes are normalised and a missing total is filled in; a wrong total, an item
//! without a price or a currency that is not taken refuses the write. All mistakes are told at once.

mod cents;

use std::fmt::Display;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use triggerd_sdk::{ActionError, Context, Verdict};

use cents::Cents;

/// The guard's `input`; without one, any order that adds up goes through.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rules {
    /// Currencies that are taken; empty is any.
    #[serde(default)]
    currencies: Vec<String>,
    /// The most that one order may come to.
    #[serde(default)]
    max_total: Option<Value>,
    /// The most items of one kind.
    #[serde(default)]
    max_quantity: Option<u64>,
}

type Record = Map<String, Value>;

#[triggerd_sdk::guard]
fn check(cx: Context<Option<Rules>>) -> Result<Verdict, ActionError> {
    // What is deleted need not add up any more.
    if cx.operation.as_deref() == Some("delete") {
        return Ok(Verdict::Proceed);
    }
    let no_rules = Rules::default();
    let rules = cx.input.as_ref().unwrap_or(&no_rules);
    let before: Record = cx.record()?;
    let mut order = before.clone();
    let mut faults = Faults::default();
    check_currency(&mut order, rules, &mut faults);
    if let Some(total) = check_items(&mut order, rules, &mut faults) {
        check_total(&mut order, total, rules, &mut faults)?;
    }
    if let Some(message) = faults.message() {
        return Ok(Verdict::refuse("ORDER_INVALID", message));
    }
    if order == before { Ok(Verdict::Proceed) } else { Verdict::change(order) }
}

/// What is wrong with an order.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, place: impl Display, fault: impl Display) {
        self.0.push(format!("{place}: {fault}"));
    }

    fn message(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join("; "))
    }
}

fn check_currency(order: &mut Record, rules: &Rules, faults: &mut Faults) {
    let Some(code) = order.get("currency").and_then(Value::as_str) else {
        return faults.add("currency", "is missing");
    };
    let code = code.trim().to_uppercase();
    if code.len() != 3 || !code.bytes().all(|letter| letter.is_ascii_uppercase()) {
        faults.add("currency", format_args!("{code:?} is not a code of three letters"));
    } else if !rules.currencies.is_empty() && !rules.currencies.iter().any(|taken| taken.eq_ignore_ascii_case(&code)) {
        faults.add("currency", format_args!("{code} is not taken, only {}", rules.currencies.join(", ")));
    }
    order.insert("currency".into(), code.into());
}

/// Checks the items and adds them up; `None` where one of them has no sum.
fn check_items(order: &mut Record, rules: &Rules, faults: &mut Faults) -> Option<Cents> {
    let Some(Value::Array(items)) = order.get_mut("items") else {
        faults.add("items", "is missing, or no list");
        return None;
    };
    if items.is_empty() {
        faults.add("items", "is empty");
        return None;
    }
    let mut total = Some(Cents::ZERO);
    for (index, item) in items.iter_mut().enumerate() {
        let sum = check_item(index, item, rules, faults);
        let before = total;
        total = total.zip(sum).and_then(|(total, sum)| total.plus(sum));
        if total.is_none() && before.is_some() && sum.is_some() {
            faults.add("items", "come to more than can be counted");
        }
    }
    total
}

/// Checks one item; answers with its price times its quantity.
fn check_item(index: usize, item: &mut Value, rules: &Rules, faults: &mut Faults) -> Option<Cents> {
    let place = |field: &str| format!("items[{index}].{field}");
    let Value::Object(item) = item else {
        faults.add(format_args!("items[{index}]"), "is no object");
        return None;
    };
    match item.get("sku").and_then(Value::as_str).map(|sku| sku.trim().to_uppercase()) {
        Some(sku) if !sku.is_empty() => {
            item.insert("sku".into(), sku.into());
        }
        _ => faults.add(place("sku"), "is missing"),
    }
    let quantity = item.get("quantity").and_then(Value::as_u64).filter(|quantity| *quantity > 0);
    match (quantity, rules.max_quantity) {
        (None, _) => faults.add(place("quantity"), "has to be a whole number from 1 on"),
        (Some(quantity), Some(most)) if quantity > most => {
            faults.add(place("quantity"), format_args!("{quantity} is more than {most}"));
        }
        _ => {}
    }
    let price = item.get("price").and_then(Cents::read);
    if price.is_none() {
        faults.add(place("price"), "has to be an amount like 12.50, not below 0");
    }
    let sum = price?.times(quantity?);
    if sum.is_none() {
        faults.add(format_args!("items[{index}]"), "comes to more than can be counted");
    }
    sum
}

/// Fills in the total, or holds the order to the one it names.
fn check_total(order: &mut Record, total: Cents, rules: &Rules, faults: &mut Faults) -> Result<(), ActionError> {
    match order.get("total") {
        None | Some(Value::Null) => {
            order.insert("total".into(), total.to_json());
        }
        Some(named) if Cents::read(named) != Some(total) => {
            faults.add("total", format_args!("is {named}, but the items come to {total}"));
        }
        Some(_) => {}
    }
    let Some(most) = &rules.max_total else {
        return Ok(());
    };
    let most = Cents::read(most).ok_or_else(|| {
        ActionError::permanent(
            "INPUT_INVALID",
            format!("the rule `maxTotal` is {}, not an amount like 5000", json!(most)),
        )
    })?;
    if total > most {
        faults.add("total", format_args!("{total} is more than {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use triggerd_sdk::testing::{TestHost, invocation};

    use super::*;

    fn verdict(rules: Value, record: Value) -> Verdict {
        let call = invocation().change("beforeInsert", "orders").input(rules).record(record);
        TestHost::new().call(check, call).unwrap()
    }

    fn refusal(rules: Value, record: Value) -> String {
        match verdict(rules, record) {
            Verdict::Refuse { code, message } => {
                assert_eq!(code.as_deref(), Some("ORDER_INVALID"));
                message
            }
            other => panic!("{other:?}"),
        }
    }

    fn order(total: Value) -> Value {
        json!({
            "id": 1, "currency": "EUR", "total": total, "note": "as it is",
            "items": [{"sku": "A-1", "quantity": 2, "price": "12.50"}, {"sku": "B-2", "quantity": 1, "price": 0.1}],
        })
    }

    #[test]
    fn an_order_in_order_goes_through_untouched() {
        assert_eq!(verdict(Value::Null, order(json!(25.1))), Verdict::Proceed);
        assert_eq!(verdict(json!({"currencies": ["eur"]}), order(json!("25.10"))), Verdict::Proceed);
    }

    #[test]
    fn a_missing_total_is_filled_in_and_codes_are_normalised() {
        let mut raw = order(json!(null));
        raw["currency"] = json!(" eur");
        raw["items"][0]["sku"] = json!("a-1 ");
        let Verdict::Change(record) = verdict(Value::Null, raw) else { panic!("a change") };
        assert_eq!(record["total"].to_string(), "25.10");
        assert_eq!((&record["currency"], &record["items"][0]["sku"]), (&json!("EUR"), &json!("A-1")));
        assert_eq!(record["note"], json!("as it is"));
    }

    #[test]
    fn a_wrong_total_is_refused_with_the_right_one() {
        let message = refusal(Value::Null, order(json!(20)));
        assert_eq!(message, "total: is 20, but the items come to 25.10");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let record = json!({"currency": "EURO", "items": [{"quantity": 0, "price": -1}, 7]});
        let message = refusal(Value::Null, record);
        for place in ["currency", "items[0].sku", "items[0].quantity", "items[0].price", "items[1]"] {
            assert!(message.contains(place), "{place} in {message}");
        }
    }

    #[test]
    fn the_rules_hold() {
        assert!(refusal(json!({"currencies": ["USD"]}), order(json!(25.1))).contains("EUR is not taken"));
        assert!(refusal(json!({"maxTotal": 25}), order(json!(25.1))).contains("25.10 is more than 25.00"));
        assert!(refusal(json!({"maxQuantity": 1}), order(json!(25.1))).contains("2 is more than 1"));
    }

    #[test]
    fn sums_without_room_are_refused() {
        let item = json!({"sku": "A", "quantity": u64::MAX, "price": "90000000000000.00"});
        let message = refusal(Value::Null, json!({"currency": "EUR", "items": [item]}));
        assert!(message.contains("more than can be counted"), "{message}");
    }

    #[test]
    fn a_deletion_goes_through() {
        let call = invocation().change("beforeDelete", "orders").record(Value::Null);
        assert_eq!(TestHost::new().call(check, call).unwrap(), Verdict::Proceed);
    }

    #[test]
    fn the_sample_event_is_completed() {
        let event: Value = serde_json::from_str(include_str!("../event.json")).unwrap();
        let trigger: Value = serde_json::from_str(include_str!("../trigger.json")).unwrap();
        let rules = trigger["actions"][0]["config"]["input"].clone();
        let Verdict::Change(record) = verdict(rules, event["context"]["record"].clone()) else { panic!("a change") };
        assert_eq!((record["total"].to_string().as_str(), &record["currency"]), ("32.90", &json!("EUR")));
    }

    #[test]
    fn a_rule_that_is_no_amount_is_a_failure() {
        let call = invocation().record(order(json!(25.1))).input(json!({"maxTotal": "lots"}));
        assert_eq!(TestHost::new().call(check, call).unwrap_err().code, "INPUT_INVALID");
    }
}
