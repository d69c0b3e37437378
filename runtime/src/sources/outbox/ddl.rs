//! The statements that make a table tell of its changes, in the engine's own language, each with a signature of all of
//! them, so that what is installed can be compared with what should be.

use sha2::{Digest, Sha256};
use triggerd_core::capture::Wanted;
use triggerd_core::event::Operation;

use super::names::Names;
use super::{mysql, postgres, sqlite};
use crate::connections::sql::Engine;
use crate::databases::Table;

/// What precedes a table's signature wherever it is kept.
const MARK: &str = "triggerd-capture";
/// Stands for the signature until it is known.
pub(super) const SIGNATURE: &str = "{signature}";

/// What is to be installed on one table.
#[derive(Clone, PartialEq, Debug)]
pub struct Installation {
    /// The table.
    pub table: Table,
    /// Of all statements together.
    pub signature: String,
    /// The plain names of its triggers.
    pub triggers: Vec<String>,
    /// To be run in order, in one transaction where the engine has transactions for them.
    pub statements: Vec<String>,
}

/// How tables are captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// PostgreSQL: also what a subscription applies.
    pub always: bool,
    /// PostgreSQL 14 and later, and MariaDB: a trigger can be replaced, without locking readers out or a moment without it.
    pub replaces: bool,
}

/// A trigger that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Installed {
    /// The table's schema, where the engine has any.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// The trigger's plain name.
    pub trigger: String,
    /// The signature that it was made with.
    pub signature: String,
    /// Whether it fires as it should.
    pub enabled: bool,
}

/// What `wanted` of `table` takes.
#[must_use]
pub fn of(engine: Engine, names: &Names, table: &Table, wanted: &Wanted, options: Options) -> Installation {
    let (triggers, drafts) = match engine {
        Engine::Postgres => postgres::capture(names, table, wanted, options),
        Engine::Mysql => mysql::capture(names, table, wanted, options.replaces),
        Engine::Sqlite => sqlite::capture(names, table, wanted),
    };
    let mut hash = Sha256::new();
    drafts.iter().for_each(|statement| hash.update(statement));
    let signature = hex::encode(hash.finalize());
    let statements = drafts.into_iter().map(|statement| statement.replace(SIGNATURE, &signature)).collect();
    Installation { table: table.clone(), signature, triggers, statements }
}

/// The mark as it stands in a statement's comment.
pub(super) fn mark() -> String {
    format!("{MARK} {SIGNATURE}")
}

/// The signature that stands in the text of something installed.
#[must_use]
pub fn signature_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(MARK)?;
    let rest = rest.trim_start();
    rest.get(..64).filter(|found| found.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The operations with rows, as they are written in triggers' names.
pub(super) const OPERATIONS: [(Operation, &str); 3] =
    [(Operation::Insert, "insert"), (Operation::Update, "update"), (Operation::Delete, "delete")];

/// What an entry has for the row as it was and as it is: `told` writes one of them, by what the trigger calls it.
pub(super) fn rows(operation: Operation, told: impl Fn(&str) -> String) -> (String, String) {
    let none = || "NULL".to_owned();
    match operation {
        Operation::Insert => (none(), told("NEW")),
        Operation::Delete => (told("OLD"), none()),
        _ => (told("OLD"), told("NEW")),
    }
}

impl Installation {
    /// Whether `there`, the triggers of its table, are what should be.
    #[must_use]
    pub fn is_there(&self, there: &[&Installed]) -> bool {
        there.len() == self.triggers.len()
            && there
                .iter()
                .all(|one| self.triggers.contains(&one.trigger) && one.signature == self.signature && one.enabled)
    }
}
