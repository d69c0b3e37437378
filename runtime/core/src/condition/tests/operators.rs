//! Each operator on a table of values: `(found, wanted, verdict)`. `null` found is tried missing as well.

use super::*;

/// JSON text, so that numbers keep their digits.
fn read(text: &str) -> Value {
    crate::json::parse(text.as_bytes()).unwrap()
}

fn table(operator: &str, negative: Option<&str>, rows: &[(&str, &str, bool)]) {
    for (found, wanted, expected) in rows {
        let (found, wanted) = (read(found), read(wanted));
        let mut events = vec![event(json!({"v": found}))];
        if found.is_null() {
            events.push(event(json!({})));
            events.push(event(Value::Null));
        }
        for event in events {
            let condition = |operator: &str| json!({"field": "record.v", "operator": operator, "value": wanted});
            assert_eq!(verdict(&condition(operator), &event), *expected, "{found} {operator} {wanted}");
            if let Some(negative) = negative {
                assert_eq!(verdict(&condition(negative), &event), !*expected, "{found} {negative} {wanted}");
            }
        }
    }
}

#[test]
fn equals() {
    table(
        "EQUALS",
        Some("NOT_EQUALS"),
        &[
            ("1", "1.0", true),
            ("1", "10e-1", true),
            ("-0", "0", true),
            ("1", r#""1""#, false),
            ("9007199254740993", "9007199254740992", false),
            ("9007199254740993", "9007199254740993", true),
            ("123456789012345678901234567890", "123456789012345678901234567891", false),
            ("1e400", "10e399", true),
            ("1e400", "1e401", false),
            (r#""a""#, r#""a""#, true),
            (r#""a""#, r#""A""#, false),
            (r#""2024-01-01T00:00:00Z""#, r#""2024-01-01T01:00:00+01:00""#, false),
            ("null", "null", true),
            ("null", "false", false),
            ("null", "0", false),
            ("null", r#""""#, false),
            ("true", "true", true),
            ("true", "1", false),
            ("[1,[2]]", "[1.0,[2e0]]", true),
            ("[1,2]", "[2,1]", false),
            ("[1]", "[1,null]", false),
            (r#"{"a":1,"b":[]}"#, r#"{"b":[],"a":1.0}"#, true),
            (r#"{"a":null}"#, r#"{"b":null}"#, false),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#, false),
        ],
    );
}

#[test]
fn in_an_array() {
    table(
        "IN",
        Some("NOT_IN"),
        &[
            (r#""a""#, r#"["b","a"]"#, true),
            ("1", "[2, 1.0]", true),
            ("1", r#"["1"]"#, false),
            ("1", "[]", false),
            ("null", "[null]", true),
            ("null", "[]", false),
            ("[1]", "[1]", false),
            ("[1]", "[[1]]", true),
        ],
    );
}

#[test]
fn greater_and_less() {
    // found, wanted, then > >= < <=
    for (found, wanted, expected) in [
        ("2", "10", [false, false, true, true]),
        ("1", "1.0", [false, true, false, true]),
        ("9007199254740993", "9007199254740992", [true, true, false, false]),
        ("1e400", "1e399", [true, true, false, false]),
        ("-1e400", "0", [false, false, true, true]),
        (r#""b""#, r#""a""#, [true, true, false, false]),
        (r#""10""#, r#""9""#, [false, false, true, true]),
        (r#""\uffff""#, r#""\ud83d\ude00""#, [false, false, true, true]),
        (r#""2024-01-01T10:00:00+02:00""#, r#""2024-01-01T09:00:00Z""#, [false, false, true, true]),
        (r#""2024-01-01T10:00:00.5Z""#, r#""2024-01-01T10:00:00Z""#, [true, true, false, false]),
        (r#""2024-01-01T11:00:00+01:00""#, r#""2024-01-01T10:00:00.000Z""#, [false, true, false, true]),
        (r#""2024-01-01T10:00:00Z""#, r#""2024-01-01""#, [true, true, false, false]),
        ("1", r#""0""#, [false; 4]),
        (r#""1""#, "0", [false; 4]),
        ("null", "0", [false; 4]),
        ("null", r#""""#, [false; 4]),
        ("true", "0", [false; 4]),
        ("[1]", "0", [false; 4]),
    ] {
        for (operator, expected) in
            ["GREATER_THAN", "GREATER_THAN_OR_EQUALS", "LESS_THAN", "LESS_THAN_OR_EQUALS"].into_iter().zip(expected)
        {
            table(operator, None, &[(found, wanted, expected)]);
        }
    }
}

#[test]
fn contains() {
    table(
        "CONTAINS",
        None,
        &[
            (r#""warehouse""#, r#""house""#, true),
            (r#""warehouse""#, r#""House""#, false),
            (r#""warehouse""#, r#""""#, true),
            (r#""a1""#, "1", false),
            ("[1,2.0]", "2", true),
            (r#"["ab"]"#, r#""a""#, false),
            ("[[1],{}]", "[1]", true),
            ("[null]", "null", true),
            ("[]", "null", false),
            (r#"{"a":null}"#, r#""a""#, true),
            (r#"{"a":"b"}"#, r#""b""#, false),
            ("null", "null", false),
            ("12", r#""1""#, false),
        ],
    );
}

#[test]
fn starts_and_ends() {
    for (operator, yes, no) in [("STARTS_WITH", "ORD-", "-1"), ("ENDS_WITH", "-1", "ORD-")] {
        table(
            operator,
            None,
            &[
                (r#""ORD-1""#, &format!("\"{yes}\""), true),
                (r#""ORD-1""#, &format!("\"{no}\""), false),
                (r#""ORD-1""#, r#""""#, true),
                (r#"["ORD-1"]"#, r#""ORD-1""#, false),
                ("null", r#""""#, false),
                ("1", r#""1""#, false),
            ],
        );
    }
}

#[test]
fn matches() {
    table(
        "MATCHES",
        None,
        &[
            (r#""ORD-42""#, r#""^ORD-\\d+$""#, true),
            (r#""xORD-42""#, r#""^ORD-\\d+$""#, false),
            (r#""a b""#, r#""b""#, true),
            (r#""GROẞ""#, r#""(?i)groß""#, true),
            (r#""a@b.example""#, r#""^[\\w.+-]+@[\\w-]+(\\.[\\w-]+)+$""#, true),
            ("42", r#""\\d""#, false),
            ("null", r#""""#, false),
            (r#"["a"]"#, r#""a""#, false),
        ],
    );
}

#[test]
fn a_long_string_is_searched_whole_and_an_oversized_one_not_at_all() {
    let kib = |n: usize| n << 10;
    for (pattern, longest) in [("^a+b$", kib(1024)), ("^[[:alpha:]]{150}a*b$", kib(256)), (r"^\w{5}a*b$", kib(64))] {
        let condition = json!({"field": "record.v", "operator": "MATCHES", "value": pattern});
        let text = |length: usize| event(json!({"v": format!("{}b", "a".repeat(length - 1))}));
        assert!(verdict(&condition, &text(longest)), "{pattern}");
        assert!(!verdict(&condition, &text(longest + 1)), "{pattern}");
    }
}

#[test]
fn null_and_empty() {
    for (found, null, empty) in [
        ("null", true, true),
        (r#""""#, false, true),
        ("[]", false, true),
        ("{}", false, true),
        ("0", false, false),
        ("false", false, false),
        (r#"" ""#, false, false),
        ("[null]", false, false),
        (r#"{"a":null}"#, false, false),
    ] {
        table("IS_NULL", Some("IS_NOT_NULL"), &[(found, "null", null)]);
        table("IS_EMPTY", Some("IS_NOT_EMPTY"), &[(found, "null", empty)]);
    }
}

#[test]
fn operator_names_are_accepted_in_any_spelling() {
    for name in [
        "GREATER_THAN_OR_EQUALS",
        "greater_than_or_equals",
        "greaterThanOrEquals",
        "GreaterThanOrEquals",
        "greater-than-or-equals",
    ] {
        assert!(verdict(&json!({"field": "record.v", "operator": name, "value": 1}), &event(json!({"v": 1}))));
    }
    for operator in &OPERATORS {
        let camel: String =
            operator.name.split('_').map(|part| format!("{}{}", &part[..1], part[1..].to_lowercase())).collect();
        let mut value = json!("x");
        if operator.test == Test::In {
            value = json!([]);
        } else if matches!(operator.test, Test::Null | Test::Empty | Test::Changed) {
            value = Value::Null;
        }
        for name in [operator.name.to_lowercase(), camel] {
            compile(&json!({"field": "record.v", "operator": name, "value": value}));
        }
    }
}

#[test]
fn other_roots_are_compared_too() {
    let event = event(json!({"total": 5}));
    for (field, value) in [
        ("env", json!("prd")),
        ("type", json!("order.created")),
        ("event", json!("order.created")),
        ("timestamp", json!("2024-05-06T07:08:09.000Z")),
        ("payload.total", json!(5.0)),
        ("table", Value::Null),
        ("operation", Value::Null),
    ] {
        assert!(verdict(&json!({"field": field, "operator": "EQUALS", "value": value}), &event), "{field}");
    }
    assert!(verdict(
        &json!({"field": "timestamp", "operator": "LESS_THAN", "value": "2024-05-06T09:08:10+02:00"}),
        &event
    ));
}
