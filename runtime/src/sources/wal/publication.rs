//! Publications: which tables' changes the server decodes, one publication for each operation.
//!
//! One for each operation, because a publication publishes the same operations of all of its tables: the server then
//! sends what is wanted and nothing else, and a table without a replica identity is never in those of updates and
//! deletes, where it would make the application's own statements fail (PostgreSQL's section "Logical Replication,
//! Publication").

use std::collections::BTreeSet;

use triggerd_core::event::Operation;

use super::check::Found;
use crate::connections::sql::{Arg, Engine, Fault, Session};

const OPERATIONS: [Operation; 4] = [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate];

/// PostgreSQL's names have at most 63 bytes, and the publications' end with `_truncate`.
const MAX_NAME: usize = 54;

/// The most publications that are looked for.
const FEW: usize = 16;

const PUBLICATIONS: &str = "
SELECT p.pubname::text, p.pubinsert::text, p.pubupdate::text, p.pubdelete::text, p.pubtruncate::text,
       p.pubviaroot::text, p.puballtables::text,
       COALESCE((SELECT json_agg(json_build_array(n.nspname, c.relname)) FROM pg_catalog.pg_publication_rel r
                 JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE r.prpubid = p.oid), '[]')::text
FROM pg_catalog.pg_publication p WHERE p.pubname = ANY (string_to_array($1, ','))";

/// What this program calls its things in somebody's database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    /// The replication slot: one for all databases of a server.
    pub slot: String,
    /// What the publications' names begin with; `_insert`, `_update`, `_delete` and `_truncate` follow.
    pub publication: String,
}

impl Names {
    /// The same for both.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { slot: name.to_owned(), publication: name.to_owned() }
    }

    /// Slots' names have small letters, digits and underscores. The publications' have nothing else either.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let bad = |name: &str| {
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fits)
        };
        match [&self.slot, &self.publication].into_iter().find(|name| bad(name)) {
            Some(name) => {
                let why = format!("`{name}` has other characters than a-z, 0-9 and _, or more than {MAX_NAME}");
                Err(Fault::permanent("DB_REFUSED", why))
            }
            None => Ok(()),
        }
    }

    fn publication(&self, operation: Operation) -> String {
        format!("{}_{}", self.publication, operation.as_str())
    }

    /// All publications' names, with commas between.
    fn publications(&self) -> String {
        OPERATIONS.map(|operation| self.publication(operation)).join(",")
    }

    /// The value of pgoutput's option `publication_names`.
    pub(super) fn option(&self) -> String {
        OPERATIONS.map(|operation| format!("\"{}\"", self.publication(operation))).join(",")
    }
}

/// A publication as it is.
struct Present {
    operations: BTreeSet<&'static str>,
    via_root: bool,
    all_tables: bool,
    tables: BTreeSet<(String, String)>,
}

/// Makes the publications say what is wanted. What they say already is not said again, so that somebody with more rights
/// may have made them.
pub(super) async fn ensure(session: &mut Session, names: &Names, found: &[Found]) -> Result<(), Fault> {
    let rows = session.rows(PUBLICATIONS, &[Arg::Text(names.publications())], FEW).await?.rows;
    for operation in OPERATIONS {
        let name = names.publication(operation);
        let present = rows.iter().find(|row| row[0].text() == Some(&name)).map(|row| present(row));
        let wanted = found.iter().filter(|found| found.takes(operation));
        let wanted = wanted.map(|found| (found.schema.clone(), found.name.clone())).collect();
        for sql in statements(&name, operation, present.as_ref(), &wanted) {
            session.execute(&sql, &[]).await.map_err(|fault| Fault {
                message: format!("{}; this role needs to do, or somebody else to have done: {sql}", fault.message),
                ..fault
            })?;
        }
    }
    Ok(())
}

/// Drops the publications that there are.
pub(super) async fn remove(session: &mut Session, names: &Names) -> Result<(), Fault> {
    for operation in OPERATIONS {
        let name = Engine::Postgres.quoted(&names.publication(operation));
        session.execute(&format!("DROP PUBLICATION IF EXISTS {name}"), &[]).await?;
    }
    Ok(())
}

fn present(row: &[Arg]) -> Present {
    let is = |index: usize| row.get(index).and_then(Arg::text) == Some("true");
    let tables = row.get(7).and_then(Arg::text).and_then(|text| serde_json::from_str(text).ok());
    Present {
        operations: OPERATIONS.iter().enumerate().filter(|(i, _)| is(i + 1)).map(|(_, each)| each.as_str()).collect(),
        via_root: is(5),
        all_tables: is(6),
        tables: tables.unwrap_or_default(),
    }
}

/// What is to be said to make the publication what is wanted.
fn statements(
    name: &str,
    operation: Operation,
    present: Option<&Present>,
    wanted: &BTreeSet<(String, String)>,
) -> Vec<String> {
    let quote = |name: &str| Engine::Postgres.quoted(name);
    let name = quote(name);
    let list = |tables: &BTreeSet<(String, String)>| {
        // ONLY: what inherits from a table is another table, which may be wanted by itself.
        let each = tables.iter().map(|(schema, table)| format!("ONLY {}.{}", quote(schema), quote(table)));
        each.collect::<Vec<_>>().join(", ")
    };
    let options = format!("(publish = '{}', publish_via_partition_root = true)", operation.as_str());
    let Some(present) = present else {
        let tables = if wanted.is_empty() { String::new() } else { format!(" FOR TABLE {}", list(wanted)) };
        return vec![format!("CREATE PUBLICATION {name}{tables} WITH {options}")];
    };
    let mut statements = Vec::new();
    if present.operations != BTreeSet::from([operation.as_str()]) || !present.via_root {
        statements.push(format!("ALTER PUBLICATION {name} SET {options}"));
    }
    let gone = &present.tables - wanted;
    let new = wanted - &present.tables;
    if !present.all_tables && !gone.is_empty() {
        statements.push(format!("ALTER PUBLICATION {name} DROP TABLE {}", list(&gone)));
    }
    if !present.all_tables && !new.is_empty() {
        statements.push(format!("ALTER PUBLICATION {name} ADD TABLE {}", list(&new)));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(names: &[&str]) -> BTreeSet<(String, String)> {
        names.iter().map(|name| ("s".to_owned(), (*name).to_owned())).collect()
    }

    #[test]
    fn only_what_differs_is_said() {
        let wanted = tables(&["a", "b\"c"]);
        let said = |present: Option<&Present>| statements("p_update", Operation::Update, present, &wanted);
        let options = "(publish = 'update', publish_via_partition_root = true)";
        let create =
            format!("CREATE PUBLICATION \"p_update\" FOR TABLE ONLY \"s\".\"a\", ONLY \"s\".\"b\"\"c\" WITH {options}");
        assert_eq!(said(None), [create]);
        let present = |tables, operation| Present {
            operations: BTreeSet::from([operation]),
            via_root: true,
            all_tables: false,
            tables,
        };
        assert!(said(Some(&present(wanted.clone(), "update"))).is_empty());
        let alter = "ALTER PUBLICATION \"p_update\"";
        assert_eq!(
            said(Some(&present(tables(&["a", "d"]), "insert"))),
            [
                format!("{alter} SET {options}"),
                format!("{alter} DROP TABLE ONLY \"s\".\"d\""),
                format!("{alter} ADD TABLE ONLY \"s\".\"b\"\"c\""),
            ]
        );
    }

    #[test]
    fn names_are_such_as_slots_may_have() {
        assert!(Names::of("triggerd_shop_1").check().is_ok());
        for bad in ["", "A", "a-b", "a,b", "a\"b", &"a".repeat(55)] {
            assert!(Names::of(bad).check().is_err(), "{bad}");
        }
    }
}
