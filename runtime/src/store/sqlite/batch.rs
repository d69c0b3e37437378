//! The SQL of the hot path: a statement for many rows at once, in a few sizes, so that each is prepared once and kept.
//!
//! A row of a statement for many costs less than half of what a statement for one does.

use std::sync::LazyLock;

use rusqlite::{CachedStatement, Connection, ToSql};

/// What a statement writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Events,
    Runs,
    Updates,
}

/// How many rows there are statements for.
const SIZES: [usize; 8] = [128, 64, 32, 16, 8, 4, 2, 1];

/// The texts by kind and size.
static TEXTS: LazyLock<[[String; SIZES.len()]; 3]> =
    LazyLock::new(|| [Kind::Events, Kind::Runs, Kind::Updates].map(|kind| SIZES.map(|rows| kind.sql(rows))));

impl Kind {
    /// Parameters of one row.
    fn columns(self) -> usize {
        match self {
            Self::Events | Self::Runs => 10,
            Self::Updates => 11,
        }
    }

    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Events => (
                "INSERT INTO events (seq, id, tenant, type, source, tbl, accepted_at, run_count, crc, body) VALUES ",
                "",
            ),
            Self::Runs => (
                "INSERT INTO runs (seq, id, tenant, trigger, version, state, epoch, due_at, queue, ordering_key, created_at) \
                 SELECT column1, column2, column3, column4, column5, iif(column6 = 0, 'pending', 'running'), \
                 column6, column7, column8, column9, column10 FROM (VALUES ",
                ")",
            ),
            Self::Updates => (
                // The index and the `+` keep the planner from scanning all runs for the few values.
                "UPDATE runs INDEXED BY runs_id SET \
                 state = CASE v.column3 WHEN 0 THEN 'pending' WHEN 1 THEN 'running' WHEN 2 THEN 'delivered' ELSE 'failed' END, due_at = v.column4, queue = v.column5, progress = v.column6, \
                 attempts = v.column7, last_attempt_at = v.column8, error_code = v.column9, error = v.column10, \
                 finished_at = v.column11 FROM (VALUES ",
                ") AS v WHERE runs.id = +v.column1 AND runs.epoch = +v.column2 AND runs.state = 'running' RETURNING runs.id",
            ),
        }
    }

    fn sql(self, rows: usize) -> String {
        let (head, tail) = self.parts();
        let row = format!("({})", vec!["?"; self.columns()].join(","));
        format!("{head}{}{tail}", vec![row.as_str(); rows].join(","))
    }
}

/// The largest statement for at most `rows` rows, which are not none, prepared; and how many rows it takes.
pub(super) fn statement(conn: &Connection, kind: Kind, rows: usize) -> rusqlite::Result<(CachedStatement<'_>, usize)> {
    let place = SIZES.iter().position(|size| *size <= rows).unwrap_or(SIZES.len() - 1);
    Ok((conn.prepare_cached(&TEXTS[kind as usize][place])?, SIZES[place]))
}

/// Binds a statement's parameters one after another.
pub(super) struct Parameters<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    bound: usize,
}

impl<'s, 'c> Parameters<'s, 'c> {
    pub(super) fn of(statement: &'s mut CachedStatement<'c>) -> Self {
        Self { statement, bound: 0 }
    }

    pub(super) fn push(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.bound += 1;
        self.statement.raw_bind_parameter(self.bound, value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn no_statement_scans_a_table() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        super::super::migrate::run(&mut conn).await.unwrap();
        for kind in [Kind::Events, Kind::Runs, Kind::Updates] {
            for rows in SIZES {
                let sql = format!("EXPLAIN QUERY PLAN {}", kind.sql(rows));
                for step in sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap() {
                    let step: String = step.get("detail");
                    assert!(!step.contains("SCAN runs") && !step.contains("SCAN events"), "{kind:?}: {step}");
                    assert!(kind != Kind::Updates || !step.contains("AUTOMATIC"), "{step}");
                }
            }
        }
    }

    #[test]
    fn any_number_of_rows_is_cut_into_few_statements() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE events (seq, id, tenant, type, source, tbl, accepted_at, run_count, crc, body)",
        )
        .unwrap();
        for rows in 1..1000 {
            let (mut left, mut statements) = (rows, 0);
            while left > 0 {
                left -= statement(&conn, Kind::Events, left).unwrap().1;
                statements += 1;
            }
            assert!(statements <= rows / 128 + 7, "{rows}");
        }
    }
}
