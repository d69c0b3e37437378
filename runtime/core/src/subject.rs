//! Whose data an event holds: somebody is named by a place in the event and the value there.

use serde_json::{Map, Value, json};

use crate::condition::Condition;
use crate::event::Event;
use crate::mistake::Mistake;
use crate::path::Root;

/// A person or thing, as events name it.
#[derive(Debug)]
pub struct Subject(Vec<Asked>);

/// One place where it may be named.
#[derive(Debug)]
struct Asked {
    condition: Condition,
    /// It is asked of the row as it was, in place of the record.
    of_former_row: bool,
}

impl Subject {
    /// What has `value` at `path`: a dotted path (`record.customer.email`; without a root it is one of the record), or an RFC 9535
    /// query (`$.customer.email`). A path into the record is also asked of the row as it was. The mistakes' pointers begin at an
    /// object of `path` and `value`.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn at(path: &str, value: &Value) -> Result<Self, Vec<Mistake>> {
        if !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)) {
            return Err(vec![Mistake::new("/value", "a text, a number or a boolean is needed")]);
        }
        let path = path.trim();
        if path.starts_with('$') {
            if ["==", "!=", "<", ">"].iter().any(|operator| outside_of_brackets(path, operator)) {
                return Err(vec![Mistake::new(
                    "/path",
                    "a query alone is needed: what it is compared with is `value`",
                )]);
            }
            return Self::of(&[json!({"jsonpath": format!("{path} == {value}")})], true);
        }
        let first = path.split(['.', '[']).next().unwrap_or_default();
        let has_root = Root::ALL.iter().any(|root| root.as_str() == first);
        let path = if has_root { path.to_owned() } else { format!("record.{path}") };
        let in_record = path.starts_with("record.") || path.starts_with("payload.") || path.starts_with("record[");
        Self::of(&[json!({"field": path, "operator": "EQUALS", "value": value})], in_record)
    }

    /// What a user has done: `user` itself, or its `id`, is this.
    ///
    /// # Errors
    /// The value is none that an id can be.
    pub fn user(id: &Value) -> Result<Self, Vec<Mistake>> {
        if !matches!(id, Value::String(_) | Value::Number(_)) {
            return Err(vec![Mistake::new("/user", "a text or a number is needed")]);
        }
        let at = |path: &str| json!({"field": path, "operator": "EQUALS", "value": id});
        Self::of(&[at("user"), at("user.id")], false)
    }

    fn of(conditions: &[Value], also_former_row: bool) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut asked = Vec::new();
        for condition in conditions {
            for of_former_row in [false, true] {
                if of_former_row && !also_former_row {
                    continue;
                }
                let compiled = Condition::compile(condition, "", &mut mistakes);
                asked.extend(compiled.map(|condition| Asked { condition, of_former_row }));
            }
        }
        match mistakes.into_iter().next() {
            None => Ok(Self(asked)),
            Some(mistake) => Err(vec![Mistake::new("/path", mistake.detail)]),
        }
    }

    /// Whether an event names it.
    #[must_use]
    pub fn is_in(&self, event: &Event) -> bool {
        let holds = |asked: &Asked, event: &Event| asked.condition.evaluate(event, &|_| None) == Some(true);
        self.0.iter().any(|asked| {
            if !asked.of_former_row {
                return holds(asked, event);
            }
            if event.previous_record.is_null() {
                return false;
            }
            let former = Event {
                record: event.previous_record.clone(),
                previous_record: Value::Null,
                metadata: Map::new(),
                ..event.clone()
            };
            holds(asked, &former)
        })
    }
}

/// Whether a text has `wanted` outside of its brackets and quotes.
fn outside_of_brackets(text: &str, wanted: &str) -> bool {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth = depth.saturating_sub(1),
            (None, _) if depth == 0 && text[at..].starts_with(wanted) => return true,
            (None, _) => {}
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::id::{EventId, TenantId};

    fn event(record: Value, previous_record: Value, user: Value) -> Event {
        let plain = Event::plain(EventId::new(0, [0; 10]), TenantId::new("t"), "a", record, Timestamp::UNIX_EPOCH);
        Event { previous_record, user, ..plain }
    }

    #[test]
    fn somebody_is_found_by_path_query_or_user_in_both_rows() {
        let ada = json!("ada@example.com");
        let now = event(json!({"customer": {"email": "ada@example.com"}}), Value::Null, Value::Null);
        let before = event(json!({"customer": null}), json!({"customer": {"email": "ada@example.com"}}), Value::Null);
        let other = event(json!({"customer": {"email": "bob@example.com"}}), json!({}), json!("ada@example.com"));
        for path in
            ["$.customer.email", "record.customer.email", "customer.email", "payload.customer.email", "$..email"]
        {
            let subject = Subject::at(path, &ada).unwrap();
            assert!(subject.is_in(&now) && subject.is_in(&before), "{path}");
            assert!(!subject.is_in(&other), "{path}");
        }
        let user = Subject::user(&ada).unwrap();
        assert!(user.is_in(&other) && !user.is_in(&now));
        let by_id = event(json!({}), Value::Null, json!({"id": 7, "name": "Ada"}));
        assert!(Subject::user(&json!(7)).unwrap().is_in(&by_id));
        assert!(!Subject::user(&json!("7")).unwrap().is_in(&by_id), "a number is no text");
    }

    #[test]
    fn texts_that_need_escapes_are_compared_as_they_are() {
        let odd = json!("a \"quoted\" \\ 'name' \u{e9}\n");
        let subject = Subject::at("$.name", &odd).unwrap();
        assert!(subject.is_in(&event(json!({ "name": odd }), Value::Null, Value::Null)));
    }

    #[test]
    fn what_names_nobody_is_refused_with_its_place() {
        for (path, value, pointer) in [
            ("$.a", json!({}), "/value"),
            ("$.a", Value::Null, "/value"),
            ("$.a == 1", json!(1), "/path"),
            ("$.[", json!(1), "/path"),
            ("a..b", json!(1), "/path"),
        ] {
            assert_eq!(Subject::at(path, &value).unwrap_err()[0].pointer, pointer, "{path} {value}");
        }
        assert_eq!(Subject::user(&json!(true)).unwrap_err()[0].pointer, "/user");
    }
}
