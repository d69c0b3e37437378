//! SQL text in the making: names quoted, values bound, each in the engine's own way.

use super::catalog::{Column, Kind, Table};
use crate::connections::sql::{Arg, Engine};

/// A statement in the making.
pub(super) struct Sql {
    pub(super) engine: Engine,
    pub(super) text: String,
    pub(super) args: Vec<Arg>,
    /// Which column each value is for.
    pub(super) columns: Vec<String>,
}

impl Engine {
    /// A name of the catalog as it stands in a statement.
    #[must_use]
    pub fn quoted(self, name: &str) -> String {
        match self {
            Self::Mysql => format!("`{}`", name.replace('`', "``")),
            Self::Postgres | Self::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A table of the catalog as it stands in a statement.
    #[must_use]
    pub fn quoted_table(self, table: &Table) -> String {
        match &table.schema {
            Some(schema) => format!("{}.{}", self.quoted(schema), self.quoted(&table.name)),
            None => self.quoted(&table.name),
        }
    }
}

impl Sql {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, text: String::new(), args: Vec::new(), columns: Vec::new() }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn name(&mut self, column: &Column) {
        self.text += &self.engine.quoted(&column.name);
    }

    pub(super) fn table(&mut self, table: &Table) {
        self.text += &self.engine.quoted_table(table);
    }

    /// `items` with `between` between them.
    pub(super) fn each<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        between: &str,
        mut write: impl FnMut(&mut Self, T),
    ) {
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.push(between);
            }
            write(self, item);
        }
    }

    fn placeholder(&mut self, column: &Column, arg: Arg) {
        self.args.push(arg);
        self.columns.push(column.name.clone());
        match self.engine {
            Engine::Postgres => self.text += &format!("${}", self.args.len()),
            Engine::Mysql | Engine::Sqlite => self.text.push('?'),
        }
    }

    /// A value to be stored in `column`.
    pub(super) fn value(&mut self, column: &Column, arg: Arg) {
        self.placeholder(column, arg);
        if self.engine == Engine::Postgres {
            // Without length and precision: those are the assignment's to check, where a cast would cut.
            self.text += &format!("::{}", column.cast);
        }
    }

    /// A value to be compared or computed with `column`: of its type, not of whatever the engine takes texts for.
    pub(super) fn operand(&mut self, column: &Column, arg: Arg) {
        if self.engine != Engine::Mysql {
            return self.value(column, arg);
        }
        let (before, after) = match &column.kind {
            Kind::Integer | Kind::Decimal | Kind::Bool => {
                let (digits, scale) = arg.text().map_or((65, 30), size);
                ("CAST(", format!(" AS DECIMAL({digits},{scale}))"))
            }
            Kind::Float => ("(", " + 0e0)".to_owned()),
            Kind::Instant | Kind::DateTime => ("CAST(", format!(" AS DATETIME({}))", precision(&column.full_type))),
            Kind::Date => ("CAST(", " AS DATE)".to_owned()),
            Kind::Time => ("CAST(", format!(" AS TIME({}))", precision(&column.full_type))),
            _ => ("", String::new()),
        };
        self.push(before);
        self.placeholder(column, arg);
        self.push(&after);
    }

    /// A text to be looked for in `column`.
    pub(super) fn needle(&mut self, column: &Column, text: &str) {
        self.placeholder(column, Arg::Text(text.to_owned()));
        if self.engine == Engine::Postgres {
            self.push("::text");
        }
    }

    /// `column` as text.
    pub(super) fn as_text(&mut self, column: &Column) {
        self.name(column);
        if self.engine == Engine::Postgres {
            self.push("::text");
        }
    }

    /// The server's time, as `column` keeps it.
    pub(super) fn now(&mut self, column: &Column) {
        let text = match (self.engine, &column.kind) {
            (Engine::Postgres, Kind::Integer | Kind::Decimal | Kind::Float) => {
                format!("CAST(floor(extract(epoch FROM clock_timestamp())) AS {})", column.cast)
            }
            (Engine::Postgres, _) => format!("CAST(clock_timestamp() AS {})", column.cast),
            (Engine::Mysql, Kind::Integer | Kind::Decimal | Kind::Float) => "UNIX_TIMESTAMP()".to_owned(),
            (Engine::Mysql, _) => "NOW(6)".to_owned(),
            (Engine::Sqlite, Kind::Integer | Kind::Decimal | Kind::Float) => "unixepoch()".to_owned(),
            (Engine::Sqlite, Kind::Date) => "date()".to_owned(),
            (Engine::Sqlite, Kind::Time) => "time()".to_owned(),
            // In the form that instants are bound in.
            (Engine::Sqlite, _) => "strftime('%Y-%m-%dT%H:%M:%f000Z')".to_owned(),
        };
        self.push(&text);
    }
}

/// The digits of a plain decimal number, and how many of them stand after the point.
fn size(text: &str) -> (usize, usize) {
    let digits = text.bytes().filter(u8::is_ascii_digit).count().clamp(1, 65);
    let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len()).min(30);
    (digits.max(scale), scale)
}

/// The digits of seconds that `datetime(3)` has.
fn precision(full_type: &str) -> u8 {
    let inside = full_type.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    inside.and_then(|(digits, _)| digits.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_sizes_are_counted() {
        assert_eq!(Engine::Postgres.quoted("a\"; DROP TABLE x; --"), "\"a\"\"; DROP TABLE x; --\"");
        assert_eq!(Engine::Mysql.quoted("a`b"), "`a``b`");
        assert_eq!(size("-123.4500"), (7, 4));
        assert_eq!(size("5"), (1, 0));
        assert_eq!((precision("datetime(3)"), precision("timestamp")), (3, 0));
    }
}
