//! The one statement of a write.

use serde_json::{Map, Value};
use triggerd_core::mistake::{Mistake, join, nearest};

use super::catalog::{Column, Kind, Table};
use super::filter::Filter;
use super::text::Sql;
use super::value;
use crate::connections::sql::{Arg, Engine, Fault};

/// The most rows of one insert or upsert.
pub(super) const MAX_ROWS: usize = 1000;
/// The most values of one statement, below what every engine takes.
const MAX_VALUES: usize = 30_000;

/// What happens to one column.
#[derive(Clone, PartialEq, Debug)]
pub struct Assignment {
    /// Where it stands in the settings.
    pub pointer: String,
    /// The column's name.
    pub column: String,
    /// What happens.
    pub operator: Operator,
}

/// What happens to a column.
#[derive(Clone, PartialEq, Debug)]
pub enum Operator {
    /// It takes the value.
    Set(Value),
    /// The value is added; NULL counts as zero.
    Inc(Value),
    /// The value is taken off; NULL counts as zero.
    Dec(Value),
    /// It is multiplied with the value; NULL counts as zero.
    Mul(Value),
    /// It becomes NULL.
    Unset,
    /// It becomes the server's time.
    Now,
}

const OPERATORS: [&str; 6] = ["$INC", "$DEC", "$MUL", "$SET", "$UNSET", "$NOW"];

/// A column and what happens to it, of the catalog.
type Assigned<'a> = (&'a Column, &'a Assignment);

/// Reads a row of columns and their values, which stands at `pointer`; all mistakes are added.
pub fn assignments(row: &Map<String, Value>, pointer: &str, mistakes: &mut Vec<Mistake>) -> Vec<Assignment> {
    let read = row.iter().filter_map(|(column, written)| {
        let pointer = join(pointer, column);
        match operator(written) {
            Ok(operator) => Some(Assignment { pointer, column: column.clone(), operator }),
            Err(detail) => {
                mistakes.push(Mistake::new(pointer, detail));
                None
            }
        }
    });
    read.collect()
}

/// A value, or an object of one operator.
fn operator(written: &Value) -> Result<Operator, String> {
    let only = written.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
    let Some((name, operand)) = only.filter(|(name, _)| name.starts_with('$')) else {
        return Ok(Operator::Set(written.clone()));
    };
    Ok(match name.to_ascii_uppercase().as_str() {
        "$SET" => Operator::Set(operand.clone()),
        "$INC" => Operator::Inc(operand.clone()),
        "$DEC" => Operator::Dec(operand.clone()),
        "$MUL" => Operator::Mul(operand.clone()),
        "$UNSET" => Operator::Unset,
        "$NOW" => Operator::Now,
        _ => {
            let near = nearest(name, OPERATORS).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            return Err(format!("unknown operator `{name}`{near}; a JSON object that begins so is set with `$SET`"));
        }
    })
}

/// The column that `name` means, or the nearest one.
pub(super) fn column_of<'t>(table: &'t Table, name: &str, pointer: &str) -> Result<&'t Column, Fault> {
    let bare = || name.strip_prefix("record.").and_then(|name| table.column(name));
    table.column(name).or_else(bare).ok_or_else(|| {
        let near = nearest(name, table.columns.iter().map(|column| column.name.as_str()));
        let hint = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        let shown: String = name.chars().take(100).collect();
        let message = format!("{pointer}: table `{}` has no column `{shown}`{hint}", table.qualified());
        Fault::permanent("DB_UNKNOWN_COLUMN", message)
    })
}

fn assigned<'a>(table: &'a Table, row: &'a [Assignment]) -> Result<Vec<Assigned<'a>>, Fault> {
    let mut found: Vec<Assigned<'a>> = Vec::new();
    for assignment in row {
        let column = column_of(table, &assignment.column, &assignment.pointer)?;
        if found.iter().any(|(known, _)| known.name == column.name) {
            let message = format!("{}: column `{}` is named twice", assignment.pointer, column.name);
            return Err(Fault::permanent("CONFIG_INVALID", message));
        }
        found.push((column, assignment));
    }
    Ok(found)
}

fn bind(engine: Engine, (column, assignment): Assigned<'_>, value: &Value) -> Result<Arg, Fault> {
    value::bind(engine, column, value)
        .map_err(|why| Fault::permanent("DB_VALUE", format!("{}: column `{}`: {why}", assignment.pointer, column.name)))
}

fn number<'v>((column, assignment): Assigned<'_>, operand: &'v Value) -> Result<&'v Value, Fault> {
    let wrong = if !(column.kind.is_number() || column.kind == Kind::Bool && column.full_type.contains("int")) {
        "is no column of numbers"
    } else if operand.is_null() {
        "needs a number to compute with, not null"
    } else {
        return Ok(operand);
    };
    Err(Fault::permanent("DB_VALUE", format!("{}: column `{}` {wrong}", assignment.pointer, column.name)))
}

/// `VALUES` of an insert: operators begin at zero.
fn write_first(sql: &mut Sql, assigned: Assigned<'_>) -> Result<(), Fault> {
    let (column, assignment) = assigned;
    match &assignment.operator {
        Operator::Set(value) => {
            let arg = bind(sql.engine, assigned, value)?;
            sql.value(column, arg);
        }
        Operator::Inc(operand) => {
            let arg = bind(sql.engine, assigned, number(assigned, operand)?)?;
            sql.value(column, arg);
        }
        Operator::Dec(operand) => {
            let arg = bind(sql.engine, assigned, number(assigned, operand)?)?;
            sql.push("-(");
            sql.operand(column, arg);
            sql.push(")");
        }
        Operator::Mul(operand) => {
            number(assigned, operand)?;
            sql.push("0");
        }
        Operator::Unset => sql.push("NULL"),
        Operator::Now => sql.now(column),
    }
    Ok(())
}

/// The new value of a column of a row that is there; `of` stands before the column's name.
pub(super) fn write_next(sql: &mut Sql, assigned: Assigned<'_>, of: &str) -> Result<(), Fault> {
    let (column, assignment) = assigned;
    let (operand, sign) = match &assignment.operator {
        Operator::Set(_) | Operator::Unset | Operator::Now => return write_first(sql, assigned),
        Operator::Inc(operand) => (operand, " + "),
        Operator::Dec(operand) => (operand, " - "),
        Operator::Mul(operand) => (operand, " * "),
    };
    let arg = bind(sql.engine, assigned, number(assigned, operand)?)?;
    let name = sql.engine.quoted(&column.name);
    sql.push(&format!("COALESCE({of}{name}, 0){sign}"));
    sql.operand(column, arg);
    Ok(())
}

/// `INSERT INTO … VALUES …`; columns that a row leaves out have their default.
pub(super) fn insert(engine: Engine, table: &Table, rows: &[Vec<Assignment>]) -> Result<Sql, Fault> {
    let columns = columns_of(table, rows)?;
    if columns.len() * rows.len() > MAX_VALUES {
        return Err(Fault::permanent("CONFIG_INVALID", format!("/values: more than {MAX_VALUES} values at once")));
    }
    let mut sql = Sql::new(engine);
    sql.push("INSERT INTO ");
    sql.table(table);
    if columns.is_empty() && rows.len() > 1 {
        return Err(Fault::permanent("CONFIG_INVALID", "/values: several rows that name no column"));
    }
    if columns.is_empty() {
        sql.push(if engine == Engine::Mysql { " () VALUES ()" } else { " DEFAULT VALUES" });
        return Ok(sql);
    }
    sql.push(" (");
    sql.each(&columns, ", ", |sql, column| sql.name(column));
    sql.push(") VALUES ");
    for (i, row) in rows.iter().enumerate() {
        sql.push(if i > 0 { ", (" } else { "(" });
        let row = assigned(table, row)?;
        for (j, column) in columns.iter().enumerate() {
            if j > 0 {
                sql.push(", ");
            }
            match row.iter().find(|(known, _)| known.name == column.name) {
                Some(assigned) => write_first(&mut sql, *assigned)?,
                None if engine == Engine::Sqlite => {
                    let message = format!(
                        "/values/{i}: column `{}` is missing; SQLite wants the same columns in every row",
                        column.name
                    );
                    return Err(Fault::permanent("CONFIG_INVALID", message));
                }
                None => sql.push("DEFAULT"),
            }
        }
        sql.push(")");
    }
    Ok(sql)
}

/// All columns that any of the rows names, in the first one's order.
fn columns_of<'t>(table: &'t Table, rows: &[Vec<Assignment>]) -> Result<Vec<&'t Column>, Fault> {
    let mut columns: Vec<&Column> = Vec::new();
    for assignment in rows.iter().flatten() {
        let column = column_of(table, &assignment.column, &assignment.pointer)?;
        if !columns.iter().any(|known| known.name == column.name) {
            columns.push(column);
        }
    }
    Ok(columns)
}

/// An insert that changes rows that are there; with `newest_by`, only those that are not newer.
pub(super) fn upsert(
    engine: Engine,
    table: &Table,
    rows: &[Vec<Assignment>],
    keys: &[&Column],
    newest_by: Option<&Column>,
) -> Result<Sql, Fault> {
    let mut sql = insert(engine, table, rows)?;
    let is_key = |column: &Column| keys.iter().any(|key| key.name == column.name);
    let mut changed: Vec<&Column> = columns_of(table, rows)?.into_iter().filter(|column| !is_key(column)).collect();
    // MySQL assigns from left to right and compares with what it has assigned: what is compared comes last.
    changed.sort_by_key(|column| newest_by.is_some_and(|newest| newest.name == column.name));
    let name = |column: &Column| engine.quoted(&column.name);
    if engine == Engine::Mysql {
        sql.push(" ON DUPLICATE KEY UPDATE ");
        if changed.is_empty() {
            let key = name(keys[0]);
            sql.push(&format!("{key} = {key}"));
        }
        // A row that is there because of another unique key is not the one that is meant: it stays as it is.
        let mut fits: Vec<String> = keys.iter().map(|key| format!("{0} <=> VALUES({0})", name(key))).collect();
        fits.extend(newest_by.map(|by| format!("({0} IS NULL OR {0} <= VALUES({0}))", name(by))));
        let fits = fits.join(" AND ");
        for (i, column) in changed.iter().enumerate() {
            let name = name(column);
            sql.push(&format!("{}{name} = IF({fits}, ", if i > 0 { ", " } else { "" }));
            write_conflict(&mut sql, table, rows, column, "", &format!("VALUES({name})"))?;
            sql.push(&format!(", {name})"));
        }
        return Ok(sql);
    }
    sql.push(" ON CONFLICT (");
    sql.each(keys, ", ", |sql, key| sql.name(key));
    if changed.is_empty() {
        sql.push(") DO NOTHING");
        return Ok(sql);
    }
    sql.push(") DO UPDATE SET ");
    let of = format!("{}.", engine.quoted(&table.name));
    for (i, column) in changed.iter().enumerate() {
        let name = name(column);
        sql.push(&format!("{}{name} = ", if i > 0 { ", " } else { "" }));
        write_conflict(&mut sql, table, rows, column, &of, &format!("excluded.{name}"))?;
    }
    if let Some(by) = newest_by {
        let (old, new) = (format!("{of}{}", name(by)), format!("excluded.{}", name(by)));
        sql.push(&match (engine, by.kind.is_moment()) {
            // SQLite keeps moments as texts, in whichever notation they were written.
            (Engine::Sqlite, true) => format!(
                " WHERE {old} IS NULL OR julianday({old}) < julianday({new}) \
                 OR (julianday({old}) = julianday({new}) AND {old} <= {new})"
            ),
            _ => format!(" WHERE {old} IS NULL OR {old} <= {new}"),
        });
    }
    Ok(sql)
}

/// What `column` of a row that is there becomes: the same for all rows, so by its operator in the first that has it.
fn write_conflict(
    sql: &mut Sql,
    table: &Table,
    rows: &[Vec<Assignment>],
    column: &Column,
    of: &str,
    new: &str,
) -> Result<(), Fault> {
    let name = sql.engine.quoted(&column.name);
    let of_column = rows
        .iter()
        .flatten()
        .filter(|assignment| column_of(table, &assignment.column, "").is_ok_and(|known| known.name == column.name));
    let operators: Vec<&Assignment> = of_column.collect();
    let alike = |assignment: &&&Assignment| {
        std::mem::discriminant(&assignment.operator) == std::mem::discriminant(&operators[0].operator)
    };
    if let Some(other) = operators.iter().find(|assignment| !alike(assignment)) {
        let message = format!("{}: column `{}` must have the same operator in every row", other.pointer, column.name);
        return Err(Fault::permanent("CONFIG_INVALID", message));
    }
    match &operators[0].operator {
        // What was inserted is what is added, its sign included.
        Operator::Inc(_) | Operator::Dec(_) => sql.push(&format!("COALESCE({of}{name}, 0) + {new}")),
        Operator::Mul(_) if rows.len() == 1 => write_next(sql, (column, operators[0]), of)?,
        Operator::Mul(_) => {
            let message = format!("{}: `$MUL` takes one row at a time", operators[0].pointer);
            return Err(Fault::permanent("CONFIG_INVALID", message));
        }
        Operator::Set(_) | Operator::Unset | Operator::Now => sql.push(new),
    }
    Ok(())
}

/// `UPDATE … SET … WHERE …`
pub(super) fn update(engine: Engine, table: &Table, row: &[Assignment], filter: &Filter) -> Result<Sql, Fault> {
    let mut sql = update_of(engine, table, row)?;
    sql.push(" WHERE ");
    filter.write(&mut sql, table)?;
    Ok(sql)
}

/// `UPDATE … SET …`, of which rows is still to be said.
pub(super) fn update_of(engine: Engine, table: &Table, row: &[Assignment]) -> Result<Sql, Fault> {
    let mut sql = Sql::new(engine);
    sql.push("UPDATE ");
    sql.table(table);
    sql.push(" SET ");
    for (i, assigned) in assigned(table, row)?.into_iter().enumerate() {
        if i > 0 {
            sql.push(", ");
        }
        sql.name(assigned.0);
        sql.push(" = ");
        write_next(&mut sql, assigned, "")?;
    }
    Ok(sql)
}

/// `DELETE FROM … WHERE …`
pub(super) fn delete(engine: Engine, table: &Table, filter: &Filter) -> Result<Sql, Fault> {
    let mut sql = Sql::new(engine);
    sql.push("DELETE FROM ");
    sql.table(table);
    sql.push(" WHERE ");
    filter.write(&mut sql, table)?;
    Ok(sql)
}
