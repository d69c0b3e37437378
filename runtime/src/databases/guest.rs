//! Statements of guests: one at a time, values bound, reads without a way to write, answers bounded.

use serde_json::Value;

use super::catalog::{Column, Kind};
use super::returning::{self, Shown};
use super::scan::scan;
use super::{Databases, Name, Opened, value};
use crate::connections::sql::{Arg, Column as Described, Engine, Fault, Session};
use crate::failed::Failed;

/// The most rows of an answer, and the most bytes.
const MAX_ROWS: usize = 1000;
const MAX_BYTES: usize = 1 << 20;
/// The longest statement.
const MAX_SQL: usize = 64 * 1024;

/// What a guest asks.
#[derive(Clone, PartialEq, Debug)]
pub struct Question {
    /// The statement.
    pub sql: String,
    /// Its values, in order.
    pub parameters: Vec<Value>,
}

impl Databases {
    /// The rows of a statement that reads, as JSON objects. It runs in a transaction that cannot write.
    pub async fn query(&self, name: Name<'_>, question: &Question) -> Result<Vec<Value>, Failed> {
        let opened = self.open(name).await?;
        self.query_in(&opened, question).await.map_err(|fault| fault.failed(name.tag))
    }

    /// Runs a statement that writes; how many rows it changed. It is its own transaction, and not in the ledger.
    pub async fn execute(&self, name: Name<'_>, question: &Question) -> Result<u64, Failed> {
        let opened = self.open(name).await?;
        self.execute_in(&opened, question).await.map_err(|fault| fault.failed(name.tag))
    }

    async fn query_in(&self, opened: &Opened, question: &Question) -> Result<Vec<Value>, Fault> {
        let engine = opened.engine()?;
        let sql = statement(engine, question, &["SELECT", "WITH", "VALUES", "TABLE"], "query")?;
        let begin = match engine {
            Engine::Postgres => "BEGIN READ ONLY",
            Engine::Mysql => "START TRANSACTION READ ONLY",
            Engine::Sqlite => "PRAGMA query_only = ON; BEGIN",
        };
        let mut session = self.pool().begin(&opened.resolved.identity, &opened.server, begin).await?;
        let asked = ask(&mut session, engine, sql, question).await;
        match asked {
            Err(fault) if fault.retryable => Err(fault),
            asked => {
                let end = if engine == Engine::Sqlite { "ROLLBACK; PRAGMA query_only = OFF" } else { "ROLLBACK" };
                if session.control(end).await.is_ok() {
                    session.release();
                }
                asked
            }
        }
    }

    async fn execute_in(&self, opened: &Opened, question: &Question) -> Result<u64, Fault> {
        let engine = opened.engine()?;
        let verbs = ["INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "WITH"];
        let sql = statement(engine, question, &verbs, "execute")?;
        let begin = match engine {
            Engine::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Engine::Mysql => "START TRANSACTION READ WRITE",
            Engine::Sqlite => "BEGIN IMMEDIATE",
        };
        let mut session = self.pool().begin(&opened.resolved.identity, &opened.server, begin).await?;
        let (sql, args) = bound(&mut session, engine, sql, &question.parameters).await?;
        let count = session.execute(&sql, &args).await?;
        session.control("COMMIT").await?;
        // What a guest's statement may have set on the connection is nobody else's business.
        session.close().await;
        Ok(count)
    }
}

/// The one statement, of the right sort.
fn statement<'q>(engine: Engine, question: &'q Question, verbs: &[&str], called: &str) -> Result<&'q str, Fault> {
    let refused = |why: String| Fault::permanent("DB_REFUSED", why);
    if question.sql.len() > MAX_SQL {
        return Err(refused(format!("the statement has more than {MAX_SQL} bytes")));
    }
    let found = scan(engine, &question.sql).map_err(refused)?;
    if !verbs.contains(&found.first.as_str()) {
        return Err(refused(format!("`{called}` takes statements that begin with {}", verbs.join(", "))));
    }
    Ok(&question.sql[..found.end])
}

/// The statement with its values as they are bound. PostgreSQL is asked what it takes them for.
async fn bound(
    session: &mut Session,
    engine: Engine,
    sql: &str,
    parameters: &[Value],
) -> Result<(String, Vec<Arg>), Fault> {
    if engine != Engine::Postgres {
        let args = parameters.iter().map(|parameter| plain(engine, parameter)).collect::<Result<_, _>>()?;
        return Ok((sql.to_owned(), args));
    }
    let types = session.parameters(sql).await?;
    if types.len() != parameters.len() {
        let message = format!("the statement takes {} values and was given {}", types.len(), parameters.len());
        return Err(Fault::permanent("DB_VALUE", message));
    }
    let columns: Vec<Column> = types.iter().enumerate().map(|(i, name)| parameter(i, name)).collect();
    let mut args = Vec::new();
    for (column, parameter) in columns.iter().zip(parameters) {
        let arg = value::bind(engine, column, parameter);
        args.push(arg.map_err(|why| Fault::permanent("DB_VALUE", format!("value {} {why}", column.name)))?);
    }
    let places = scan(engine, sql).map_err(|why| Fault::permanent("DB_REFUSED", why))?.places;
    let (mut out, mut from) = (String::new(), 0);
    for (place, number) in places {
        let Some(column) = number.checked_sub(1).and_then(|i| columns.get(i)) else { continue };
        out += &format!("{}${number}::{}", &sql[from..place.start], column.cast);
        from = place.end;
    }
    out += &sql[from..];
    Ok((out, args))
}

/// A parameter of PostgreSQL's, by the name that the client has for its type.
fn parameter(index: usize, type_name: &str) -> Column {
    let name = type_name.to_ascii_lowercase();
    let (element, is_array) = name.strip_suffix("[]").map_or((name.as_str(), false), |element| (element, true));
    let element = if element == "char" { "bpchar" } else { element };
    let kind = Kind::of_postgres(element);
    let known = element.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let cast = if known { element.to_owned() } else { Engine::Postgres.quoted(type_name) };
    Column {
        name: format!("${}", index + 1),
        kind: if is_array { Kind::Array(Box::new(kind)) } else { kind },
        cast: if is_array { format!("{cast}[]") } else { cast },
        full_type: String::new(),
        max_chars: None,
        readable: true,
        primary: false,
        key_place: 0,
        counted: false,
    }
}

/// A value by its own sort: MySQL and SQLite do not say what they take it for.
pub(super) fn plain(engine: Engine, value: &Value) -> Result<Arg, Fault> {
    Ok(match value {
        Value::Null => Arg::Null,
        Value::Bool(truth) => Arg::Int((*truth).into()),
        Value::String(text) => Arg::Text(text.clone()),
        Value::Number(number) => match number.to_string().parse::<i64>() {
            Ok(whole) => Arg::Int(whole),
            Err(_) if engine == Engine::Mysql => Arg::Text(number.to_string()),
            Err(_) => {
                let real = number.to_string().parse::<f64>().ok().filter(|real| real.is_finite());
                Arg::Real(real.ok_or_else(|| Fault::permanent("DB_VALUE", format!("{number} is no number here")))?)
            }
        },
        other => Arg::Text(other.to_string()),
    })
}

async fn ask(session: &mut Session, engine: Engine, sql: &str, question: &Question) -> Result<Vec<Value>, Fault> {
    let most = MAX_ROWS + 1;
    let (sql, columns) = described(session, engine, sql, most).await?;
    let (sql, args) = bound(session, engine, &sql, &question.parameters).await?;
    let text = match engine {
        Engine::Postgres => {
            let shown = columns.iter().map(|column| {
                let name = engine.quoted(&column.name);
                match column.type_name.as_str() {
                    "BYTEA" => format!("translate(encode({name}, 'base64'), E'\\n', '') AS {name}"),
                    _ => name,
                }
            });
            let shown = shown.collect::<Vec<_>>().join(", ");
            format!("SELECT row_to_json(shown)::text FROM (SELECT {shown} FROM ({sql}\n) asked LIMIT {most}) shown")
        }
        Engine::Mysql => {
            let shown = columns.iter().map(|column| (column.name.as_str(), Shown::of_type(&column.type_name)));
            format!("SELECT {} FROM ({sql}\n) asked LIMIT {most}", returning::mysql_row(shown))
        }
        Engine::Sqlite => format!("SELECT * FROM ({sql}\n) LIMIT {most}"),
    };
    let answer = session.rows(&text, &args, most).await?;
    if answer.cut {
        return Err(Fault::permanent("DB_RESULT_TOO_LARGE", format!("more than {MAX_BYTES} bytes")));
    }
    if answer.rows.len() > MAX_ROWS {
        return Err(Fault::permanent("DB_RESULT_TOO_LARGE", format!("more than {MAX_ROWS} rows; ask with LIMIT")));
    }
    let mut bytes = 0;
    let mut rows = Vec::new();
    for cells in answer.rows {
        let row = match engine {
            Engine::Sqlite => {
                let named = columns.iter().map(|column| (column.name.as_str(), None));
                returning::sqlite_row(named, cells)
            }
            Engine::Postgres | Engine::Mysql => {
                let text = cells.first().and_then(Arg::text).unwrap_or_default();
                serde_json::from_str(text)
                    .map_err(|error| Fault::permanent("DB_REFUSED", format!("the answer is no JSON: {error}")))?
            }
        };
        bytes += row.to_string().len();
        if bytes > MAX_BYTES {
            return Err(Fault::permanent("DB_RESULT_TOO_LARGE", format!("more than {MAX_BYTES} bytes")));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The statement and the columns of its answer. MySQL and MariaDB forget the order of what is selected from, unless it
/// has a limit: it is given one where its own does not stand in the way.
async fn described(
    session: &mut Session,
    engine: Engine,
    sql: &str,
    most: usize,
) -> Result<(String, Vec<Described>), Fault> {
    if engine == Engine::Mysql {
        let limited = format!("{sql}\nLIMIT {most}");
        match session.columns(&limited).await {
            Ok(columns) => return Ok((limited, columns)),
            Err(fault) if fault.retryable => return Err(fault),
            Err(_) => {}
        }
    }
    Ok((sql.to_owned(), session.columns(sql).await?))
}
