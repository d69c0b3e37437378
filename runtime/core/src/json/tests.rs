//! What the strict parser accepts, refuses, and says about it.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn refused(text: &str) -> (String, String) {
    match parse(text.as_bytes()) {
        Err(Error::Refused(mistake)) => (mistake.pointer, mistake.detail),
        other => panic!("{text}: {other:?}"),
    }
}

fn complaint(text: &[u8]) -> String {
    match parse(text) {
        Err(Error::Malformed(sentence)) => sentence,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(text)),
    }
}

#[test]
fn a_duplicate_key_is_refused_where_it_stands() {
    assert_eq!(refused(r#"{"a":1,"a":2}"#).0, "/a");
    assert_eq!(refused(r#"{"x":[0,{"a/b":{"~":1,"\u007e":2}}]}"#).0, "/x/1/a~1b/~0");
    assert_eq!(refused(r#"{"a":1,"a":2}"#).1, "the key `a` stands here twice");
}

#[test]
fn equal_keys_in_different_objects_are_no_duplicates() {
    assert_eq!(parse(br#"[{"a":1},{"a":{"a":2}}]"#), Ok(json!([{"a":1},{"a":{"a":2}}])));
}

#[test]
fn depth_64_is_accepted_and_65_refused() {
    let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(parse(nest(64).as_bytes()).is_ok());
    let (pointer, detail) = refused(&nest(65));
    assert_eq!(pointer, "/0".repeat(64));
    assert_eq!(detail, "nested deeper than 64 levels");
    assert!(parse_definition(nest(192).as_bytes()).is_ok());
    assert!(parse_definition(nest(193).as_bytes()).is_err());
    assert!(parse("[".repeat(1 << 20).as_bytes()).is_err());
    assert!(parse(format!("[{0},{0}]", nest(63)).as_bytes()).is_ok());
}

#[test]
fn malformed_text_is_named_by_line_and_column() {
    for (text, sentence) in [
        (&b""[..], "line 1, column 1: the text ends where a JSON value is expected"),
        (b"{\"a\": 1,\n \"b\": tru}", "line 2, column 7: expected a JSON value"),
        (b"[1] x", "line 1, column 5: there is more text after the JSON value"),
        (b"{\"a\":1,}", "line 1, column 8: expected a key in double quotes"),
        (b"[1,]", "line 1, column 4: expected a JSON value"),
        (b"[01]", "line 1, column 3: a number has no leading zero"),
        (b"[1.]", "line 1, column 4: expected a digit"),
        (b"\"\xc3\xa9\xff\"", "line 1, column 3: this is not UTF-8"),
        (b"\"\\ud800\"", "line 1, column 2: a lone surrogate is no character"),
        (b"\"\\udc00\"", "line 1, column 2: a lone surrogate is no character"),
        (b"\"\\ud800\\u0041\"", "line 1, column 2: a lone surrogate is no character"),
        (b"\"a\nb\"", "line 1, column 3: a control character in a string has to be escaped"),
        (b"\"\\u12\"", "line 1, column 2: the text ends inside a string"),
        (b"\"\\u12zz\"", "line 1, column 2: expected four hexadecimal digits"),
        (b"\"\\x\"", "line 1, column 2: unknown escape in a string"),
        (b"\"abc", "line 1, column 5: the text ends inside a string"),
        (b"[1", "line 1, column 3: the text ends inside an array"),
        (b"NaN", "line 1, column 1: expected a JSON value"),
    ] {
        assert_eq!(complaint(text), sentence);
    }
}

#[test]
fn numbers_keep_their_digits() {
    for (text, kept) in [
        ("9007199254740993", "9007199254740993"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("18446744073709551616", "18446744073709551616"),
        ("-0", "-0"),
        ("-0.0", "-0.0"),
        ("0.30000000000000000000000000000004", "0.30000000000000000000000000000004"),
        ("1e400", "1e+400"),
        ("1.50", "1.50"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), kept);
    }
}

#[test]
fn an_object_that_imitates_serde_jsons_markers_is_refused() {
    for key in ["$serde_json::private::Number", "$serde_json::private::RawValue", "\\u0024serde_json::private::Number"]
    {
        let (pointer, _) = refused(&format!(r#"{{"a":{{"{key}":"1"}}}}"#));
        assert!(pointer.starts_with("/a/$serde_json"));
    }
}

/// JSON texts with unique keys, as somebody might write them.
fn any_json() -> impl Strategy<Value = Value> {
    let number = "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number.prop_map(|text| Value::Number(text.parse().unwrap())),
        ".*".prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((".{0,4}", inner), 0..6).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_json_reads_is_read_alike(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
    }

    #[test]
    fn damaged_text_is_judged_as_serde_json_judges_it(value in any_json(), cut in any::<prop::sample::Index>(), byte in any::<u8>(), syntax in "[\\[\\]{}\":,0-9eE.+\\\\ux -]", replace in any::<bool>()) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = cut.index(text.len());
        text[at] = if replace { syntax.as_bytes()[0] } else { byte };
        match (parse(&text), serde_json::from_slice::<Value>(&text)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
            (Err(Error::Malformed(_)), Err(_)) => {}
            // The damage made two keys equal.
            (Err(Error::Refused(_)), Ok(_)) => {}
            (ours, theirs) => prop_assert!(false, "{:?} but {:?}", ours, theirs),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse(&text);
    }
}
