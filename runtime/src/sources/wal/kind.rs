//! What columns hold, by their types' numbers: PostgreSQL's own from a table, others from the database's catalog.
//!
//! The catalog is asked as it is now, while the log tells of earlier times. A type that has been dropped or changed
//! since is shown as text, which is what the log has.

use std::collections::{HashMap, HashSet};

use super::message::Relation;
use crate::connections::sql::{Arg, Fault, Pool, Server, Session};

/// How deep domains, arrays and rows may stand in one another.
const MAX_DEPTH: usize = 16;
/// The most types that one table may need.
const MAX_TYPES: usize = 10_000;

/// How a value's text becomes JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Bool,
    Number,
    Json,
    Bytes,
    /// Date and time of no zone.
    DateTime,
    /// An instant.
    Instant,
    /// An array, whose values have this character between them.
    Array(Box<Kind>, char),
    /// A composite type's fields.
    Row(Vec<(String, Kind)>),
    Text,
}

/// A type as the catalog has it.
enum Known {
    Domain(u32),
    Array(u32, char),
    Row(Vec<(String, u32)>),
    Other,
}

/// Types, with all that they are made of.
const TYPES: &str = "
WITH RECURSIVE needed(id) AS (
  SELECT unnest(string_to_array($1, ',')::pg_catalog.oid[])
  UNION
  SELECT part.id FROM needed JOIN pg_catalog.pg_type t ON t.oid = needed.id CROSS JOIN LATERAL (
    SELECT t.typbasetype WHERE t.typtype = 'd'
    UNION ALL SELECT t.typelem WHERE t.typcategory = 'A' AND t.typelem <> 0
    UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
              WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
  ) part(id)
)
SELECT t.oid::text,
       CASE WHEN t.typtype = 'd' THEN 'd' WHEN t.typtype = 'c' THEN 'c'
            WHEN t.typcategory = 'A' AND t.typelem <> 0 AND t.typlen = -1 AND t.oid NOT IN (22, 30) THEN 'a' ELSE '' END,
       t.typbasetype::text, t.typelem::text, COALESCE(element.typdelim, ',')::text,
       COALESCE((SELECT json_agg(json_build_array(a.attname, a.atttypid::text) ORDER BY a.attnum)
                 FROM pg_catalog.pg_attribute a
                 WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '[]')::text
FROM needed JOIN pg_catalog.pg_type t ON t.oid = needed.id
LEFT JOIN pg_catalog.pg_type element ON element.oid = t.typelem";

/// The kinds of PostgreSQL's own types (`src/include/catalog/pg_type.dat`: their numbers never change).
fn of_builtin(id: u32) -> Option<Kind> {
    let array = |kind| Some(Kind::Array(Box::new(kind), ','));
    match id {
        16 => Some(Kind::Bool),
        17 => Some(Kind::Bytes),
        // int8, int2, int4, float4, float8, numeric: those that `to_jsonb` makes numbers of.
        20 | 21 | 23 | 700 | 701 | 1700 => Some(Kind::Number),
        114 | 3802 => Some(Kind::Json),
        1114 => Some(Kind::DateTime),
        1184 => Some(Kind::Instant),
        // char, name, oid, text, cidr, money, macaddr, inet, bpchar, varchar, date, time, interval, timetz, bit, varbit,
        // uuid, tsvector.
        18 | 19 | 25 | 26 | 650 | 790 | 829 | 869 | 1042 | 1043 | 1082 | 1083 | 1186 | 1266 | 1560 | 1562 | 2950
        | 3614 => Some(Kind::Text),
        1000 => array(Kind::Bool),
        1005 | 1007 | 1016 | 1021 | 1022 | 1231 => array(Kind::Number),
        199 | 3807 => array(Kind::Json),
        1115 => array(Kind::DateTime),
        1185 => array(Kind::Instant),
        1009 | 1014 | 1015 | 2951 => array(Kind::Text),
        _ => None,
    }
}

/// The kinds of a table's columns, where no question is needed for them.
pub(super) fn known(relation: &Relation) -> Option<Vec<Kind>> {
    relation.columns.iter().map(|column| of_builtin(column.type_id)).collect()
}

/// The kinds of a table's columns; the catalog is asked for those that are not PostgreSQL's own.
pub(super) async fn ask(pool: &Pool, server: &Server, relation: &Relation) -> Result<Vec<Kind>, Fault> {
    let mut session = pool.single(server).await?;
    let found = look_up(&mut session, relation).await;
    session.close().await;
    let found = found?;
    Ok(relation.columns.iter().map(|column| made_of(column.type_id, &found, 0)).collect())
}

async fn look_up(session: &mut Session, relation: &Relation) -> Result<HashMap<u32, Known>, Fault> {
    let ids = relation.columns.iter().map(|column| column.type_id).filter(|id| of_builtin(*id).is_none());
    let ids: HashSet<String> = ids.map(|id| id.to_string()).collect();
    let ids = Arg::Text(ids.into_iter().collect::<Vec<_>>().join(","));
    let answer = session.rows(TYPES, &[ids], MAX_TYPES).await?;
    Ok(answer.rows.iter().filter_map(|row| known_type(row)).collect())
}

fn known_type(row: &[Arg]) -> Option<(u32, Known)> {
    let text = |index: usize| row.get(index).and_then(Arg::text);
    let id = |index: usize| text(index)?.parse::<u32>().ok();
    let known = match text(1)? {
        "d" => Known::Domain(id(2)?),
        "a" => Known::Array(id(3)?, text(4)?.chars().next()?),
        "c" => {
            let fields: Vec<(String, String)> = serde_json::from_str(text(5)?).ok()?;
            let fields = fields.into_iter().map(|(name, id)| Some((name, id.parse().ok()?)));
            Known::Row(fields.collect::<Option<_>>()?)
        }
        _ => Known::Other,
    };
    Some((id(0)?, known))
}

fn made_of(id: u32, found: &HashMap<u32, Known>, depth: usize) -> Kind {
    if let Some(kind) = of_builtin(id) {
        return kind;
    }
    let part = |id| made_of(id, found, depth + 1);
    match found.get(&id) {
        _ if depth > MAX_DEPTH => Kind::Text,
        Some(Known::Domain(base)) => part(*base),
        Some(Known::Array(element, between)) => Kind::Array(Box::new(part(*element)), *between),
        Some(Known::Row(fields)) => Kind::Row(fields.iter().map(|(name, id)| (name.clone(), part(*id))).collect()),
        Some(Known::Other) | None => Kind::Text,
    }
}
