//! A planned write, run in the open transaction: how many rows it changed, and what they are now.

use serde_json::{Value, json};

use super::catalog::Column;
use super::statement::{Assignment, Operator};
use super::text::Sql;
use super::write::{Planned, Verb, Write};
use super::{returning, value};
use crate::connections::sql::{Arg, Engine, Fault, Session};

pub(super) async fn on_postgres(session: &mut Session, planned: &Planned<'_>) -> Result<Value, Fault> {
    let columns = returning::readable(planned.table);
    if columns.is_empty() {
        let (text, args) = (&planned.sql.text, &planned.sql.args);
        let count = session.execute(text, args).await?;
        return Ok(json!({ "rowsAffected": count }));
    }
    let text = returning::counted(&planned.sql, &columns);
    let args = &planned.sql.args;
    let answer = session.rows(&text, args, 1).await?;
    let cell = |i: usize| answer.rows.first().and_then(|row| row.get(i)).and_then(Arg::text).unwrap_or_default();
    let count = cell(0).parse().map_err(|_| Fault::permanent("DB_REFUSED", "the server counted no rows"))?;
    let rows = cell(1);
    let rows =
        if rows.len() > returning::MAX_BYTES { Value::Null } else { serde_json::from_str(rows).unwrap_or(Value::Null) };
    Ok(result(count, rows))
}

pub(super) async fn on_sqlite(session: &mut Session, planned: &Planned<'_>) -> Result<Value, Fault> {
    let columns = &planned.table.columns;
    let names: Vec<String> = columns.iter().map(|column| Engine::Sqlite.quoted(&column.name)).collect();
    let text = format!("{} RETURNING {}", planned.sql.text, names.join(", "));
    let args = &planned.sql.args;
    let answer = session.rows(&text, args, returning::MAX_ROWS).await?;
    let named = || columns.iter().map(|column| (column.name.as_str(), Some(&column.kind)));
    let rows: Vec<Value> = answer.rows.into_iter().map(|cells| returning::sqlite_row(named(), cells)).collect();
    let rows = Value::Array(rows);
    let fits = rows.to_string().len() <= returning::MAX_BYTES;
    Ok(result(answer.count, if fits { rows } else { Value::Null }))
}

/// MySQL answers a write with numbers alone; rows whose keys are known are read in the same transaction.
pub(super) async fn on_mysql(session: &mut Session, planned: &Planned<'_>, write: &Write) -> Result<Value, Fault> {
    let (text, args) = (&planned.sql.text, &planned.sql.args);
    let (count, number) = session.insert(text, args).await?;
    let Some(filter) = of_keys(planned, write, number)? else { return Ok(json!({ "rowsAffected": count })) };
    let shown = planned.table.columns.iter();
    let row = returning::mysql_row(shown.map(|column| (column.name.as_str(), returning::Shown::of(&column.kind))));
    let table = Engine::Mysql.quoted_table(planned.table);
    let (select, args) = (format!("SELECT {row} FROM {table} WHERE {}", filter.text), &filter.args);
    let found = session.rows(&select, args, returning::MAX_ROWS).await?;
    let mut affected = count;
    if write.verb == Verb::Upsert {
        if found.count < write.rows.len() as u64 {
            let message = "another row has the same value in another unique key than `conflict.keys`";
            return Err(Fault::permanent("DB_CONSTRAINT", message));
        }
        affected = newest(session, planned, write).await?.unwrap_or(found.count);
    }
    let parsed = found.rows.iter().map(|row| {
        let text = row.first().and_then(Arg::text).unwrap_or_default();
        serde_json::from_str(text).map(|row| returning::with_truths(planned.table, row)).unwrap_or(Value::Null)
    });
    let rows = Value::Array(parsed.collect());
    let fits = rows.to_string().len() <= returning::MAX_BYTES;
    Ok(result(affected, if fits { rows } else { Value::Null }))
}

/// The rows of an insert or upsert by their keys; `None` where not all of them are known.
fn of_keys(planned: &Planned<'_>, write: &Write, number: u64) -> Result<Option<Sql>, Fault> {
    let mut sql = Sql::new(Engine::Mysql);
    if planned.keys.is_empty() {
        return Ok(None);
    }
    for (i, row) in write.rows.iter().enumerate() {
        sql.push(if i > 0 { " OR (" } else { "(" });
        for (j, key) in planned.keys.iter().enumerate() {
            let given = row.iter().find(|assignment| assignment.column == key.name);
            let arg = match given.map(|assignment| &assignment.operator) {
                Some(Operator::Set(value)) if !value.is_null() => bind_key(key, value)?,
                None | Some(Operator::Set(_)) if key.counted && write.rows.len() == 1 && number > 0 => {
                    Arg::Text(number.to_string())
                }
                _ => return Ok(None),
            };
            sql.push(if j > 0 { " AND " } else { "" });
            sql.name(key);
            sql.push(" = ");
            sql.operand(key, arg);
        }
        sql.push(")");
    }
    Ok(Some(sql))
}

/// How many rows of an upsert are as they were given, where newer ones stay.
async fn newest(session: &mut Session, planned: &Planned<'_>, write: &Write) -> Result<Option<u64>, Fault> {
    let Some(by) = planned.newest_by else { return Ok(None) };
    let mut sql = Sql::new(Engine::Mysql);
    sql.push(&format!("SELECT CAST(COUNT(*) AS CHAR) FROM {} WHERE ", Engine::Mysql.quoted_table(planned.table)));
    for (i, row) in write.rows.iter().enumerate() {
        let of = |column: &Column| match row.iter().find(|assignment| assignment.column == column.name) {
            Some(Assignment { operator: Operator::Set(value), .. }) => Some(value),
            _ => None,
        };
        sql.push(if i > 0 { " OR (" } else { "(" });
        for column in planned.keys.iter().copied().chain([by]) {
            let Some(value) = of(column) else { return Ok(None) };
            let arg = bind_key(column, value)?;
            sql.push(if column.name == planned.keys[0].name { "" } else { " AND " });
            sql.name(column);
            sql.push(" <=> ");
            sql.operand(column, arg);
        }
        sql.push(")");
    }
    let answer = session.rows(&sql.text, &sql.args, 1).await?;
    Ok(answer.rows.first().and_then(|row| row[0].text()).and_then(|text| text.parse().ok()))
}

fn bind_key(column: &Column, value: &Value) -> Result<Arg, Fault> {
    let bound = value::bind(Engine::Mysql, column, value);
    bound.map_err(|why| Fault::permanent("DB_VALUE", format!("column `{}`: {why}", column.name)))
}

/// The action's output. Rows are left out where there are too many or where they are too large.
fn result(count: u64, rows: Value) -> Value {
    let whole = rows.as_array().is_some_and(|rows| rows.len() as u64 >= count);
    match rows {
        Value::Array(rows) if whole => json!({ "rowsAffected": count, "returning": rows }),
        Value::Array(rows) => json!({ "rowsAffected": count, "returning": rows, "returningTruncated": true }),
        _ => json!({ "rowsAffected": count, "returning": [], "returningTruncated": true }),
    }
}

/// PostgreSQL does not say which value did not fit: each is tried alone, by reading it.
pub(super) async fn name_column(session: &mut Session, planned: &Planned<'_>, fault: Fault) -> Fault {
    if session.control("ROLLBACK").await.is_err() {
        return fault;
    }
    for (name, arg) in planned.sql.columns.iter().zip(&planned.sql.args) {
        let Some(column) = planned.table.column(name) else { continue };
        let sql = format!("SELECT ($1::{}::{})::text", column.cast, column.full_type);
        let tried = session.rows(&sql, std::slice::from_ref(arg), 1).await;
        match tried {
            Err(own) if own.code == "DB_VALUE" => {
                return Fault { message: format!("column `{name}` ({}): {own}", column.full_type), ..fault };
            }
            Err(own) if own.retryable => return fault,
            _ => {}
        }
    }
    fault
}
