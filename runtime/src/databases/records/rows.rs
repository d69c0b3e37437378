//! Rows as JSON, in each engine's own way: read, locked, and returned by what writes them.

use serde_json::{Map, Value};

use super::super::catalog::{Column, Kind, Table};
use super::super::statement::{self, Assignment, Operator, column_of};
use super::super::text::Sql;
use super::super::{guest, returning, value};
use super::{Found, Lookup, MAX_ROWS};
use crate::connections::sql::{Arg, Engine, Fault, Session};

/// The rows that `lookup` means; under lock until the transaction's end where that is wanted.
pub(super) async fn look_up(
    session: &mut Session,
    table: &Table,
    lookup: &Lookup,
    lock: bool,
) -> Result<Vec<Option<Found>>, Fault> {
    match lookup {
        Lookup::Where(filter, patch) => {
            let mut sql = select(session.engine(), table, patch)?;
            sql.push(" WHERE ");
            filter.write(&mut sql, table)?;
            sql.push(" ORDER BY ");
            sql.each(key(table)?, ", ", |sql, column| sql.name(column));
            let found = ask(session, table, patch, sql, MAX_ROWS, lock).await?;
            if found.len() > MAX_ROWS {
                let message =
                    format!("/where: means more than {MAX_ROWS} rows, and triggers are to be told of each; narrow it");
                return Err(Fault::permanent("DB_RESULT_TOO_LARGE", message));
            }
            Ok(found.into_iter().map(Some).collect())
        }
        Lookup::Keys(names, rows) => {
            let columns: Vec<&Column> =
                names.iter().map(|name| column_of(table, name, "/on_conflict")).collect::<Result<_, _>>()?;
            let mut all = Vec::with_capacity(rows.len());
            for row in rows {
                let mut sql = select(session.engine(), table, &[])?;
                sql.push(" WHERE ");
                let bind = |column: &Column| {
                    let value = row.get(&column.name).unwrap_or(&Value::Null);
                    value::bind(session.engine(), column, value)
                        .map_err(|why| Fault::permanent("DB_VALUE", format!("column `{}`: {why}", column.name)))
                };
                equal(&mut sql, &columns, bind)?;
                let mut found = ask(session, table, &[], sql, 1, lock).await?;
                if found.len() > 1 {
                    let message = format!("/on_conflict: {} do not tell rows apart", names.join(", "));
                    return Err(Fault::permanent("CONFIG_INVALID", message));
                }
                all.push(found.pop());
            }
            Ok(all)
        }
    }
}

/// The row that is there under the key of `row` now.
pub(super) async fn read_back(
    session: &mut Session,
    table: &Table,
    row: &Map<String, Value>,
) -> Result<Option<Map<String, Value>>, Fault> {
    let mut sql = select(session.engine(), table, &[])?;
    sql.push(" WHERE ");
    of_row(&mut sql, table, row)?;
    let found = ask(session, table, &[], sql, 1, false).await?;
    Ok(found.into_iter().next().map(|found| found.row))
}

/// `SELECT row[, computed] FROM table`
fn select(engine: Engine, table: &Table, patch: &[Assignment]) -> Result<Sql, Fault> {
    let mut sql = Sql::new(engine);
    sql.push("SELECT ");
    sql.push(&shown(engine, &returning::readable(table)));
    let computed = computed(patch);
    if !computed.is_empty() {
        sql.push(", ");
        write_computed(&mut sql, table, &computed)?;
    }
    sql.push(" FROM ");
    sql.table(table);
    Ok(sql)
}

async fn ask(
    session: &mut Session,
    table: &Table,
    patch: &[Assignment],
    mut sql: Sql,
    most: usize,
    lock: bool,
) -> Result<Vec<Found>, Fault> {
    sql.push(&format!(" LIMIT {}", most + 1));
    if lock && sql.engine != Engine::Sqlite {
        sql.push(" FOR UPDATE");
    }
    let answer = session.rows(&sql.text, &sql.args, most + 1).await?;
    if answer.cut {
        return Err(Fault::permanent("DB_RESULT_TOO_LARGE", "/where: the rows are too large together; narrow it"));
    }
    let columns = returning::readable(table);
    let names: Vec<&str> = computed(patch).iter().map(|assignment| assignment.column.as_str()).collect();
    answer.rows.into_iter().map(|cells| found(sql.engine, table, &columns, &names, cells)).collect()
}

fn found(
    engine: Engine,
    table: &Table,
    columns: &[&Column],
    computed: &[&str],
    mut cells: Vec<Arg>,
) -> Result<Found, Fault> {
    let rest = cells.split_off(if engine == Engine::Sqlite { columns.len() } else { 1 }.min(cells.len()));
    let row = row(engine, table, columns, cells)?;
    let computed = match engine {
        _ if computed.is_empty() => Map::new(),
        Engine::Sqlite => object(returning::sqlite_row(computed.iter().map(|name| (*name, None)), rest)),
        Engine::Postgres | Engine::Mysql => object(parsed(rest.first())?),
    };
    Ok(Found { row, computed })
}

/// The assignments that only the database can compute.
fn computed(patch: &[Assignment]) -> Vec<&Assignment> {
    let is_computed = |assignment: &&Assignment| !matches!(assignment.operator, Operator::Set(_) | Operator::Unset);
    patch.iter().filter(is_computed).collect()
}

fn write_computed(sql: &mut Sql, table: &Table, computed: &[&Assignment]) -> Result<(), Fault> {
    let (before, after) = match sql.engine {
        Engine::Postgres => ("(SELECT row_to_json(triggerd_row) FROM (SELECT ", ") triggerd_row)::text"),
        Engine::Mysql => ("CAST(JSON_OBJECT(", ") AS CHAR)"),
        Engine::Sqlite => ("", ""),
    };
    sql.push(before);
    for (i, assignment) in computed.iter().enumerate() {
        let column = column_of(table, &assignment.column, &assignment.pointer)?;
        sql.push(if i > 0 { ", " } else { "" });
        if sql.engine == Engine::Mysql {
            sql.push(&format!("{}, ", returning::mysql_text(&assignment.column)));
        }
        statement::write_next(sql, (column, assignment), "")?;
        if sql.engine == Engine::Postgres {
            sql.push(&format!(" AS {}", Engine::Postgres.quoted(&assignment.column)));
        }
    }
    sql.push(after);
    Ok(())
}

/// What a row is selected or returned by: one JSON text, in SQLite its columns.
pub(super) fn shown(engine: Engine, columns: &[&Column]) -> String {
    match engine {
        Engine::Postgres => {
            let parts = columns.iter().map(|column| {
                let name = engine.quoted(&column.name);
                match column.kind {
                    Kind::Bytes => format!("translate(encode({name}, 'base64'), E'\\n', '') AS {name}"),
                    _ => name,
                }
            });
            let parts = parts.collect::<Vec<_>>().join(", ");
            // No column is called like that: one that is would stand for the whole row.
            format!("(SELECT row_to_json(triggerd_row) FROM (SELECT {parts}) triggerd_row)::text")
        }
        Engine::Mysql => returning::mysql_row(columns.iter().map(|c| (c.name.as_str(), returning::Shown::of(&c.kind)))),
        Engine::Sqlite if columns.is_empty() => "NULL".to_owned(),
        Engine::Sqlite => columns.iter().map(|c| engine.quoted(&c.name)).collect::<Vec<_>>().join(", "),
    }
}

/// The row that [`shown`] was answered with.
pub(super) fn row(
    engine: Engine,
    table: &Table,
    columns: &[&Column],
    cells: Vec<Arg>,
) -> Result<Map<String, Value>, Fault> {
    Ok(object(match engine {
        Engine::Sqlite => {
            returning::sqlite_row(columns.iter().map(|column| (column.name.as_str(), Some(&column.kind))), cells)
        }
        Engine::Postgres => parsed(cells.first())?,
        Engine::Mysql => returning::with_truths(table, parsed(cells.first())?),
    }))
}

fn parsed(cell: Option<&Arg>) -> Result<Value, Fault> {
    let text = cell.and_then(Arg::text).unwrap_or("null");
    serde_json::from_str(text).map_err(|error| Fault::permanent("DB_REFUSED", format!("the row is no JSON: {error}")))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The columns of the primary key, all readable.
pub(super) fn key(table: &Table) -> Result<Vec<&Column>, Fault> {
    let key = table.primary_key();
    if key.is_empty() || key.iter().any(|column| !column.readable) {
        let message = format!(
            "/table: `{}` has no primary key to tell its rows apart by, which triggers on its changes need, and \
             `return=representation` in places",
            table.qualified()
        );
        return Err(Fault::permanent("DB_NO_KEY", message));
    }
    Ok(key)
}

/// The condition that means exactly this row, by its primary key.
pub(super) fn of_row(sql: &mut Sql, table: &Table, row: &Map<String, Value>) -> Result<(), Fault> {
    let engine = sql.engine;
    let bind = |column: &Column| as_read(engine, column, row.get(&column.name).unwrap_or(&Value::Null));
    equal(sql, &key(table)?, bind)
}

fn equal(sql: &mut Sql, columns: &[&Column], bind: impl Fn(&Column) -> Result<Arg, Fault>) -> Result<(), Fault> {
    for (i, column) in columns.iter().enumerate() {
        sql.push(if i > 0 { " AND " } else { "" });
        sql.name(column);
        match bind(column)? {
            Arg::Null => sql.push(" IS NULL"),
            arg => {
                sql.push(" = ");
                sql.operand(column, arg);
            }
        }
    }
    Ok(())
}

/// A value that was read from the column, to be compared with it: SQLite compares what it keeps, in whichever notation.
pub(super) fn as_read(engine: Engine, column: &Column, value: &Value) -> Result<Arg, Fault> {
    if engine == Engine::Sqlite && !matches!(column.kind, Kind::Bytes | Kind::Json) {
        return guest::plain(engine, value);
    }
    value::bind(engine, column, value)
        .map_err(|why| Fault::permanent("DB_VALUE", format!("column `{}`: {why}", column.name)))
}
