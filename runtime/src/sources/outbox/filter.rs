//! The rows that triggers may want, as a condition of the engine's own: true for all of them, and perhaps for more.
//!
//! Each test says whether SQL and the condition language agree on it exactly, or whether SQL is only never stricter.
//! What is negated must be exact: the opposite of too much would be too little.

use jiff::Timestamp;
use serde_json::Value;
use triggerd_core::capture::{Clause, Row, Test, TestKind};

use crate::connections::sql::Engine;
use crate::databases::{Column, Kind, Table};

/// A condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sql {
    /// Every row.
    True,
    /// No row.
    False,
    /// Those for which this is true; never NULL.
    Text(String),
}

/// Which way to err.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// On too many rows.
    Upper,
    /// On too few.
    Lower,
}

/// The rows of `table` for which `clause` may be true.
#[must_use]
pub fn of(engine: Engine, table: &Table, clause: &Clause) -> Sql {
    bound(engine, table, clause, Bound::Upper)
}

fn bound(engine: Engine, table: &Table, clause: &Clause, which: Bound) -> Sql {
    match clause {
        Clause::Unknown => open(which),
        Clause::All(members) => {
            joined(members.iter().map(|member| bound(engine, table, member, which)), " AND ", &Sql::True, &Sql::False)
        }
        Clause::Any(members) => {
            joined(members.iter().map(|member| bound(engine, table, member, which)), " OR ", &Sql::False, &Sql::True)
        }
        Clause::Not(member) => {
            let other = if which == Bound::Upper { Bound::Lower } else { Bound::Upper };
            match bound(engine, table, member, other) {
                Sql::True => Sql::False,
                Sql::False => Sql::True,
                Sql::Text(text) => Sql::Text(format!("NOT {text}")),
            }
        }
        Clause::Test(test) => match written(engine, table, test) {
            Some((text, exact)) if exact || which == Bound::Upper => Sql::Text(text),
            _ => open(which),
        },
    }
}

fn open(which: Bound) -> Sql {
    if which == Bound::Upper { Sql::True } else { Sql::False }
}

/// `neutral` says nothing, `final_` says everything.
fn joined(members: impl Iterator<Item = Sql>, between: &str, neutral: &Sql, final_: &Sql) -> Sql {
    let mut texts = Vec::new();
    for member in members {
        match member {
            member if member == *final_ => return member,
            Sql::Text(text) => texts.push(text),
            _ => {}
        }
    }
    match texts.len() {
        0 => neutral.clone(),
        1 => Sql::Text(texts.remove(0)),
        _ => Sql::Text(format!("({})", texts.join(between))),
    }
}

/// The test in SQL, and whether it is exact. `None` where SQL cannot say it.
fn written(engine: Engine, table: &Table, test: &Test) -> Option<(String, bool)> {
    let column = table.column(&test.column)?;
    let of = |row: Row| {
        let row = if row == Row::New { "NEW" } else { "OLD" };
        format!("{row}.{}", engine.quoted(&column.name))
    };
    let changed = || changed(engine, column, &of(Row::Old), &of(Row::New));
    match test.kind {
        // JSON has its own null.
        TestKind::Null => Some((format!("({} IS NULL)", of(test.row)), column.kind != Kind::Json)),
        TestKind::Equals => equals(engine, column, &of(test.row), &test.value),
        TestKind::In => {
            let Value::Array(values) = &test.value else { return None };
            let each = values.iter().map(|value| equals(engine, column, &of(test.row), value));
            let each: Vec<(String, bool)> = each.collect::<Option<_>>()?;
            let exact = each.iter().all(|(_, exact)| *exact);
            let texts: Vec<String> = each.into_iter().map(|(text, _)| text).collect();
            Some((if texts.is_empty() { "(1 = 0)".to_owned() } else { format!("({})", texts.join(" OR ")) }, exact))
        }
        TestKind::Less => order(engine, column, &of(test.row), "<", &test.value),
        TestKind::LessOrEqual => order(engine, column, &of(test.row), "<=", &test.value),
        TestKind::Greater => order(engine, column, &of(test.row), ">", &test.value),
        TestKind::GreaterOrEqual => order(engine, column, &of(test.row), ">=", &test.value),
        TestKind::Changed => Some(changed()),
        TestKind::ChangedTo => and(changed(), equals(engine, column, &of(Row::New), &test.value)),
        TestKind::ChangedFrom => and(changed(), equals(engine, column, &of(Row::Old), &test.value)),
    }
}

/// Both; the second one may be beyond SQL, and then the first alone is never stricter.
fn and(first: (String, bool), second: Option<(String, bool)>) -> Option<(String, bool)> {
    Some(match second {
        Some(second) => (format!("({} AND {})", first.0, second.0), first.1 && second.1),
        None => (first.0, false),
    })
}

fn equals(engine: Engine, column: &Column, name: &str, value: &Value) -> Option<(String, bool)> {
    if value.is_null() {
        return Some((format!("({name} IS NULL)"), column.kind != Kind::Json));
    }
    let same = same(engine);
    match (&column.kind, value) {
        (Kind::Integer | Kind::Decimal, Value::Number(_)) => {
            let exact = engine != Engine::Sqlite;
            Some((format!("({name} {same} {})", number(engine, value)?), exact))
        }
        (Kind::Bool, Value::Bool(truth)) => {
            let literal = match engine {
                Engine::Postgres => {
                    if *truth {
                        "TRUE"
                    } else {
                        "FALSE"
                    }
                }
                Engine::Mysql | Engine::Sqlite => {
                    if *truth {
                        "1"
                    } else {
                        "0"
                    }
                }
            };
            Some((format!("({name} {same} {literal})"), engine != Engine::Sqlite))
        }
        (Kind::Text, Value::String(wanted)) if is_plain_text(engine, column) => {
            Some((format!("({} {same} {})", text(engine, name), literal(engine, wanted)?), engine == Engine::Postgres))
        }
        _ => None,
    }
}

/// Not for texts, whose order is by code point here and by collation there.
fn order(engine: Engine, column: &Column, name: &str, sign: &str, value: &Value) -> Option<(String, bool)> {
    let wanted = match (&column.kind, value) {
        (Kind::Integer | Kind::Decimal, Value::Number(_)) => number(engine, value)?,
        (Kind::Instant, Value::String(wanted)) if engine == Engine::Postgres => {
            let instant: Timestamp = wanted.parse().ok()?;
            format!("'{instant}'::timestamptz")
        }
        _ => return None,
    };
    // PostgreSQL's NaN and infinity are greater than all numbers, and are no numbers in JSON.
    let exact = column.kind == Kind::Integer && engine != Engine::Sqlite;
    Some((format!("COALESCE({name} {sign} {wanted}, {})", no(engine)), exact))
}

fn changed(engine: Engine, column: &Column, old: &str, new: &str) -> (String, bool) {
    match engine {
        Engine::Postgres => match &column.kind {
            Kind::Text => (format!("({} IS DISTINCT FROM {})", text(engine, old), text(engine, new)), true),
            Kind::Json | Kind::Array(_) | Kind::Other => (format!("({old}::text IS DISTINCT FROM {new}::text)"), false),
            _ => (format!("({old} IS DISTINCT FROM {new})"), true),
        },
        Engine::Mysql => match &column.kind {
            Kind::Integer | Kind::Decimal | Kind::Bool => (format!("(NOT ({old} <=> {new}))"), true),
            _ => (format!("(NOT (CAST({old} AS BINARY) <=> CAST({new} AS BINARY)))"), false),
        },
        Engine::Sqlite => (format!("({old} IS NOT {new} COLLATE BINARY)"), false),
    }
}

/// Equality that knows NULL.
fn same(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "IS NOT DISTINCT FROM",
        Engine::Mysql => "<=>",
        Engine::Sqlite => "IS",
    }
}

fn no(engine: Engine) -> &'static str {
    if engine == Engine::Postgres { "FALSE" } else { "0" }
}

/// PostgreSQL's `char(n)` loses its blanks when it is compared, and `citext` its capitals.
fn is_plain_text(engine: Engine, column: &Column) -> bool {
    engine != Engine::Postgres || matches!(column.cast.as_str(), "text" | "character varying")
}

fn text(engine: Engine, name: &str) -> String {
    match engine {
        Engine::Postgres => format!("{name}::text COLLATE \"C\""),
        Engine::Mysql => name.to_owned(),
        Engine::Sqlite => format!("{name} COLLATE BINARY"),
    }
}

/// A number without an exponent; SQLite's whole numbers have 64 bits.
fn number(engine: Engine, value: &Value) -> Option<String> {
    let text = value.to_string();
    let plain = !text.is_empty() && text.len() <= 60 && !text.contains(['e', 'E']);
    match engine {
        Engine::Sqlite => text.parse::<i64>().ok().map(|number| number.to_string()),
        // A literal of many digits is a floating-point number for MySQL only with an exponent.
        Engine::Mysql | Engine::Postgres => plain.then_some(text),
    }
}

/// A text literal that means the same whatever the session's settings are.
fn literal(engine: Engine, wanted: &str) -> Option<String> {
    if wanted.contains('\0') || wanted.len() > 1000 {
        return None;
    }
    Some(match engine {
        // Dollar quotes of the function around it do not end here: conditions stand outside of function bodies.
        Engine::Postgres => {
            let escaped = wanted.replace('\\', "\\\\").replace('\'', "''");
            format!("E'{escaped}'")
        }
        Engine::Mysql => format!("_utf8mb4 X'{}'", hex::encode(wanted)),
        Engine::Sqlite => format!("'{}'", wanted.replace('\'', "''")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        let column = |name: &str, kind: Kind, cast: &str| Column {
            name: name.into(),
            kind,
            cast: cast.into(),
            full_type: cast.into(),
            max_chars: None,
            readable: true,
            primary: false,
            key_place: 0,
            counted: false,
        };
        Table {
            schema: None,
            name: "orders".into(),
            columns: vec![
                column("id", Kind::Integer, "bigint"),
                column("status", Kind::Text, "text"),
                column("code", Kind::Text, "character"),
                column("total", Kind::Decimal, "numeric"),
                column("paid", Kind::Bool, "boolean"),
                column("at", Kind::Instant, "timestamp with time zone"),
                column("data", Kind::Json, "jsonb"),
                column("rate", Kind::Float, "double precision"),
            ],
        }
    }

    fn test(column: &str, kind: TestKind, value: Value) -> Clause {
        Clause::Test(Test { row: Row::New, column: column.into(), kind, value })
    }

    fn not(clause: Clause) -> Clause {
        Clause::Not(Box::new(clause))
    }

    fn postgres(clause: &Clause) -> String {
        match of(Engine::Postgres, &table(), clause) {
            Sql::True => "TRUE".into(),
            Sql::False => "FALSE".into(),
            Sql::Text(text) => text,
        }
    }

    #[test]
    fn what_sql_says_exactly_is_said_and_negated() {
        let status = test("status", TestKind::Equals, json!("it's \\ done"));
        assert_eq!(postgres(&status), r#"(NEW."status"::text COLLATE "C" IS NOT DISTINCT FROM E'it''s \\ done')"#);
        assert!(postgres(&not(status.clone())).starts_with("NOT (NEW"));
        assert_eq!(postgres(&test("id", TestKind::Greater, json!(5))), r#"COALESCE(NEW."id" > 5, FALSE)"#);
        assert_eq!(postgres(&test("paid", TestKind::Equals, json!(true))), r#"(NEW."paid" IS NOT DISTINCT FROM TRUE)"#);
        let both = Clause::All(vec![status.clone(), Clause::Unknown]);
        assert_eq!(postgres(&both), postgres(&status));
        assert_eq!(postgres(&not(both)), "TRUE", "the opposite of what is half known is anything");
        assert_eq!(postgres(&Clause::Any(vec![status, Clause::Unknown])), "TRUE");
        assert_eq!(postgres(&Clause::Any(vec![])), "FALSE");
    }

    #[test]
    fn what_sql_cannot_say_takes_every_row() {
        let open = [
            test("code", TestKind::Equals, json!("a")),
            test("rate", TestKind::Equals, json!(0.1)),
            test("data", TestKind::Equals, json!("a")),
            test("status", TestKind::Less, json!("a")),
            test("status", TestKind::Equals, json!(5)),
            test("status", TestKind::Equals, json!("a\0")),
            test("gone", TestKind::Equals, json!("a")),
            test("total", TestKind::Equals, json!({"a": 1})),
            test("at", TestKind::Greater, json!("soon")),
            test("id", TestKind::In, json!([1, "a"])),
        ];
        for clause in open {
            assert_eq!(postgres(&clause), "TRUE", "{clause:?}");
            assert_eq!(postgres(&not(clause.clone())), "TRUE", "not {clause:?}");
        }
        // Never stricter, but not exact: good alone, not when it is negated.
        let nan = test("total", TestKind::Greater, json!(5));
        assert_eq!(postgres(&nan), r#"COALESCE(NEW."total" > 5, FALSE)"#);
        assert_eq!(postgres(&not(nan)), "TRUE");
    }
}
