//! `jsonpath` conditions.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

fn holds(expression: &str, record: Value) -> bool {
    verdict(&json!({"jsonpath": expression}), &event(record))
}

fn order() -> Value {
    json!({"event_type": "order.created", "total": 12.50, "paid": true, "größe": 3, "note": null, "odd == key": 1,
           "items": [{"sku": "A", "qty": 1}, {"sku": "B", "qty": 3}], "at": "2024-01-01T12:00:00+02:00"})
}

#[test]
fn a_query_holds_where_it_selects_a_node() {
    for (expression, expected) in [
        ("$", true),
        ("$.total", true),
        ("$.note", true),
        ("$.none", false),
        ("$.items[1]", true),
        ("$.items[2]", false),
        ("$.items[-1].sku", true),
        ("$..sku", true),
        ("$['odd == key']", true),
        ("$.items[?@.qty == 3]", true),
        ("$.items[?@.qty > 3]", false),
        ("$.items[?(@.sku == 'A' && @.qty >= 1)]", true),
        ("$.items[?@.sku == \"]==[\"]", false),
        ("$.items[?match(@.sku, '[BC]')]", true),
        ("$.items[?search(@.sku, \"x\")]", false),
        ("$[?length(@) == 2]", true),
        ("$.items[?@.qty == $.total]", false),
        ("  $.total  ", true),
    ] {
        assert_eq!(holds(expression, order()), expected, "{expression}");
    }
    assert!(!holds("$.a", Value::Null));
}

#[test]
fn a_query_is_compared_with_a_literal() {
    for (expression, expected) in [
        ("$.event_type == 'order.created'", true),
        ("$.event_type=='order.created'", true),
        ("$.event_type == \"order.created\"", true),
        ("$.event_type != 'order.created'", false),
        ("$.total == 12.5", true),
        ("$.total >= 12.5", true),
        ("$.total > 12.5", false),
        ("$.total < 1e400", true),
        ("$.total <= 12", false),
        ("$.größe == 3", true),
        ("$.größe😀 > 1", false),
        ("$.paid == true", true),
        ("$.paid <= true", true),
        ("$.paid < true", false),
        ("$.note == null", true),
        ("$.none == null", false),
        ("$.none != null", true),
        ("$.none < 1", false),
        ("$.at == '2024-01-01T10:00:00Z'", false),
        ("$.at >= '2024-01-01T10:00:00Z'", true),
        ("$.items[*].qty > 2", true),
        ("$.items[*].qty > 3", false),
        ("$.items[*].sku == 'B'", true),
        ("$.items[*].sku != 'B'", false),
        ("$.items[?@.qty == 3].sku == 'B'", true),
        ("$['odd == key'] == 1.0", true),
        (r"$.event_type != 'it\'s \u00e9'", true),
    ] {
        assert_eq!(holds(expression, order()), expected, "{expression}");
    }
    let digits = |text: &str| event(crate::json::parse(text.as_bytes()).unwrap());
    let expression = json!({"jsonpath": "$.n == 9007199254740993"});
    assert!(verdict(&expression, &digits(r#"{"n":9007199254740993}"#)));
    assert!(!verdict(&expression, &digits(r#"{"n":9007199254740992}"#)));
}

#[test]
fn a_wrong_expression_is_explained() {
    for (expression, complaint) in [
        ("", "`` is no RFC 9535 query"),
        ("total > 1", "`total` is no RFC 9535 query"),
        ("$.total = 1", "`=` is no comparison: write `==`"),
        ("$.total == ", "`` is no literal"),
        ("$.total == 01", "`01` is no literal"),
        ("$.total == $.other", "`$.other` is no literal"),
        ("$.a == 'x' && $.b == 'y'", "unexpected `&& $.b == 'y'`"),
        ("$.a && $.b", "joined by `and` and `or`"),
        ("$.a == 'x", "is never closed"),
        ("$['x", "is never closed"),
        ("$é(1", "is no RFC 9535 query"),
        ("$['\\", "unknown escape"),
        ("$['\\u", "unknown escape"),
        ("$['\\uD83D\\u", "unknown escape"),
        ("$.a]", "column 4: this bracket closes none"),
        ("$.items[", "is no RFC 9535 query"),
        ("$.items[?match(@.a, $.pattern)]", "the pattern of match() and search() is a quoted text"),
        (r"$.items[?match(@.a, '\\w+')]", "a pattern of match() and search() is small"),
        ("$.items[?match(@.a, '(')]", "this is not a regular expression"),
        ("$..a..b..c", "a query may hold 2 `..`"),
        ("$[?@[?@[?@.a]]]", "filters nest up to 2 deep"),
        ("$[?count($..*) > 1]", "a filter that refers to `$`"),
        ("$[0,0,0,0,0,0,0,0,0][0,0,0,0,0,0,0,0,0]", "multiply to more than 16"),
        ("$[?((((((((@.a))))))))]", "brackets nest up to 8 deep"),
    ] {
        let mistakes = mistakes(&json!({"jsonpath": expression}));
        assert_eq!(mistakes.len(), 1);
        assert!(
            mistakes[0].starts_with("/condition/jsonpath: ") && mistakes[0].contains(complaint),
            "{expression}: {mistakes:?}"
        );
    }
    let mistakes = mistakes(&json!({"jsonpath": format!("$.{}", "a".repeat(2000))}));
    assert_eq!(mistakes, ["/condition/jsonpath: a jsonpath may be 1024 bytes long"]);
}

#[test]
fn an_explanation_shows_the_nodes() {
    let explain = |text: &str| {
        serde_json::to_value(compile(&json!({"jsonpath": text})).explain(&event(order()), &asks_none)).unwrap()
    };
    assert_eq!(
        explain("$.items[*].sku"),
        json!({"node": "jsonpath", "verdict": true, "path": "$.items[*].sku", "found": ["A", "B"]})
    );
    assert_eq!(
        explain("$.total > 100"),
        json!({"node": "jsonpath", "verdict": false, "path": "$.total", "operator": ">", "found": 12.5, "wanted": 100})
    );
    assert_eq!(explain("$.none"), json!({"node": "jsonpath", "verdict": false, "path": "$.none"}));
}

#[test]
fn what_is_accepted_is_compiled_in_bounded_time() {
    let deep = format!("$[?{}@.a[?{}@.b]{}]", "!(".repeat(3), "!(".repeat(2), ")".repeat(5));
    let calls = "$[?length(value(value(value(value(value(value(@.a))))))) == 1]".to_owned();
    let many = format!("$[{}]", vec!["?@.a[?@.b == 1 || @.c]"; 40].join(","));
    for expression in [deep, calls, many] {
        let start = Instant::now();
        let _ = Condition::compile(&json!({"jsonpath": expression}), "", &mut Vec::new());
        assert!(start.elapsed().as_millis() < 500, "{expression} took {:?}", start.elapsed());
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic(text in "\\$([\\[\\]()?@$.*:,'\"\\\\u a-dD0-9=!<>&|é😀]|match\\(|search\\(){0,32}") {
        let mut mistakes = Vec::new();
        if let Some(condition) = Condition::compile(&json!({"jsonpath": text}), "", &mut mistakes) {
            condition.evaluate(&event(order()), &asks_none);
        }
    }

    #[test]
    fn no_slice_makes_the_query_panic(a in any::<i64>(), b in -5i64..5, c in any::<i64>(), short in any::<bool>()) {
        let (a, c) = if short { (a % 6, c % 6) } else { (a, c) };
        let text = format!("$.items[{a}:{b}:{c}]");
        if let Some(condition) = Condition::compile(&json!({"jsonpath": text}), "", &mut Vec::new()) {
            condition.evaluate(&event(order()), &asks_none);
        }
    }
}
