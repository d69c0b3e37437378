//! One open connection, of whichever engine: prepared statements with bound values in, texts out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Column as _, Executor, MySql, MySqlConnection, PgConnection, Postgres, Row, SqlSafeStr, Sqlite,
    SqliteConnection, Statement, TypeInfo, ValueRef,
};

use super::server::Engine;
use super::tunnel::Tunnel;

/// The most bytes that are kept of an answer.
const MAX_BYTES: usize = 4 << 20;

/// A value: bound to a statement, or read from a row.
#[derive(Clone, PartialEq, Debug)]
pub enum Arg {
    /// NULL.
    Null,
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Real(f64),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What a statement answered with.
#[derive(Debug, Default)]
pub struct Rows {
    /// The first of them.
    pub rows: Vec<Vec<Arg>>,
    /// How many there were.
    pub count: u64,
    /// Not all that were asked for were kept: together they are too large.
    pub cut: bool,
    bytes: usize,
    /// The first row is kept, however large it is.
    first_anyway: bool,
}

/// A column of a statement's answer, before it is run.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as the client calls it.
    pub type_name: String,
}

/// An open connection. Dropping it closes it, and ends what SQLite is doing on it.
pub enum Link {
    /// PostgreSQL.
    Postgres(Box<PgConnection>, Tunneled),
    /// MySQL or MariaDB; the flag says the latter.
    Mysql(Box<MySqlConnection>, bool, Tunneled),
    /// A file.
    Sqlite(Stop, Box<SqliteConnection>),
}

/// Keeps a link's tunnel.
pub struct Tunneled {
    pub(super) _tunnel: Tunnel,
}

/// Interrupts what a connection to a file is doing, when dropped.
pub struct Stop(pub(super) Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Rows {
    /// The first cell of the first row, where it is a text: the answer of a statement that asks for one thing.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.rows.first()?.first()?.text()
    }

    fn push(&mut self, row: Vec<Arg>) {
        self.bytes += row.iter().map(Arg::bytes).sum::<usize>();
        self.cut = self.bytes > MAX_BYTES;
        if !self.cut || (self.first_anyway && self.rows.is_empty()) {
            self.rows.push(row);
        }
    }
}

impl Arg {
    fn bytes(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Int(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// The text, where it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Binds `args` in order.
macro_rules! bound {
    ($engine:ty, $sql:expr, $args:expr) => {{
        let mut query = sqlx::query::<$engine>(AssertSqlSafe($sql));
        for arg in $args {
            query = match arg {
                Arg::Null => query.bind(None::<String>),
                Arg::Text(text) => query.bind(text.clone()),
                Arg::Int(number) => query.bind(*number),
                Arg::Real(number) => query.bind(*number),
                Arg::Bytes(bytes) => query.bind(bytes.clone()),
            };
        }
        query
    }};
}

impl Link {
    /// The engine.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            Self::Postgres(..) => Engine::Postgres,
            Self::Mysql(..) => Engine::Mysql,
            Self::Sqlite(..) => Engine::Sqlite,
        }
    }

    /// Whether it is MariaDB.
    #[must_use]
    pub fn is_mariadb(&self) -> bool {
        matches!(self, Self::Mysql(_, true, _))
    }

    /// Runs statements of this program's own, without values.
    pub async fn control(&mut self, sql: impl SqlSafeStr + Send) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(sql);
        match self {
            Self::Postgres(connection, _) => sql.execute(&mut **connection).await.map(drop),
            Self::Mysql(connection, ..) => sql.execute(&mut **connection).await.map(drop),
            Self::Sqlite(_, connection) => sql.execute(&mut **connection).await.map(drop),
        }
    }

    /// Runs one statement; how many rows it changed.
    pub async fn execute(&mut self, sql: &str, args: &[Arg]) -> Result<u64, sqlx::Error> {
        Ok(match self {
            Self::Postgres(connection, _) => {
                bound!(Postgres, sql, args).execute(&mut **connection).await?.rows_affected()
            }
            Self::Mysql(connection, ..) => bound!(MySql, sql, args).execute(&mut **connection).await?.rows_affected(),
            Self::Sqlite(_, connection) => bound!(Sqlite, sql, args).execute(&mut **connection).await?.rows_affected(),
        })
    }

    /// Like [`execute`](Self::execute), for MySQL with the number that it gave the row.
    pub async fn insert(&mut self, sql: &str, args: &[Arg]) -> Result<(u64, u64), sqlx::Error> {
        match self {
            Self::Mysql(connection, ..) => {
                let done = bound!(MySql, sql, args).execute(&mut **connection).await?;
                Ok((done.rows_affected(), done.last_insert_id()))
            }
            _ => Ok((self.execute(sql, args).await?, 0)),
        }
    }

    /// Runs one statement to its end; the first `keep` rows. Servers must answer with texts.
    pub async fn rows(&mut self, sql: &str, args: &[Arg], keep: usize) -> Result<Rows, sqlx::Error> {
        self.read(sql, args, keep, Rows::default()).await
    }

    /// Like [`rows`](Self::rows), with the first row in any case.
    pub async fn batch(&mut self, sql: &str, args: &[Arg], keep: usize) -> Result<Rows, sqlx::Error> {
        self.read(sql, args, keep, Rows { first_anyway: true, ..Rows::default() }).await
    }

    async fn read(&mut self, sql: &str, args: &[Arg], keep: usize, mut found: Rows) -> Result<Rows, sqlx::Error> {
        macro_rules! read {
            ($engine:ty, $connection:expr, $cells:expr) => {{
                let mut rows = bound!($engine, sql, args).fetch(&mut **$connection);
                while let Some(row) = rows.try_next().await? {
                    found.count += 1;
                    if found.rows.len() < keep && !found.cut {
                        found.push($cells(&row)?);
                    }
                }
            }};
        }
        match self {
            Self::Postgres(connection, _) => read!(Postgres, connection, texts),
            Self::Mysql(connection, ..) => read!(MySql, connection, texts),
            Self::Sqlite(_, connection) => read!(Sqlite, connection, cells),
        }
        Ok(found)
    }

    /// PostgreSQL: the types that a statement takes its values for, without running it; elsewhere none.
    pub async fn parameters(&mut self, sql: &str) -> Result<Vec<String>, sqlx::Error> {
        match self {
            Self::Postgres(connection, _) => {
                let prepared = (&mut **connection).prepare(AssertSqlSafe(sql).into_sql_str()).await?;
                Ok(taken_for(&prepared))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The columns of a statement's answer, without running it.
    pub async fn columns(&mut self, sql: &str) -> Result<Vec<Column>, sqlx::Error> {
        macro_rules! describe {
            ($connection:expr) => {{
                let prepared = (&mut **$connection).prepare(AssertSqlSafe(sql).into_sql_str()).await?;
                let columns = prepared.columns().iter().map(|column| Column {
                    name: column.name().to_owned(),
                    type_name: column.type_info().name().to_owned(),
                });
                columns.collect()
            }};
        }
        Ok(match self {
            Self::Postgres(connection, _) => describe!(connection),
            Self::Mysql(connection, ..) => describe!(connection),
            Self::Sqlite(_, connection) => describe!(connection),
        })
    }
}

/// The names of PostgreSQL's types that a statement takes its values for.
fn taken_for(connection: &sqlx::postgres::PgStatement) -> Vec<String> {
    match connection.parameters() {
        Some(sqlx::Either::Left(types)) => types.iter().map(|info| info.name().to_owned()).collect(),
        _ => Vec::new(),
    }
}

/// A row of texts.
fn texts<R: Row>(row: &R) -> Result<Vec<Arg>, sqlx::Error>
where
    usize: sqlx::ColumnIndex<R>,
    for<'r> Option<String>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let text = |i: usize| row.try_get::<Option<String>, _>(i).map(|text| text.map_or(Arg::Null, Arg::Text));
    (0..row.len()).map(text).collect()
}

/// A row of SQLite, whose values have types of their own.
fn cells(row: &sqlx::sqlite::SqliteRow) -> Result<Vec<Arg>, sqlx::Error> {
    let cell = |i: usize| -> Result<Arg, sqlx::Error> {
        let value = row.try_get_raw(i)?;
        if value.is_null() {
            return Ok(Arg::Null);
        }
        let kind = value.type_info().name().to_owned();
        Ok(match kind.as_str() {
            "INTEGER" => Arg::Int(row.try_get_unchecked(i)?),
            "REAL" => Arg::Real(row.try_get_unchecked(i)?),
            "BLOB" => Arg::Bytes(row.try_get_unchecked(i)?),
            _ => Arg::Text(row.try_get_unchecked(i)?),
        })
    };
    (0..row.len()).map(cell).collect()
}
