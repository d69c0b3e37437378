//! Replaces e-mail addresses, phone and card numbers in the record of an event.
//!
//! Goes through every text of the record and of the previous record, however deep, and puts `[email]`,
//! `[phone]` or `[card]` in the place of what it finds. Whole fields can be hidden or kept by
//! name. The answer is the event with those changes and no other.

mod email;
mod number;

use serde::Deserialize;
use serde_json::{Map, Value};
use triggerd_sdk::{ActionError, Context, Event};

/// The `input`; without one, everything that is recognised is replaced.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    /// Fields whose value becomes `[hidden]`, whatever it is; by name, at any depth.
    #[serde(default)]
    hide: Vec<String>,
    /// Fields that stay as they are; by name, at any depth.
    #[serde(default)]
    keep: Vec<String>,
}

#[triggerd_sdk::transform]
fn redact(cx: Context<Option<Rules>>) -> Result<Option<Event>, ActionError> {
    let mut event = cx.event()?;
    let no_rules = Rules::default();
    let mut redaction = Redaction { rules: cx.input.as_ref().unwrap_or(&no_rules), found: 0 };
    redaction.value(&mut event.record);
    if let Some(previous) = &mut event.previous_record {
        redaction.value(previous);
    }
    cx.log().field("found", redaction.found).info("Redacted");
    Ok(Some(event))
}

/// One pass over an event.
struct Redaction<'a> {
    rules: &'a Rules,
    /// How many places were replaced.
    found: u32,
}

impl Redaction<'_> {
    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(redacted) = self.text(text) {
                    *text = redacted;
                }
            }
            Value::Number(number) => {
                // A card number may have been stored as a number.
                if number::is_card(&number.to_string()) {
                    self.replace(value, "[card]");
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(fields) => self.fields(fields),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn fields(&mut self, fields: &mut Map<String, Value>) {
        for (name, value) in fields {
            if self.rules.keep.contains(name) {
                continue;
            }
            if self.rules.hide.contains(name) {
                if !value.is_null() {
                    self.replace(value, "[hidden]");
                }
            } else if names_a_phone(name) && number::is_dialable(value) {
                self.replace(value, "[phone]");
            } else {
                self.value(value);
            }
        }
    }

    fn replace(&mut self, value: &mut Value, mark: &str) {
        *value = mark.into();
        self.found += 1;
    }

    /// The text with marks in it; `None` where there is nothing to replace.
    fn text(&mut self, text: &str) -> Option<String> {
        let mut places = email::find(text);
        let numbers = number::find(text);
        // Digits within an address belong to it.
        let apart = |number: &Place| !places.iter().any(|email| number.start < email.end && email.start < number.end);
        let numbers: Vec<Place> = numbers.into_iter().filter(apart).collect();
        places.extend(numbers);
        if places.is_empty() {
            return None;
        }
        places.sort_by_key(|place| place.start);
        let mut redacted = String::with_capacity(text.len());
        let mut rest = 0;
        for place in &places {
            redacted.push_str(&text[rest..place.start]);
            redacted.push_str(place.mark);
            rest = place.end;
        }
        redacted.push_str(&text[rest..]);
        self.found = self.found.saturating_add(u32::try_from(places.len()).unwrap_or(u32::MAX));
        Some(redacted)
    }
}

/// What was found in a text, in bytes, and what is put there.
#[derive(PartialEq, Eq, Debug)]
struct Place {
    start: usize,
    end: usize,
    mark: &'static str,
}

/// In a field of such a name, bare digits are a phone number.
fn names_a_phone(field: &str) -> bool {
    let field = field.to_lowercase();
    let words = ["phone", "mobile", "fax", "telefon", "cell"];
    field == "tel"
        || field.starts_with("tel_")
        || field.ends_with("_tel")
        || words.iter().any(|word| field.contains(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use triggerd_sdk::testing::{TestHost, invocation};

    use super::*;

    fn redacted(rules: Value, record: Value) -> Value {
        let call = invocation().change("afterInsert", "tickets").input(rules).record(record);
        TestHost::new().call(redact, call).unwrap().unwrap().record
    }

    #[test]
    fn what_is_personal_is_replaced_at_any_depth() {
        let record = json!({
            "id": 17,
            "text": "Write to ann.lee+shop@mail.example.com or call +49 (30) 1234-5678, card 4111 1111 1111 1111.",
            "notes": [{"by": "bob@example.org"}],
            "card": 4111111111111111_u64,
            "phone": "030 123456",
        });
        assert_eq!(
            redacted(Value::Null, record),
            json!({
                "id": 17,
                "text": "Write to [email] or call [phone], card [card].",
                "notes": [{"by": "[email]"}],
                "card": "[card]",
                "phone": "[phone]",
            })
        );
    }

    #[test]
    fn what_is_not_personal_stays_to_the_digit() {
        let text = r##"{"total":123456789012345678901234567890.10,"at":"2026-01-02T03:04:05Z","day":"2026-01-02 10:00:00","uuid":"01890000-1111-7222-8333-444455556666","sku":"A-4111111111111112","order":"#5551234567","b":1,"a":2}"##;
        let record: Value = serde_json::from_str(text).unwrap();
        assert_eq!(redacted(Value::Null, record).to_string(), text);
    }

    #[test]
    fn fields_are_hidden_and_kept_by_name() {
        let rules = json!({"hide": ["ssn", "address"], "keep": ["contact"]});
        let record =
            json!({"ssn": 123, "address": {"city": "Rome"}, "contact": "ann@example.com", "person": {"ssn": null}});
        let expected =
            json!({"ssn": "[hidden]", "address": "[hidden]", "contact": "ann@example.com", "person": {"ssn": null}});
        assert_eq!(redacted(rules, record), expected);
    }

    #[test]
    fn the_rest_of_the_event_stays_and_the_previous_record_goes_along() {
        let call = invocation()
            .change("afterUpdate", "users")
            .record(json!({"email": "a@example.com"}))
            .previous_record(json!({"email": "b@example.com"}))
            .with(|invocation| invocation.env = "prd".into());
        let host = TestHost::new();
        let event = host.call(redact, call).unwrap().unwrap();
        assert_eq!(
            event.into_json(),
            json!({
                "operation": "update", "table": "users", "env": "prd",
                "record": {"email": "[email]"}, "previousRecord": {"email": "[email]"},
            })
        );
        assert_eq!(host.logs()[0].fields, json!({"found": 2}));
    }

    #[test]
    fn the_sample_event_becomes_what_the_readme_says() {
        let event: Value = serde_json::from_str(include_str!("../event.json")).unwrap();
        let trigger: Value = serde_json::from_str(include_str!("../trigger.json")).unwrap();
        let rules = trigger["actions"][0]["config"]["input"].clone();
        let (_, readme) = include_str!("../README.md").split_once("```json").unwrap();
        let (expected, _) = readme.split_once("```").unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(redacted(rules, event["record"].clone()), expected);
    }

    #[test]
    fn an_unknown_rule_is_told() {
        let call = invocation().input(json!({"hides": []}));
        assert_eq!(TestHost::new().call(redact, call).unwrap_err().code, "INPUT_INVALID");
    }
}
