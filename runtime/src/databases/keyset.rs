//! Going through rows by the values of columns: their order, and those that come after a row. One way for every list, sync
//! and backfill.

use super::catalog::{Column, Kind, Table};
use super::text::Sql;
use crate::connections::sql::{Arg, Engine};

/// A column that the order goes by.
pub(super) struct By<'t> {
    pub(super) column: &'t Column,
    pub(super) down: bool,
}

/// The columns that the order goes by.
pub(super) struct Keyset<'t> {
    pub(super) by: Vec<By<'t>>,
    /// What the statement calls the table, where its columns' names alone would mean something else.
    pub(super) alias: Option<&'static str>,
}

impl<'t> Keyset<'t> {
    /// Upwards by these columns.
    pub(super) fn up(columns: impl IntoIterator<Item = &'t Column>) -> Self {
        Self { by: columns.into_iter().map(|column| By { column, down: false }).collect(), alias: None }
    }

    /// ` ORDER BY a, b DESC`; nothing where there are no columns.
    pub(super) fn write_order(&self, sql: &mut Sql) {
        for (i, by) in self.by.iter().enumerate() {
            sql.push(if i == 0 { " ORDER BY " } else { ", " });
            self.name(sql, by);
            sql.push(if by.down { " DESC" } else { "" });
        }
    }

    /// Holds for the rows that come after the one with these values, one for each column.
    pub(super) fn write_after(&self, sql: &mut Sql, values: Vec<Arg>) {
        match self.is_row_comparison(sql.engine, &values) {
            true => self.write_row_comparison(sql, values),
            false => self.write_alternatives(sql, &values),
        }
    }

    /// PostgreSQL and SQLite find `(a, b) > (?, ?)` in an index, and not the alternatives; MySQL and MariaDB the other way
    /// round. It leaves out rows with NULLs, which has to be right.
    fn is_row_comparison(&self, engine: Engine, values: &[Arg]) -> bool {
        let never_null = |by: &By<'_>| engine == Engine::Postgres && by.column.primary;
        engine != Engine::Mysql
            && self.by.iter().all(|by| by.down == self.by[0].down)
            && !values.contains(&Arg::Null)
            && self.by.iter().all(|by| never_null(by) || !nulls_come_last(engine, by))
    }

    /// `(a, b) > (?, ?)`
    fn write_row_comparison(&self, sql: &mut Sql, values: Vec<Arg>) {
        sql.push("(");
        sql.each(&self.by, ", ", |sql, by| self.name(sql, by));
        sql.push(if self.by.first().is_some_and(|by| by.down) { ") < (" } else { ") > (" });
        sql.each(self.by.iter().zip(values), ", ", |sql, (by, value)| sql.operand(by.column, value));
        sql.push(")");
    }

    /// `((a > ?) OR (a = ? AND b > ?) …)`
    fn write_alternatives(&self, sql: &mut Sql, values: &[Arg]) {
        sql.push("(");
        for (i, (by, value)) in self.by.iter().zip(values).enumerate() {
            sql.push(if i > 0 { " OR (" } else { "(" });
            for (by, value) in self.by.iter().zip(values).take(i) {
                self.name(sql, by);
                match value {
                    Arg::Null => sql.push(" IS NULL"),
                    value => {
                        sql.push(" = ");
                        sql.operand(by.column, value.clone());
                    }
                }
                sql.push(" AND ");
            }
            self.write_beyond(sql, by, value);
            sql.push(")");
        }
        sql.push(")");
    }

    fn write_beyond(&self, sql: &mut Sql, by: &By<'_>, value: &Arg) {
        let nulls_come_last = nulls_come_last(sql.engine, by);
        match value {
            Arg::Null if nulls_come_last => sql.push("1=0"),
            Arg::Null => {
                self.name(sql, by);
                sql.push(" IS NOT NULL");
            }
            value => {
                sql.push("(");
                self.name(sql, by);
                sql.push(if by.down { " < " } else { " > " });
                sql.operand(by.column, value.clone());
                if nulls_come_last {
                    sql.push(" OR ");
                    self.name(sql, by);
                    sql.push(" IS NULL");
                }
                sql.push(")");
            }
        }
    }

    fn name(&self, sql: &mut Sql, by: &By<'_>) {
        // Enums go by their numbers where they are ordered, and by their texts where they are compared with one.
        let is_enum = sql.engine == Engine::Mysql && by.column.is_enum();
        sql.push(if is_enum { "CAST(" } else { "" });
        if let Some(alias) = self.alias {
            sql.push(alias);
            sql.push(".");
        }
        sql.name(by.column);
        // To the letter, as their own order of characters may have it.
        sql.push(if is_enum { " AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin" } else { "" });
    }
}

/// PostgreSQL takes NULLs for larger than everything, the others for smaller.
fn nulls_come_last(engine: Engine, by: &By<'_>) -> bool {
    (engine == Engine::Postgres) != by.down
}

/// The next `limit` rows of a table that the statement calls `t`: `row`, then each of `keys` as a text. `after` has those texts
/// of the row before.
#[must_use]
pub fn key_page(
    engine: Engine,
    table: &Table,
    row: &str,
    keys: &[String],
    after: Option<&[String]>,
    limit: usize,
) -> (String, Vec<Arg>) {
    let columns: Vec<&Column> = keys.iter().filter_map(|key| table.column(key)).collect();
    let mut sql = Sql::new(engine);
    sql.push(&format!("SELECT {row}"));
    for column in &columns {
        let name = format!("t.{}", engine.quoted(&column.name));
        sql.push(&match engine {
            Engine::Postgres => format!(", {name}::text"),
            Engine::Mysql if column.kind == Kind::Bytes => format!(", HEX({name})"),
            Engine::Mysql => format!(", CAST({name} AS CHAR)"),
            // Values have types of their own: as literals, which say so.
            // `quote(NULL)` is a text, too.
            Engine::Sqlite => format!(", CASE WHEN {name} IS NOT NULL THEN quote({name}) END"),
        });
    }
    sql.push(" FROM ");
    sql.table(table);
    sql.push(" AS t");
    let keyset = Keyset { alias: Some("t"), ..Keyset::up(columns.iter().copied()) };
    if let Some(after) = after {
        sql.push(" WHERE ");
        let values = columns.iter().zip(after).map(|(column, text)| key_value(engine, column, text));
        let values = values.collect();
        keyset.write_after(&mut sql, values);
    }
    keyset.write_order(&mut sql);
    sql.push(&format!(" LIMIT {limit}"));
    (sql.text, sql.args)
}

/// A key's value from its text.
fn key_value(engine: Engine, column: &Column, text: &str) -> Arg {
    let as_text = || Arg::Text(text.to_owned());
    match engine {
        Engine::Mysql if column.kind == Kind::Bytes => hex::decode(text).map_or_else(|_| as_text(), Arg::Bytes),
        Engine::Postgres | Engine::Mysql => as_text(),
        Engine::Sqlite => literal(text).unwrap_or_else(as_text),
    }
}

/// A literal as SQLite's `quote` writes it.
fn literal(text: &str) -> Option<Arg> {
    let within = |start: &str| text.strip_prefix(start)?.strip_suffix('\'');
    if let Some(digits) = within("X'") {
        return hex::decode(digits).ok().map(Arg::Bytes);
    }
    if let Some(quoted) = within("'") {
        return Some(Arg::Text(quoted.replace("''", "'")));
    }
    text.parse().map(Arg::Int).or_else(|_| text.parse().map(Arg::Real)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: Kind, primary: bool) -> Column {
        let (cast, full_type) = ("int".to_owned(), "int".to_owned());
        Column {
            name: name.into(),
            kind,
            cast,
            full_type,
            max_chars: None,
            readable: true,
            primary,
            key_place: 0,
            counted: false,
        }
    }

    fn after(engine: Engine, keyset: &Keyset<'_>, values: &[Arg]) -> String {
        let mut sql = Sql::new(engine);
        keyset.write_after(&mut sql, values.to_vec());
        sql.text
    }

    #[test]
    fn rows_after_another_are_asked_for_as_each_engine_finds_them() {
        let (a, b) = (column("a", Kind::Text, true), column("b", Kind::Text, true));
        let keys = Keyset::up([&a, &b]);
        let values = [Arg::Text("x".into()), Arg::Text("y".into())];
        assert_eq!(after(Engine::Postgres, &keys, &values), r#"("a", "b") > ($1::int, $2::int)"#);
        assert_eq!(after(Engine::Sqlite, &keys, &values), r#"("a", "b") > (?, ?)"#);
        assert_eq!(after(Engine::Mysql, &keys, &values), "(((`a` > ?)) OR (`a` = ? AND (`b` > ?)))");
    }

    #[test]
    fn enums_are_ordered_as_they_are_compared() {
        let (mut a, b) = (column("a", Kind::Text, true), column("b", Kind::Text, true));
        a.full_type = "enum('z','b')".into();
        let keys = Keyset { alias: Some("t"), ..Keyset::up([&a, &b]) };
        let name = "CAST(t.`a` AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin";
        let mut sql = Sql::new(Engine::Mysql);
        keys.write_order(&mut sql);
        assert_eq!(sql.text, format!(" ORDER BY {name}, t.`b`"));
        let values = [Arg::Text("x".into()), Arg::Text("y".into())];
        let wanted = format!("((({name} > ?)) OR ({name} = ? AND (t.`b` > ?)))");
        assert_eq!(after(Engine::Mysql, &keys, &values), wanted);
    }

    #[test]
    fn nulls_are_where_each_engine_puts_them() {
        let (a, id) = (column("a", Kind::Text, false), column("id", Kind::Text, true));
        let order = Keyset { by: vec![By { column: &a, down: true }, By { column: &id, down: false }], alias: None };
        let values = [Arg::Text("x".into()), Arg::Text("1".into())];
        let with_null = r#"((("a" < ? OR "a" IS NULL)) OR ("a" = ? AND ("id" > ?)))"#;
        assert_eq!(after(Engine::Sqlite, &order, &values), with_null);
        let upwards = Keyset::up([&a]);
        assert_eq!(after(Engine::Postgres, &upwards, &values[..1]), r#"((("a" > $1::int OR "a" IS NULL)))"#);
        assert_eq!(after(Engine::Postgres, &upwards, &[Arg::Null]), "((1=0))");
        assert_eq!(after(Engine::Sqlite, &upwards, &[Arg::Null]), r#"(("a" IS NOT NULL))"#);
    }

    #[test]
    fn a_key_that_is_null_is_told_from_the_text() {
        let columns = vec![column("k", Kind::Text, true)];
        let table = Table { schema: None, name: "t".into(), columns };
        let (sql, _) = key_page(Engine::Sqlite, &table, "1", &["k".to_owned()], None, 2);
        let key = r#"CASE WHEN t."k" IS NOT NULL THEN quote(t."k") END"#;
        assert_eq!(sql, format!(r#"SELECT 1, {key} FROM "t" AS t ORDER BY t."k" LIMIT 2"#));
    }

    #[test]
    fn sqlites_literals_are_read_as_what_they_are() {
        assert_eq!(literal("X'00FF'"), Some(Arg::Bytes(vec![0, 255])));
        assert_eq!(literal("'it''s'"), Some(Arg::Text("it's".into())));
        assert_eq!(literal("-7"), Some(Arg::Int(-7)));
        assert_eq!(literal("1.5e+20"), Some(Arg::Real(1.5e20)));
        assert_eq!(literal("abc"), None);
    }
}
