//! Laws that hold for every condition and every event.

use proptest::prelude::*;

use super::*;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        prop::sample::select(vec![
            "0",
            "-0",
            "1",
            "1.0",
            "10e-1",
            "2",
            "9007199254740992",
            "9007199254740993",
            "1e400",
            "-1e400"
        ])
        .prop_map(|text| Value::Number(text.parse().unwrap())),
        prop::sample::select(vec!["", "a", "ab", "b", "1", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec(("[ab]", inner), 0..3).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let record = || {
        prop_oneof![
            Just(Value::Null),
            (value(), value()).prop_map(|(a, b)| json!({"a": a, "b": b})),
            value().prop_map(|a| json!({"a": a}))
        ]
    };
    let operation =
        prop::sample::select(vec![None, Some(Operation::Insert), Some(Operation::Update), Some(Operation::Delete)]);
    (operation, record(), record()).prop_map(|(operation, record, previous)| match operation {
        Some(operation) => row(operation, record, previous),
        None => Event { previous_record: previous, ..event(record) },
    })
}

/// A field condition, by its positive or negative operator.
fn field() -> impl Strategy<Value = Value> {
    let path = prop::sample::select(vec!["record.a", "record.b", "record.a.b", "record.a[0]"]);
    (path, prop::sample::select(OPERATORS.iter().collect::<Vec<_>>()), value(), prop::collection::vec(value(), 0..3))
        .prop_map(|(path, operator, value, values)| {
            let value = match operator.test {
                Test::In => Value::Array(values),
                Test::Null | Test::Empty | Test::Changed => Value::Null,
                Test::StartsWith | Test::EndsWith | Test::Matches => json!("a"),
                Test::Order(_) if !value.is_number() && !value.is_string() => json!(1),
                _ => value,
            };
            json!({"field": path, "operator": operator.name, "value": value})
        })
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => field(),
        1 => prop::sample::select(vec!["$.a", "$.a == 1", "$.a.b == 'a'", "$['a'] == 1", "$.a[0] == null", "$ == 1", "$.b != 'a'", "$..b", "$..b == 1", "$.a >= 'a'"]).prop_map(|text| json!({"jsonpath": text})),
        1 => Just(json!({"component": "c"})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|members| json!({"and": members})),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|members| json!({"or": members})),
            inner.prop_map(|member| json!({"not": member})),
        ]
    })
}

/// What components say: by index, in rotation.
fn say(answers: &[Option<bool>]) -> impl Fn(usize) -> Option<bool> {
    move |index| answers[index % answers.len()]
}

fn judge(source: &Value, event: &Event, answers: &[Option<bool>]) -> Option<bool> {
    compile(source).evaluate(event, &say(answers))
}

fn answers() -> impl Strategy<Value = Vec<Option<bool>>> {
    prop::collection::vec(any::<Option<bool>>(), 1..4)
}

proptest! {
    #[test]
    fn an_explanation_has_the_verdict_of_the_evaluation(source in tree(), event in any_event(), answers in answers()) {
        let condition = compile(&source);
        let explanation = condition.explain(&event, &say(&answers));
        prop_assert_eq!(explanation.verdict, condition.evaluate(&event, &say(&answers)));
        serde_json::to_string(&explanation).unwrap();
    }

    #[test]
    fn a_negative_operator_negates_its_positive(source in field(), event in any_event()) {
        let name = source["operator"].as_str().unwrap();
        let operator = OPERATORS.iter().find(|operator| operator.name == name).unwrap();
        if let Some(other) = OPERATORS.iter().find(|other| other.test == operator.test && other.negated != operator.negated) {
            let mut opposite = source.clone();
            opposite["operator"] = json!(other.name);
            prop_assert_eq!(verdict(&source, &event), !verdict(&opposite, &event));
        }
        prop_assert_eq!(verdict(&source, &event), !verdict(&json!({"not": source}), &event));
    }

    #[test]
    fn and_or_and_not_obey_their_laws(a in tree(), b in tree(), event in any_event(), answer in any::<Option<bool>>()) {
        // One answer for all, so that the order of components does not matter.
        let judge = |source: Value| judge(&source, &event, &[answer]);
        let (not_a, not_b) = (json!({"not": a}), json!({"not": b}));
        prop_assert_eq!(judge(json!({"and": [a, b]})), judge(json!({"and": [b, a]})));
        prop_assert_eq!(judge(json!({"or": [a, b]})), judge(json!({"or": [b, a]})));
        prop_assert_eq!(judge(json!({"not": {"and": [a, b]}})), judge(json!({"or": [not_a, not_b]})));
        prop_assert_eq!(judge(json!({"and": [a, {"and": []}]})), judge(a.clone()));
        prop_assert_eq!(judge(json!({"or": [a, {"or": []}]})), judge(a.clone()));
        prop_assert_eq!(judge(json!({"and": [a, {"or": []}]})), Some(false));
        prop_assert_eq!(judge(json!({"or": [a, {"and": []}]})), Some(true));
        prop_assert_eq!(judge(json!({"not": {"not": a}})), judge(a));
    }

    #[test]
    fn a_known_verdict_stays_when_more_becomes_known(source in tree(), event in any_event(), answers in answers()) {
        if let Some(verdict) = judge(&source, &event, &answers) {
            for unknown in [true, false] {
                let all: Vec<_> = answers.iter().map(|answer| Some(answer.unwrap_or(unknown))).collect();
                prop_assert_eq!(judge(&source, &event, &all), Some(verdict));
            }
        }
    }

    #[test]
    fn scalars_are_equal_where_their_index_values_are(a in value(), b in value()) {
        let (x, y) = (IndexValue::of(Some(&a)), IndexValue::of(Some(&b)));
        if let (Some(x), Some(y)) = (&x, &y) {
            prop_assert_eq!(x == y, equality::equal(&a, &b));
        } else if x.is_some() != y.is_some() {
            prop_assert!(!equality::equal(&a, &b));
        }
        prop_assert_eq!(x.is_none(), a.is_array() || a.is_object());
        prop_assert_eq!(IndexValue::of(None), IndexValue::of(Some(&Value::Null)));
    }

    #[test]
    fn an_event_that_lacks_what_a_key_demands_is_refused(source in tree(), event in any_event(), answers in answers()) {
        let condition = compile(&source);
        let has = |(path, value): &Alternative| IndexValue::of(path.find(&event).as_deref()).as_ref() == Some(value);
        for key in condition.keys() {
            prop_assert!(!key.is_empty());
            if !key.iter().any(has) {
                prop_assert_eq!(condition.evaluate(&event, &say(&answers)), Some(false), "{:?}", key);
            }
        }
    }

    #[test]
    fn no_json_makes_the_compiler_panic(source in value(), name in "(and|or|not|field|operator|value|jsonpath|component|config|x)") {
        let mut source = json!({name: source});
        for _ in 0..2 {
            let _ = Condition::compile(&source, "", &mut Vec::new());
            source = json!({"and": [source]});
        }
    }
}
