//! Every type's JSON is what `to_jsonb` makes of it.

use serde_json::{Value, json};

use super::{Place, parts, read, say};
use crate::databases::exact;

const SCHEMA: &str = r#"
ALTER ROLE owner SET intervalstyle = 'iso_8601';
CREATE TYPE mood AS ENUM ('sad', 'very happy');
CREATE DOMAIN cents AS bigint;
CREATE DOMAIN many AS numeric[];
CREATE TYPE point2 AS (x int, "the y" numeric, note text, tags text[]);
CREATE TYPE nested AS (p point2, at timestamptz, ok boolean);
CREATE TABLE t (
  id int PRIMARY KEY,
  i2 int2, i8 int8, f4 float4, f8 float8, n numeric, b boolean, c char(5), vc varchar, tx text, nm name, u uuid,
  d date, ti time, tz timetz, ts timestamp, tstz timestamptz, iv interval, j json, jb jsonb, m money, o oid,
  ip inet, cd cidr, mac macaddr, bi bit(3), vb varbit, x xml, r int4range, tr tstzrange, mr int4multirange, pt point, bx box,
  tv tsvector, e mood, dm cents, lsn pg_lsn,
  ai int[], at text[], ab boolean[], an numeric[], atz timestamptz[], ats timestamp[], ajb jsonb[], ae mood[],
  adm cents[], abx box[], ap point2[], au uuid[], ad date[], af float8[], amany many, p point2, ne nested
);
"#;

const ROWS: &[&str] = &[
    "INSERT INTO t (id) VALUES (1)",
    r#"INSERT INTO t VALUES (2,
  -32768, 9223372036854775807, 1.5, 1e300, 12345678901234567890123456789.012345678900, true, 'ab', 'v', E'a"\\\n\u00e9',
  'n', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2026-01-31', '10:00:00.5', '10:00:00+02', '2026-01-31 10:00:00',
  '2026-01-31 10:00:00.123456+01', '1 day 02:03:04.5', '{"b": [1, {"c": null}], "a": 0.10}', '{"b": [1, {"c": null}], "a": 0.10}', 12.34, 42,
  '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', B'101', B'1', '<a>b</a>', '[1,5)', '[2026-01-01 00:00+00,)', '{[1,2),[5,7)}',
  '(1.5,2)', '(1,1),(0,0)', 'a fat cat', 'very happy', 123, '16/B374D848',
  '{1,NULL,-3}', ARRAY['a,b', NULL, 'NULL', '', 'a"b\c', '{}'], '{t,f,NULL}', '{1.50,NaN}', ARRAY['2026-01-31 10:00:00+00'::timestamptz],
  ARRAY['2026-01-31 10:00:00'::timestamp], ARRAY['{"a": "}"}'::jsonb, '1'], '{sad,"very happy"}', '{7}', '{(1,1),(0,0);(2,2),(0,0)}',
  ARRAY[ROW(1, 2.50, 'a "b", (c)', '{x,y}')::point2, NULL], ARRAY['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid], ARRAY['2026-01-31'::date],
  '{1.5,-Infinity}', '{1.25}', ROW(NULL, 1, '', NULL)::point2, ROW(ROW(1, 2, 'x', '{}')::point2, '2026-01-31 10:00+00', false)::nested)"#,
    "INSERT INTO t (id, i2, f4, f8, n, d, ts, tstz, ai, at, j) VALUES (3, 0, 'NaN', '-Infinity', 'Infinity', 'infinity', \
     '-infinity', '0044-03-15 12:00:00+00 BC', '{{1,2},{3,4}}', '{}', '[]')",
    "INSERT INTO t (id, f4, f8, n, d, ts, ai, jb) VALUES (4, 1.5e-7, '-0', 1e-20, '0044-03-15 BC', '0044-03-15 12:00 BC', \
     '[0:1]={7,8}', '\"text\"')",
    "INSERT INTO t (id, f4, f8, n) VALUES (5, 3.4e38, 1.7976931348623157e308, -0.00)",
    "INSERT INTO t (id, f8, tstz) VALUES (6, 123456.789e3, '2026-07-01 00:00:00-07:30')",
];

#[tokio::test]
async fn values_are_what_to_jsonb_makes_of_them() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, SCHEMA).await;
    let mut stream = place.open(&["t"]).await;
    for row in ROWS {
        say(&mut client, row).await;
    }
    let changes = read(&mut stream, ROWS.len()).await;
    for (index, change) in changes.iter().enumerate() {
        let wanted = place.db.text("to_jsonb(t)", &format!("FROM t WHERE id = {}", index + 1)).await.unwrap();
        let (wanted, found) = (exact(&wanted), parts(change).1);
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(found[name].to_string(), sorted(&found[name], value), "row {}, column {name}", index + 1);
        }
        assert_eq!(found.as_object().unwrap().len(), wanted.as_object().unwrap().len());
    }
}

/// `wanted` as text, with the fields in the order of `found` where they are equal: order says nothing.
fn sorted(found: &Value, wanted: &Value) -> String {
    if found == wanted { found.to_string() } else { wanted.to_string() }
}

#[tokio::test]
async fn bytes_are_base64_and_json_with_equal_keys_is_its_text() {
    let place = Place::new().await;
    let mut client = place.client().await;
    say(&mut client, "CREATE TABLE t (id int PRIMARY KEY, b bytea, bs bytea[], j json)").await;
    let mut stream = place.open(&["t"]).await;
    say(&mut client, r#"INSERT INTO t VALUES (1, '\x00ff10', ARRAY['\x01'::bytea, ''], '{"a": 1, "a": 2}')"#).await;
    let changes = read(&mut stream, 1).await;
    assert_eq!(*parts(&changes[0]).1, json!({"id": 1, "b": "AP8Q", "bs": ["AQ==", ""], "j": r#"{"a": 1, "a": 2}"#}));
    let why = changes[0].context["unreadColumns"]["j"].as_str().unwrap();
    assert!(why.contains("stands here twice") && why.contains("jsonb"), "{why}");
}
