//! `where`: which rows are meant, written like a trigger's condition, or short as `{"id": 5}`.
//!
//! It reads like a condition and ends as SQL. A comparison with a NULL is false and its negation true, as with a
//! condition; how texts compare is the column's collation's to say.

use serde_json::{Map, Value};
use triggerd_core::mistake::{Mistake, join};

use super::catalog::{Column, Kind, Table};
use super::statement::column_of;
use super::text::Sql;
use super::value;
use crate::connections::sql::{Arg, Engine, Fault};

/// How deep it may be nested: as deep as conditions.
const MAX_DEPTH: usize = 64;
/// How many comparisons it may have, and how many values one `IN`.
const MAX_TESTS: usize = 1000;

/// Which rows are meant.
#[derive(Clone, PartialEq, Debug)]
pub struct Filter {
    node: Node,
}

#[derive(Clone, PartialEq, Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Test { pointer: String, field: String, test: Test, value: Value },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Test {
    Equals,
    Greater,
    GreaterOrEquals,
    Less,
    LessOrEquals,
    In,
    Contains,
    StartsWith,
    EndsWith,
    Null,
    Empty,
}

/// Operators by their name without `_`, in capitals; the flag negates.
const OPERATORS: &[(&str, Test, bool)] = &[
    ("EQUALS", Test::Equals, false),
    ("NOTEQUALS", Test::Equals, true),
    ("GREATERTHAN", Test::Greater, false),
    ("GREATERTHANOREQUALS", Test::GreaterOrEquals, false),
    ("LESSTHAN", Test::Less, false),
    ("LESSTHANOREQUALS", Test::LessOrEquals, false),
    ("IN", Test::In, false),
    ("NOTIN", Test::In, true),
    ("CONTAINS", Test::Contains, false),
    ("STARTSWITH", Test::StartsWith, false),
    ("ENDSWITH", Test::EndsWith, false),
    ("ISNULL", Test::Null, false),
    ("ISNOTNULL", Test::Null, true),
    ("ISEMPTY", Test::Empty, false),
    ("ISNOTEMPTY", Test::Empty, true),
];

impl Filter {
    /// Reads `where`, which stands at `pointer`; all mistakes at once.
    pub fn parse(written: &Value, pointer: &str) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut tests = 0;
        let node = parse(written, pointer, 0, &mut tests, &mut mistakes);
        if tests == 0 && mistakes.is_empty() {
            mistakes.push(Mistake::new(pointer, "names no column: that would be every row, which is never meant here"));
        }
        if tests > MAX_TESTS {
            mistakes.push(Mistake::new(pointer, format!("{tests} comparisons; at most {MAX_TESTS}")));
        }
        match node {
            Some(node) if mistakes.is_empty() => Ok(Self { node }),
            _ => Err(mistakes),
        }
    }

    /// Writes it as SQL.
    pub(super) fn write(&self, sql: &mut Sql, table: &Table) -> Result<(), Fault> {
        self.node.write(sql, table)
    }
}

fn parse(written: &Value, pointer: &str, depth: usize, tests: &mut usize, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    let Some(fields) = written.as_object() else {
        mistakes.push(Mistake::kind(pointer, "a condition, or an object of columns and their values", written));
        return None;
    };
    if depth > MAX_DEPTH {
        mistakes.push(Mistake::new(pointer, format!("nested more than {MAX_DEPTH} deep")));
        return None;
    }
    let only = fields.iter().next().filter(|_| fields.len() == 1);
    match only.map(|(key, value)| (key.as_str(), value)) {
        Some((key @ ("and" | "or"), Value::Array(items))) => {
            let at = join(pointer, key);
            let parts = items.iter().enumerate();
            let parts: Vec<Option<Node>> =
                parts.map(|(i, item)| parse(item, &join(&at, &i.to_string()), depth + 1, tests, mistakes)).collect();
            let parts: Vec<Node> = parts.into_iter().collect::<Option<_>>()?;
            return Some(if key == "and" { Node::And(parts) } else { Node::Or(parts) });
        }
        Some(("not", inner)) if inner.is_object() => {
            let inner = parse(inner, &join(pointer, "not"), depth + 1, tests, mistakes)?;
            return Some(Node::Not(Box::new(inner)));
        }
        Some((key @ ("jsonpath" | "component"), _)) if depth > 0 => {
            mistakes.push(Mistake::new(join(pointer, key), "a database cannot ask this; compare columns"));
            return None;
        }
        _ => {}
    }
    if fields.contains_key("field") && fields.contains_key("operator") {
        *tests += 1;
        return long(fields, pointer, mistakes);
    }
    *tests += fields.len();
    let equals = fields.iter().map(|(name, value)| Node::Test {
        pointer: join(pointer, name),
        field: name.clone(),
        test: if value.is_array() { Test::In } else { Test::Equals },
        value: value.clone(),
    });
    Some(Node::And(equals.collect()))
}

/// `{"field", "operator", "value"}`
fn long(fields: &Map<String, Value>, pointer: &str, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    for key in fields.keys().filter(|key| !["field", "operator", "value"].contains(&key.as_str())) {
        mistakes.push(Mistake::unknown(join(pointer, key), "field", key, ["field", "operator", "value"]));
    }
    let (Some(field), Some(operator)) = (fields["field"].as_str(), fields["operator"].as_str()) else {
        mistakes.push(Mistake::new(pointer, "`field` and `operator` must be texts"));
        return None;
    };
    let name = operator.replace('_', "").to_ascii_uppercase();
    let Some((_, test, negated)) = OPERATORS.iter().find(|(known, ..)| *known == name) else {
        let known = "EQUALS, NOT_EQUALS, GREATER_THAN, GREATER_THAN_OR_EQUALS, LESS_THAN, LESS_THAN_OR_EQUALS, IN, \
                     NOT_IN, CONTAINS, STARTS_WITH, ENDS_WITH, IS_NULL, IS_NOT_NULL, IS_EMPTY and IS_NOT_EMPTY";
        let detail = format!("`{operator}` cannot be asked of a database; known are {known}");
        mistakes.push(Mistake::new(join(pointer, "operator"), detail));
        return None;
    };
    let value = fields.get("value").cloned().unwrap_or(Value::Null);
    let is_template = value.as_str().is_some_and(|text| text.contains("{{"));
    let wrong = match test {
        Test::In if !value.is_array() && !is_template => Some("an array"),
        Test::Contains | Test::StartsWith | Test::EndsWith if value.is_null() => Some("a value"),
        _ => None,
    };
    if let Some(wanted) = wrong {
        mistakes.push(Mistake::kind(join(pointer, "value"), wanted, &value));
    }
    let node = Node::Test { pointer: join(pointer, "value"), field: field.to_owned(), test: *test, value };
    Some(if *negated { Node::Not(Box::new(node)) } else { node })
}

impl Node {
    fn write(&self, sql: &mut Sql, table: &Table) -> Result<(), Fault> {
        match self {
            Self::And(parts) => group(sql, table, parts, " AND ", "1=1"),
            Self::Or(parts) => group(sql, table, parts, " OR ", "1=0"),
            Self::Not(inner) => {
                sql.push("((");
                inner.write(sql, table)?;
                sql.push(") IS NOT TRUE)");
                Ok(())
            }
            Self::Test { pointer, field, test, value } => {
                let column = column_of(table, field, pointer)?;
                write_test(sql, column, *test, value)
                    .map_err(|why| Fault::permanent("DB_VALUE", format!("{pointer}: column `{}` {why}", column.name)))
            }
        }
    }
}

fn group(sql: &mut Sql, table: &Table, parts: &[Node], between: &str, empty: &str) -> Result<(), Fault> {
    if parts.is_empty() {
        sql.push(empty);
        return Ok(());
    }
    sql.push("(");
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            sql.push(between);
        }
        part.write(sql, table)?;
    }
    sql.push(")");
    Ok(())
}

fn write_test(sql: &mut Sql, column: &Column, test: Test, value: &Value) -> Result<(), String> {
    if matches!(test, Test::Null) || (test == Test::Equals && value.is_null()) {
        sql.name(column);
        sql.push(" IS NULL");
        return Ok(());
    }
    if test == Test::Empty {
        return write_empty(sql, column);
    }
    if column.kind == Kind::Json {
        return Err("holds JSON: it can only be asked whether it is null".to_owned());
    }
    let compare = match test {
        Test::Equals => " = ",
        Test::Greater => " > ",
        Test::GreaterOrEquals => " >= ",
        Test::Less => " < ",
        Test::LessOrEquals => " <= ",
        Test::In => return write_in(sql, column, value),
        Test::Contains | Test::StartsWith | Test::EndsWith => return write_part(sql, column, test, value),
        Test::Null | Test::Empty => "",
    };
    let arg = value::bind(sql.engine, column, value)?;
    sql.name(column);
    sql.push(compare);
    sql.operand(column, arg);
    Ok(())
}

fn write_empty(sql: &mut Sql, column: &Column) -> Result<(), String> {
    sql.push("(");
    sql.name(column);
    sql.push(" IS NULL");
    if matches!(column.kind, Kind::Text) {
        sql.push(" OR ");
        sql.name(column);
        sql.push(" = ''");
    }
    sql.push(")");
    Ok(())
}

fn write_in(sql: &mut Sql, column: &Column, value: &Value) -> Result<(), String> {
    let Value::Array(items) = value else { return Err("is to be IN something that is no array".to_owned()) };
    if items.len() > MAX_TESTS {
        return Err(format!("is to be IN {} values; at most {MAX_TESTS}", items.len()));
    }
    let (nulls, rest): (Vec<&Value>, Vec<&Value>) = items.iter().partition(|item| item.is_null());
    let args: Vec<Arg> = rest.iter().map(|item| value::bind(sql.engine, column, item)).collect::<Result<_, _>>()?;
    sql.push("(");
    if args.is_empty() {
        sql.push("1=0");
    } else {
        sql.name(column);
        sql.push(" IN (");
        sql.each(args, ", ", |sql, arg| sql.operand(column, arg));
        sql.push(")");
    }
    if !nulls.is_empty() {
        sql.push(" OR ");
        sql.name(column);
        sql.push(" IS NULL");
    }
    sql.push(")");
    Ok(())
}

/// Parts of texts are found without patterns: there is nothing to escape.
fn write_part(sql: &mut Sql, column: &Column, test: Test, value: &Value) -> Result<(), String> {
    if !matches!(column.kind, Kind::Text | Kind::Other) {
        return Err("holds no text to look into".to_owned());
    }
    let text = value.as_str().ok_or("takes a text here")?;
    if text.is_empty() {
        sql.name(column);
        sql.push(" IS NOT NULL");
        return Ok(());
    }
    let length = text.chars().count();
    let (before, after) = match (test, sql.engine) {
        (Test::Contains, Engine::Postgres) => ("strpos(", None),
        (Test::Contains, _) => ("instr(", None),
        (Test::StartsWith, Engine::Sqlite) => ("substr(", Some(format!(", 1, {length}) = "))),
        (Test::StartsWith, _) => ("left(", Some(format!(", {length}) = "))),
        (_, Engine::Sqlite) => ("substr(", Some(format!(", -{length}) = "))),
        (_, _) => ("right(", Some(format!(", {length}) = "))),
    };
    sql.push(before);
    sql.as_text(column);
    match after {
        Some(after) => {
            sql.push(&after);
            sql.needle(column, text);
        }
        None => {
            sql.push(", ");
            sql.needle(column, text);
            sql.push(") > 0");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        let column = |name: &str, kind| Column {
            name: name.into(),
            kind,
            cast: "text".into(),
            full_type: "text".into(),
            max_chars: None,
            readable: true,
            primary: false,
            key_place: 0,
            counted: false,
        };
        Table { schema: None, name: "t".into(), columns: vec![column("id", Kind::Integer), column("a", Kind::Text)] }
    }

    fn written(filter: Value) -> (String, usize) {
        let mut sql = Sql::new(Engine::Sqlite);
        Filter::parse(&filter, "/where").unwrap().write(&mut sql, &table()).unwrap();
        (sql.text, sql.args.len())
    }

    #[test]
    fn conditions_and_the_short_form_become_sql_with_bound_values() {
        assert_eq!(written(json!({"id": 5, "a": null})), (r#"("id" = ? AND "a" IS NULL)"#.to_owned(), 1));
        let long = json!({"or": [{"field": "id", "operator": "GREATER_THAN", "value": 1},
            {"not": {"field": "a", "operator": "startsWith", "value": "x%' OR 1=1"}}]});
        let expected = r#"("id" > ? OR ((substr("a", 1, 10) = ?) IS NOT TRUE))"#;
        assert_eq!(written(long), (expected.to_owned(), 2));
        assert_eq!(
            written(json!({"field": "id", "operator": "NOT_IN", "value": [1, null]})).0,
            r#"((("id" IN (?) OR "id" IS NULL)) IS NOT TRUE)"#
        );
    }

    #[test]
    fn what_would_mean_every_row_is_refused() {
        for all in [json!({}), json!({"and": []}), json!({"not": {"or": []}}), json!("x"), json!(null)] {
            assert!(Filter::parse(&all, "/where").is_err(), "{all}");
        }
    }

    #[test]
    fn mistakes_have_their_places() {
        let wrong = json!({"and": [{"field": "id", "operator": "MATCHES", "value": "x"}, {"field": "id", "operator": "IN", "value": 3}]});
        let found: Vec<String> = Filter::parse(&wrong, "/where").unwrap_err().into_iter().map(|m| m.pointer).collect();
        assert_eq!(found, ["/where/and/0/operator", "/where/and/1/value"]);
        let mut sql = Sql::new(Engine::Sqlite);
        let fault = Filter::parse(&json!({"ids": 5}), "/where").unwrap().write(&mut sql, &table()).unwrap_err();
        assert_eq!(fault.code, "DB_UNKNOWN_COLUMN");
        assert!(fault.message.starts_with("/where/ids") && fault.message.contains("`id`"), "{}", fault.message);
    }
}
