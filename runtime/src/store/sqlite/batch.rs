//! The SQL of the hot path: a few statement shapes for any number of rows.
//!
//! A statement's text has a fixed number of rows, so that it is prepared once and kept; what a group lacks to that number is
//! filled with rows of NULLs, which the statements skip. Each hop to the connection's thread costs more than a row
//! does, so that a small group, its transaction included, is one text with several statements.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Encode, Sqlite, Type};

/// What a statement writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    Events,
    Runs,
    Updates,
}

/// The largest statement that is put into one text with others.
pub(super) const LARGEST_JOINED: usize = 64;

/// One run, with the parameters of a row of [`Kind::Runs`].
pub(super) const INSERT_RUN: &str = "INSERT INTO runs (seq, id, tenant, trigger, version, state, epoch, due_at, queue, ordering_key, created_at) \
     SELECT column1, column2, column3, column4, column5, iif(column6 = 0, 'pending', 'running'), \
     column6, column7, column8, column9, column10 FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?))";

/// The size of the next statement (4, 16, 64 or 256 rows) for `rows` rows that are left.
pub(super) fn size_for(rows: usize) -> usize {
    match rows {
        0..=4 => 4,
        5..=16 => 16,
        17..=255 => 64,
        _ => 256,
    }
}

impl Kind {
    /// Parameters of one row.
    pub(super) fn columns(self) -> usize {
        match self {
            Self::Events => 10,
            Self::Runs => 10,
            Self::Updates => 11,
        }
    }

    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Events => (
                "INSERT INTO events (seq, id, tenant, type, source, tbl, accepted_at, run_count, crc, body) SELECT * FROM (VALUES ",
                ") WHERE column1 IS NOT NULL",
            ),
            Self::Runs => (
                "INSERT INTO runs (seq, id, tenant, trigger, version, state, epoch, due_at, queue, ordering_key, created_at) \
                 SELECT column1, column2, column3, column4, column5, iif(column6 = 0, 'pending', 'running'), \
                 column6, column7, column8, column9, column10 FROM (VALUES ",
                ") WHERE column1 IS NOT NULL",
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

    fn write_sql(self, rows: usize, out: &mut String) {
        let (head, tail) = self.parts();
        let row = format!("({})", vec!["?"; self.columns()].join(","));
        out.push_str(head);
        out.push_str(&vec![row.as_str(); rows].join(","));
        out.push_str(tail);
    }
}

/// One text: which statements with how many rows, and whether it begins and commits the transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Shape {
    pub(super) begin: bool,
    pub(super) statements: Vec<(Kind, usize)>,
    pub(super) commit: bool,
}

/// The texts made so far.
#[derive(Default)]
pub(super) struct Texts(HashMap<Shape, Arc<str>>);

impl Texts {
    pub(super) fn of(&mut self, shape: Shape) -> Arc<str> {
        let text = self.0.entry(shape).or_insert_with_key(|shape| {
            let mut sql = String::new();
            if shape.begin {
                sql.push_str("BEGIN IMMEDIATE;");
            }
            for (kind, rows) in &shape.statements {
                kind.write_sql(*rows, &mut sql);
                sql.push(';');
            }
            if shape.commit {
                sql.push_str("COMMIT");
            }
            sql.into()
        });
        text.clone()
    }
}

/// The parameters of one text, filled row by row.
#[derive(Default)]
pub(super) struct Parameters(SqliteArguments);

impl Parameters {
    pub(super) fn reserve(&mut self, statements: &[(Kind, usize)]) {
        self.0.reserve(statements.iter().map(|(kind, rows)| kind.columns() * rows).sum(), 0);
    }

    pub(super) fn push<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) {
        self.0.add(value).expect("integers, texts and blobs always encode");
    }

    /// Fills up a statement with rows that it skips.
    pub(super) fn pad(&mut self, kind: Kind, rows: usize) {
        for _ in 0..rows * kind.columns() {
            self.push(None::<i64>);
        }
    }

    pub(super) fn into_inner(self) -> SqliteArguments {
        self.0
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
            for rows in [4, 256] {
                let mut sql = "EXPLAIN QUERY PLAN ".to_owned();
                kind.write_sql(rows, &mut sql);
                for step in sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap() {
                    let step: String = step.get("detail");
                    assert!(!step.contains("SCAN runs") && !step.contains("SCAN events"), "{kind:?}: {step}");
                    assert!(kind != Kind::Updates || !step.contains("AUTOMATIC"), "{step}");
                }
            }
        }
    }

    #[test]
    fn a_group_of_any_size_is_cut_into_sizes_that_hold_it() {
        for rows in 1..2000 {
            let mut left = rows;
            let mut statements = 0;
            while left > 0 {
                let size = size_for(left);
                assert!([4, 16, 64, 256].contains(&size));
                left -= left.min(size);
                statements += 1;
            }
            assert!(statements <= rows / 256 + 4, "{rows}");
        }
    }
}
