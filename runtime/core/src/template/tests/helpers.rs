//! A table for each helper.

use super::*;

fn table(rows: &[(&str, Value)]) {
    for (source, value) in rows {
        assert_eq!(render(source).to_string(), value.to_string(), "{source}");
    }
}

fn errors(rows: &[(&str, &str)]) {
    for (source, part) in rows {
        let error = render_error(source);
        assert!(error.contains(part) && error.starts_with("`{{"), "{source}: {error}");
    }
}

#[test]
fn text() {
    table(&[
        ("{{lower record.name}}", json!("ann <b>& 'co'</b>")),
        ("{{upper record.address.city}}", json!("KÖLN")),
        ("{{trim '  a b '}}", json!("a b")),
        ("{{lower record.total}}", json!("1000")),
        ("{{lower record.note}}", json!(null)),
        ("x{{lower record.note}}", json!("x")),
        ("{{truncate record.address.city 2}}", json!("Kö")),
        ("{{truncate record.address.city 3 '…'}}", json!("Kö…")),
        ("{{truncate record.address.city length=4 suffix='…'}}", json!("Köln")),
        ("{{truncate 'abc' 1 '...'}}", json!(".")),
        ("{{truncate 'abc' 0}}", json!("")),
        ("{{urlencode 'a b/ü~'}}", json!("a%20b%2F%C3%BC~")),
        ("{{base64 'hällo'}}", json!("aMOkbGxv")),
        ("{{base64 record.tags}}", json!("WyJ4IiwieSJd")),
        ("{{upper (trim (lower ' X '))}}", json!("X")),
    ]);
    errors(&[
        ("{{truncate 'abc'}}", "wants a length"),
        ("{{truncate 'abc' -1}}", "whole number"),
        ("{{truncate 'abc' 1.5}}", "whole number"),
        ("{{truncate 'abc' 'x'}}", "number"),
    ]);
}

#[test]
fn values() {
    table(&[
        ("{{default record.nope record.note record.empty 'x'}}", json!("x")),
        ("{{default record.zero 5}}", json!(0)),
        ("{{default record.nope record.note}}", json!(null)),
        ("{{default record.items.9.qty 1}}", json!(1)),
        ("{{json record.address}}", json!(r#"{"city":"Köln","number":"5a"}"#)),
        ("{{json 'a\"b'}}", json!(r#""a\"b""#)),
        ("{{json record.nope}}", json!("null")),
        ("{{json record.tags pretty=true}}", json!("[\n  \"x\",\n  \"y\"\n]")),
        ("{{join record.tags}}", json!("x, y")),
        ("{{join record.tags '-'}}", json!("x-y")),
        ("{{join record.tags separator=''}}", json!("xy")),
        ("{{join record.none}}", json!("")),
        ("{{length 'Köln'}}", json!(4)),
        ("{{length record.items}}", json!(2)),
        ("{{length record.address}}", json!(2)),
        ("{{length record.nope}}", json!(0)),
        ("n={{length record.note}}", json!("n=0")),
        ("{{lookup record.address 'city'}}", json!("Köln")),
        ("{{lookup record.tags 1}}", json!("y")),
        ("{{lookup record.tags 9}}", json!(null)),
    ]);
    errors(&[("{{join record.name}}", "wants an array, got a string"), ("{{length record.total}}", "got a number")]);
}

#[test]
fn numbers() {
    table(&[
        ("{{add record.total 1}}", json!(1001)),
        ("{{add 1 2 3}}", json!(6)),
        ("{{sub 1 record.total}}", json!(-999)),
        ("{{mul record.price 2}}", json!(25)),
        ("{{div 10 4}}", serde_json::from_str("2.5").unwrap()),
        ("{{div 9 3}}", json!(3)),
        ("{{add 0.1 0.2}}", serde_json::from_str("0.3").unwrap()),
        ("{{add record.big 1}}", serde_json::from_str("123456789012345678901234567891").unwrap()),
        ("{{add '1.5' 2}}", serde_json::from_str("3.5").unwrap()),
        ("{{add record.note 1}}", json!(null)),
        ("x{{mul 2 (add 1 2)}}", json!("x6")),
        ("{{number record.total}}", json!(1000)),
        ("{{number '12.5'}}", serde_json::from_str("12.5").unwrap()),
        ("{{number record.total decimals=2 thousands=','}}", json!("1,000.00")),
        ("{{number record.total 2 ','}}", json!("1,000.00")),
        ("{{number record.total '0,0.00'}}", json!("1,000.00")),
        ("{{number record.total '#,##0'}}", json!("1,000")),
        ("{{number record.price '0.0'}}", json!("12.5")),
        ("{{number 1234567.125 decimals=2 thousands='.' point=','}}", json!("1.234.567,13")),
        ("{{number -1234.5 decimals=0 thousands=' '}}", json!("-1 235")),
        ("{{number -0.001 decimals=2}}", json!("0.00")),
        ("{{number record.big thousands=','}}", json!("123,456,789,012,345,678,901,234,567,890")),
        ("{{number 0.5 decimals=0}}", json!("1")),
    ]);
    errors(&[
        ("{{div 1 0}}", "`{{div 1 0}}`: div divides by zero"),
        ("{{div 1 record.zero}}", "by zero"),
        ("a {{add record.name 1}}", "`{{add record.name 1}}`"),
        ("{{add record.tags 1}}", "got an array"),
        ("{{add record.huge 1}}", "38 digits"),
        ("{{mul record.big record.big}}", "38 digits"),
        ("{{number record.total 'x'}}", "pattern"),
        ("{{number record.total decimals=99}}", "from 0 to 38"),
    ]);
}

#[test]
fn instants() {
    table(&[
        ("{{date record.shipped}}", json!("2025-01-31T22:30:00.000Z")),
        ("{{date record.shipped '%d.%m.%Y'}}", json!("31.01.2025")),
        ("{{date record.shipped '%d.%m.%Y %H:%M' 'Europe/Berlin'}}", json!("31.01.2025 23:30")),
        ("{{date record.shipped format='%Y-%m-%d' tz='Asia/Tokyo'}}", json!("2025-02-01")),
        ("{{date record.shipped tz='Asia/Tokyo'}}", json!("2025-02-01T07:30:00.000+09:00")),
        ("{{date record.shipped 'unix'}}", json!(1738362600)),
        ("{{date record.shipped 'unixMs'}}", json!(1738362600000_i64)),
        ("{{date 1738362600}}", json!("2025-01-31T22:30:00.000Z")),
        ("{{date 1738362600123}}", json!("2025-01-31T22:30:00.123Z")),
        ("{{date 1738362600.5}}", json!("2025-01-31T22:30:00.500Z")),
        ("{{date '1738362600'}}", json!("2025-01-31T22:30:00.000Z")),
        ("{{date '2025-01-31'}}", json!("2025-01-31T00:00:00.000Z")),
        ("{{date '2025-01-31 10:00:00'}}", json!("2025-01-31T10:00:00.000Z")),
        ("{{date '2025-01-31T10:00:00+02:00'}}", json!("2025-01-31T08:00:00.000Z")),
        ("{{date timestamp '%F'}}", json!("2025-10-09")),
        ("{{date record.note '%F'}}", json!(null)),
        ("{{now}}", json!("2025-10-09T09:00:00.000Z")),
        ("{{now '%H:%M' 'Europe/Berlin'}}", json!("11:00")),
        ("{{date (now) '%Y'}}", json!("2025")),
    ]);
    errors(&[
        ("{{date record.name}}", "RFC 3339"),
        ("{{date record.tags}}", "RFC 3339"),
        ("{{date record.big}}", "RFC 3339"),
        ("{{date record.shipped 'YYYY-MM-DD'}}", "strftime"),
        ("{{date record.shipped '%'}}", "format is wrong"),
        ("{{date record.shipped '%!'}}", "format is wrong"),
        ("{{date record.shipped '%F' 'Mars/Base'}}", "IANA"),
    ]);
}

#[test]
fn digests() {
    table(&[
        ("{{sha256 'abc'}}", json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
        (
            "{{hmacSha256 'what do ya want for nothing?' 'Jefe'}}",
            json!("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ),
        (
            "{{hmacSha256 'what do ya want for nothing?' key='Jefe' encoding='base64'}}",
            json!("W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="),
        ),
        ("{{sha256 record.note}}", json!(null)),
    ]);
    errors(&[
        ("{{hmacSha256 'a' ''}}", "key"),
        ("{{hmacSha256 'a'}}", "key"),
        ("{{hmacSha256 'a' 'b' encoding='x'}}", "hex"),
    ]);
}

#[test]
fn comparisons() {
    for (source, verdict) in [
        ("{{eq record.total '1000'}}", false),
        ("{{eq 9007199254740993 9007199254740992}}", false),
        ("{{eq record.tags record.tags}}", true),
        ("{{eq type 'orders.updated'}}", true),
        ("{{eq record.nope null}}", true),
        ("{{ne record.total 1}}", true),
        ("{{gt 9007199254740993 9007199254740992}}", true),
        ("{{gt record.total '999'}}", true),
        ("{{gte 1 1.0}}", true),
        ("{{lt 'a' 'b'}}", true),
        ("{{lte 2 1}}", false),
        ("{{lt 'a' 1}}", false),
        ("{{gt record.nope 1}}", false),
        ("{{gt true false}}", true),
        ("{{and 1 'a' record.paid}}", true),
        ("{{or 0 '' record.none}}", false),
        ("{{not record.empty}}", true),
    ] {
        assert_eq!(render(source), json!(verdict), "{source}");
    }
}

#[test]
fn a_uuid_is_the_same_on_every_try_and_another_one_at_every_place() {
    let config = json!({"a": "{{uuid}}", "b": "{{uuid}} {{uuid}}"});
    let compiled = compile_config(&config).unwrap();
    let world = World::new();
    let first = compiled.render(&world.scope(), true).unwrap().config;
    let again =
        compiled.render(&Scope { attempt: 5, now: "2030-01-01T00:00:00Z".parse().unwrap(), ..world.scope() }, true);
    assert_eq!(first, again.unwrap().config);
    let mut ids: Vec<&str> = first["b"].as_str().unwrap().split(' ').chain(first["a"].as_str()).collect();
    assert!(ids.iter().all(|id| id.parse::<uuid::Uuid>().unwrap().get_version_num() == 7));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let undelivered = Scope { delivery_id: None, ..world.scope() };
    let outside = compiled.render(&undelivered, true).unwrap().config;
    assert_ne!(first, outside);
    assert_eq!(outside, compiled.render(&undelivered, true).unwrap().config);
}
