//! The catalogs of the three engines, asked.

use triggerd_core::mistake::nearest;

use super::catalog::{Column, Kind, Table};
use crate::connections::sql::{Arg, Engine, Fault, Session};

/// Names that are looked at for the one that was meant.
const MAX_NAMES: usize = 1000;
/// Columns of a table: more than any engine allows.
const MAX_COLUMNS: usize = 5000;

const POSTGRES_TABLE: &str = "
SELECT n.nspname::text, c.relname::text, a.attname::text,
       pg_catalog.format_type(a.atttypid, -1), pg_catalog.format_type(a.atttypid, a.atttypmod),
       COALESCE(base.typname, t.typname)::text, COALESCE(element.typname, '')::text,
       CASE WHEN t.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4 THEN (a.atttypmod - 4)::text ELSE '' END,
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')::text,
       COALESCE((SELECT key.place FROM pg_catalog.pg_index i
                 CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS key(attnum, place)
                 WHERE i.indrelid = c.oid AND i.indisprimary AND key.attnum = a.attnum AND key.place <= i.indnkeyatts), 0)::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type base ON base.oid = t.typbasetype AND t.typtype = 'd'
LEFT JOIN pg_catalog.pg_type element ON element.oid = t.typelem AND t.typcategory = 'A'
WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind IN ('r', 'p', 'v', 'f') AND a.attnum > 0
  AND NOT a.attisdropped AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'
ORDER BY a.attnum";

const POSTGRES_NAMES: &str = "
SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema') LIMIT 1000";

const MYSQL_TABLE: &str = "
SELECT CAST(table_schema AS CHAR), CAST(table_name AS CHAR), CAST(column_name AS CHAR), CAST(data_type AS CHAR),
       CAST(column_type AS CHAR), CAST(column_key AS CHAR), CAST(extra AS CHAR)
FROM information_schema.columns
WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?
  AND table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')
ORDER BY ordinal_position";

/// On its own: a join of these views reads all tables there are.
const MYSQL_KEY: &str = "
SELECT CAST(column_name AS CHAR) FROM information_schema.statistics
WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? AND index_name = 'PRIMARY' ORDER BY seq_in_index";

const MYSQL_JSON_CHECKS: &str = "
SELECT CAST(check_clause AS CHAR) FROM information_schema.check_constraints
WHERE constraint_schema = COALESCE(?, DATABASE()) AND table_name = ? AND check_clause LIKE 'json\\_valid(%'";

const MYSQL_NAMES: &str =
    "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = DATABASE() LIMIT 1000";

const SQLITE_TABLE: &str = "
SELECT c.name, c.type, c.pk FROM sqlite_schema s, pragma_table_xinfo(s.name) c
WHERE s.name = ? AND s.type IN ('table', 'view') AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND c.hidden <> 1 ORDER BY c.cid";

const SQLITE_NAMES: &str = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') LIMIT 1000";

/// The server and its version.
pub(super) async fn version(session: &mut Session) -> Result<String, Fault> {
    let (name, sql) = match session.engine() {
        Engine::Postgres => ("PostgreSQL", "SELECT current_setting('server_version')"),
        Engine::Mysql if session.is_mariadb() => ("MariaDB", "SELECT VERSION()"),
        Engine::Mysql => ("MySQL", "SELECT VERSION()"),
        Engine::Sqlite => ("SQLite", "SELECT sqlite_version()"),
    };
    let found = ask(session, sql, &[], 1).await?;
    let version = found.first().and_then(|row| row[0].text()).unwrap_or_default().to_owned();
    Ok(format!("{name} {version}"))
}

/// The table that `written` names: itself, or a schema and a table with a dot between.
pub(super) async fn table(session: &mut Session, written: &str) -> Result<Table, Fault> {
    let mut ways = vec![(None, written)];
    ways.extend(written.split_once('.').map(|(schema, name)| (Some(schema), name)));
    if !written.is_empty() && written.len() <= 256 && !written.contains('\0') {
        for (schema, name) in ways {
            if let Some(table) = find(session, schema, name).await? {
                return Ok(table);
            }
        }
    }
    Err(Fault::permanent("DB_UNKNOWN_TABLE", unknown(session, written).await?))
}

/// The table of that name, in that schema or the connection's own.
pub(super) async fn table_in(session: &mut Session, schema: Option<&str>, name: &str) -> Result<Table, Fault> {
    let gone = || Fault::permanent("DB_UNKNOWN_TABLE", format!("there is no table `{name}`"));
    find(session, schema, name).await?.ok_or_else(gone)
}

async fn find(session: &mut Session, schema: Option<&str>, name: &str) -> Result<Option<Table>, Fault> {
    match session.engine() {
        Engine::Postgres => postgres(session, schema, name).await,
        Engine::Mysql => mysql(session, schema, name).await,
        Engine::Sqlite => sqlite(session, schema, name).await,
    }
}

/// Says that there is no such table, with the nearest that there is.
async fn unknown(session: &mut Session, written: &str) -> Result<String, Fault> {
    let sql = match session.engine() {
        Engine::Postgres => POSTGRES_NAMES,
        Engine::Mysql => MYSQL_NAMES,
        Engine::Sqlite => SQLITE_NAMES,
    };
    let names = ask(session, sql, &[], MAX_NAMES).await?;
    let near = nearest(written, names.iter().filter_map(|row| row[0].text()));
    let hint = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
    let shown: String = written.chars().take(100).collect();
    Ok(format!("/table: there is no table `{shown}`{hint}"))
}

async fn postgres(session: &mut Session, schema: Option<&str>, name: &str) -> Result<Option<Table>, Fault> {
    let quote = |name: &str| Engine::Postgres.quoted(name);
    let full = schema.map_or_else(|| quote(name), |schema| format!("{}.{}", quote(schema), quote(name)));
    let rows = ask(session, POSTGRES_TABLE, &[Arg::Text(full)], MAX_COLUMNS).await?;
    let column = |row: &Vec<Arg>| {
        let (base, element) = (cell(row, 5), cell(row, 6));
        let kind = match element.as_str() {
            "" => Kind::of_postgres(&base),
            element => Kind::Array(Box::new(Kind::of_postgres(element))),
        };
        Column {
            name: cell(row, 2),
            kind,
            cast: cell(row, 3),
            full_type: cell(row, 4),
            max_chars: cell(row, 7).parse().ok(),
            readable: cell(row, 8) == "true",
            primary: cell(row, 9) != "0",
            key_place: cell(row, 9).parse().unwrap_or(0),
            counted: false,
        }
    };
    Ok(rows.first().map(|first| Table {
        schema: Some(cell(first, 0)),
        name: cell(first, 1),
        columns: rows.iter().map(column).collect(),
    }))
}

async fn mysql(session: &mut Session, schema: Option<&str>, name: &str) -> Result<Option<Table>, Fault> {
    let args = [schema.map_or(Arg::Null, |schema| Arg::Text(schema.to_owned())), Arg::Text(name.to_owned())];
    let rows = ask(session, MYSQL_TABLE, &args, MAX_COLUMNS).await?;
    let key = match rows.iter().filter(|row| cell(row, 5) == "PRI").count() {
        0 | 1 => Vec::new(),
        _ => ask(session, MYSQL_KEY, &args, MAX_COLUMNS).await?,
    };
    let place =
        |name: &str| key.iter().position(|row| cell(row, 0) == name).and_then(|place| u32::try_from(place).ok());
    // MariaDB's JSON is a text with a check.
    let checks = match session.is_mariadb() && !rows.is_empty() {
        true => ask(session, MYSQL_JSON_CHECKS, &args, MAX_COLUMNS).await?,
        false => Vec::new(),
    };
    let is_json = |name: &str| {
        let check = format!("json_valid({})", Engine::Mysql.quoted(name));
        checks.iter().any(|row| row[0].text().is_some_and(|clause| clause.eq_ignore_ascii_case(&check)))
    };
    let column = |row: &Vec<Arg>| {
        let (name, full_type) = (cell(row, 2), cell(row, 4));
        let kind = if is_json(&name) { Kind::Json } else { Kind::of_mysql(&cell(row, 3), &full_type) };
        Column {
            kind,
            key_place: place(&name).unwrap_or(0),
            name,
            cast: String::new(),
            full_type,
            max_chars: None,
            readable: true,
            primary: cell(row, 5) == "PRI",
            counted: cell(row, 6).to_ascii_lowercase().contains("auto_increment"),
        }
    };
    Ok(rows.first().map(|first| Table {
        schema: Some(cell(first, 0)),
        name: cell(first, 1),
        columns: rows.iter().map(column).collect(),
    }))
}

async fn sqlite(session: &mut Session, schema: Option<&str>, name: &str) -> Result<Option<Table>, Fault> {
    if schema.is_some_and(|schema| schema != "main") {
        return Ok(None);
    }
    let rows = ask(session, SQLITE_TABLE, &[Arg::Text(name.to_owned())], MAX_COLUMNS).await?;
    let place = |row: &Vec<Arg>| match row.get(2) {
        Some(Arg::Int(place)) => u32::try_from(*place).unwrap_or(0),
        _ => 0,
    };
    let column = |row: &Vec<Arg>| Column {
        name: cell(row, 0),
        kind: Kind::of_sqlite(&cell(row, 1)),
        cast: String::new(),
        full_type: cell(row, 1),
        max_chars: None,
        readable: true,
        primary: place(row) > 0,
        key_place: place(row),
        counted: false,
    };
    let found = !rows.is_empty();
    Ok(found.then(|| Table { schema: None, name: name.to_owned(), columns: rows.iter().map(column).collect() }))
}

async fn ask(session: &mut Session, sql: &str, args: &[Arg], keep: usize) -> Result<Vec<Vec<Arg>>, Fault> {
    Ok(session.rows(sql, args, keep).await?.rows)
}

fn cell(row: &[Arg], index: usize) -> String {
    row.get(index).and_then(Arg::text).unwrap_or_default().to_owned()
}
