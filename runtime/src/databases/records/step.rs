//! The steps of a change: rows written one by one, or all that a filter means at once.

use serde_json::{Map, Value};
use triggerd_core::event::Operation;

use super::super::catalog::{Column, Table};
use super::super::filter::Filter;
use super::super::outbox_entry::Entry;
use super::super::statement::{self, Assignment, Operator};
use super::super::text::Sql;
use super::super::write::Planned;
use super::super::{returning, run};
use super::{MAX_ROWS, rows};
use crate::connections::sql::{Engine, Fault, Session};

/// One step of a change.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// A new row.
    Insert(Vec<Assignment>),
    /// A row that is there, by its primary key, takes values.
    Update(Map<String, Value>, Vec<Assignment>),
    /// A row that is there goes.
    Delete(Map<String, Value>),
    /// All rows that the filter means change. Nobody is told which, but by the table's own triggers.
    UpdateWhere(Filter, Vec<Assignment>),
    /// All rows that the filter means go.
    DeleteWhere(Filter),
}

/// What the steps did.
#[derive(Default)]
pub(super) struct Made {
    pub(super) entries: Vec<Entry>,
    pub(super) count: u64,
    /// The rows as they are now, or were before they went.
    pub(super) rows: Vec<Value>,
}

/// Who wants to see rows.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) rows: bool,
    pub(super) entries: bool,
}

impl Step {
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Insert(_) => Operation::Insert,
            Self::Update(..) | Self::UpdateWhere(..) => Operation::Update,
            Self::Delete(_) | Self::DeleteWhere(_) => Operation::Delete,
        }
    }

    fn values(&self) -> &[Assignment] {
        match self {
            Self::Insert(values) | Self::Update(_, values) | Self::UpdateWhere(_, values) => values,
            Self::Delete(_) | Self::DeleteWhere(_) => &[],
        }
    }

    /// Whether it tells of every row that it changes.
    pub(super) fn is_told(&self) -> bool {
        !matches!(self, Self::UpdateWhere(..) | Self::DeleteWhere(_))
    }
}

/// Makes the steps in the open transaction, in order.
pub(super) async fn make(session: &mut Session, table: &Table, steps: &[Step], wanted: Wanted) -> Result<Made, Fault> {
    for assignment in steps.iter().flat_map(Step::values) {
        named_exactly(table, assignment)?;
    }
    let mut made = Made::default();
    let mut at = 0;
    while at < steps.len() {
        match &steps[at] {
            Step::Insert(_) => {
                let group = group(session, &steps[at..]);
                insert(session, table, &group, wanted, &mut made).await?;
                at += group.len();
                continue;
            }
            Step::Update(previous, values) => update(session, table, previous, values, &mut made).await?,
            Step::Delete(previous) => delete(session, table, previous, &mut made).await?,
            Step::UpdateWhere(filter, values) => {
                let sql = statement::update(session.engine(), table, values, filter)?;
                all(session, table, sql, wanted, &mut made).await?;
            }
            Step::DeleteWhere(filter) => {
                let sql = statement::delete(session.engine(), table, filter)?;
                all(session, table, sql, wanted, &mut made).await?;
            }
        }
        at += 1;
    }
    Ok(made)
}

/// Actions may write a column as `record.total`. Here a trigger has looked at `total`, and a name that leads to the same
/// column would lead past it.
fn named_exactly(table: &Table, assignment: &Assignment) -> Result<(), Fault> {
    let column = statement::column_of(table, &assignment.column, &assignment.pointer)?;
    if column.name == assignment.column {
        return Ok(());
    }
    let (pointer, table) = (&assignment.pointer, table.qualified());
    let message = format!("{pointer}: table `{table}` has no column of that name, did you mean `{}`?", column.name);
    Err(Fault::permanent("DB_UNKNOWN_COLUMN", message))
}

/// The inserts at the beginning of `steps` that go into one statement: those of the same columns. MySQL does not say
/// what it made of several.
fn group(session: &Session, steps: &[Step]) -> Vec<Vec<Assignment>> {
    let Some(Step::Insert(first)) = steps.first() else { return Vec::new() };
    let alone = first.is_empty() || session.engine() == Engine::Mysql && !session.is_mariadb();
    let most = if alone { 1 } else { (20_000 / first.len().max(1)).max(1) };
    let alike = steps.iter().map_while(|step| match step {
        Step::Insert(row) => row.iter().map(|a| &a.column).eq(first.iter().map(|a| &a.column)).then(|| row.clone()),
        _ => None,
    });
    alike.take(most).collect()
}

async fn insert(
    session: &mut Session,
    table: &Table,
    group: &[Vec<Assignment>],
    wanted: Wanted,
    made: &mut Made,
) -> Result<(), Fault> {
    let engine = session.engine();
    let sql = statement::insert(engine, table, group)?;
    let columns = returning::readable(table);
    if !(wanted.rows || wanted.entries) {
        made.count += run(session, table, sql).await?;
        return Ok(());
    }
    let rows = if engine == Engine::Mysql && !session.is_mariadb() {
        let (count, number) = session.insert(&sql.text, &sql.args).await?;
        let row = inserted(table, &group[0], number);
        let read = if table.primary_key().is_empty() { None } else { rows::read_back(session, table, &row).await? };
        if count == 0 { Vec::new() } else { vec![read.unwrap_or(row)] }
    } else {
        returned(session, table, sql, &columns, group.len()).await?.0
    };
    made.count += rows.len() as u64;
    for row in rows {
        let new = Value::Object(row);
        made.rows.push(new.clone());
        made.entries.push(Entry { operation: Operation::Insert, old: Value::Null, new });
    }
    Ok(())
}

/// What MySQL was given, with the number that it gave.
fn inserted(table: &Table, given: &[Assignment], number: u64) -> Map<String, Value> {
    let mut row = Map::new();
    for assignment in given {
        if let Operator::Set(value) = &assignment.operator {
            row.insert(assignment.column.clone(), value.clone());
        }
    }
    if let Some(column) = table.columns.iter().find(|column| column.counted)
        && number > 0
    {
        row.insert(column.name.clone(), number.into());
    }
    row
}

async fn update(
    session: &mut Session,
    table: &Table,
    previous: &Map<String, Value>,
    values: &[Assignment],
    made: &mut Made,
) -> Result<(), Fault> {
    let engine = session.engine();
    if values.is_empty() {
        made.rows.push(Value::Object(previous.clone()));
        return Ok(());
    }
    let mut sql = statement::update_of(engine, table, values)?;
    sql.push(" WHERE ");
    rows::of_row(&mut sql, table, previous)?;
    let row = if engine == Engine::Mysql {
        let mut key = previous.clone();
        for assignment in values {
            if let Operator::Set(value) = &assignment.operator {
                key.insert(assignment.column.clone(), value.clone());
            }
        }
        match run(session, table, sql).await? {
            0 => None,
            _ => Some(rows::read_back(session, table, &key).await?.unwrap_or(key)),
        }
    } else {
        returned(session, table, sql, &returning::readable(table), 1).await?.0.pop()
    };
    // None: the database's own triggers or policies kept the row from being changed.
    let Some(row) = row else { return Ok(()) };
    let new = Value::Object(row);
    made.count += 1;
    made.rows.push(new.clone());
    made.entries.push(Entry { operation: Operation::Update, old: Value::Object(previous.clone()), new });
    Ok(())
}

async fn delete(
    session: &mut Session,
    table: &Table,
    previous: &Map<String, Value>,
    made: &mut Made,
) -> Result<(), Fault> {
    let mut sql = Sql::new(session.engine());
    sql.push("DELETE FROM ");
    sql.table(table);
    sql.push(" WHERE ");
    rows::of_row(&mut sql, table, previous)?;
    if run(session, table, sql).await? > 0 {
        let old = Value::Object(previous.clone());
        made.count += 1;
        made.rows.push(old.clone());
        made.entries.push(Entry { operation: Operation::Delete, old, new: Value::Null });
    }
    Ok(())
}

async fn all(session: &mut Session, table: &Table, sql: Sql, wanted: Wanted, made: &mut Made) -> Result<(), Fault> {
    if !wanted.rows {
        made.count += run(session, table, sql).await?;
        return Ok(());
    }
    let (rows, count) = returned(session, table, sql, &returning::readable(table), MAX_ROWS).await?;
    if count > rows.len() as u64 {
        let message = format!("more than {MAX_ROWS} rows would be shown; ask without `return=representation`");
        return Err(Fault::permanent("DB_RESULT_TOO_LARGE", message));
    }
    made.count += count;
    made.rows.extend(rows.into_iter().map(Value::Object));
    Ok(())
}

/// Runs a statement; how many rows it changed.
async fn run(session: &mut Session, table: &Table, sql: Sql) -> Result<u64, Fault> {
    let ran = session.execute(&sql.text, &sql.args).await;
    match ran {
        Err(fault) => Err(named(session, table, sql, fault).await),
        done => done,
    }
}

/// Runs a statement; the first rows that it changed, and how many there are.
async fn returned(
    session: &mut Session,
    table: &Table,
    sql: Sql,
    columns: &[&Column],
    most: usize,
) -> Result<(Vec<Map<String, Value>>, u64), Fault> {
    let engine = sql.engine;
    let text = format!("{} RETURNING {}", sql.text, rows::shown(engine, columns));
    let answer = match session.rows(&text, &sql.args, most).await {
        Err(fault) => return Err(named(session, table, sql, fault).await),
        Ok(answer) => answer,
    };
    if answer.cut {
        let message = "the rows are larger than 4 MiB together; write fewer at once";
        return Err(Fault::permanent("DB_RESULT_TOO_LARGE", message));
    }
    let count = answer.count;
    let parsed = answer.rows.into_iter().map(|cells| rows::row(engine, table, columns, cells));
    Ok((parsed.collect::<Result<_, _>>()?, count))
}

/// PostgreSQL does not say which column a value did not fit.
async fn named(session: &mut Session, table: &Table, sql: Sql, fault: Fault) -> Fault {
    if fault.code != "DB_VALUE" || sql.engine != Engine::Postgres {
        return fault;
    }
    run::name_column(session, &Planned { sql, table, keys: Vec::new(), newest_by: None }, fault).await
}
