//! What stands in the way of capturing from the log, in sentences that say what to do.

use triggerd_core::event::Operation;

use super::publication::Names;
use super::slot::{self, Status};
use super::{Wanted, WantedTable};
use crate::connections::sql::{Arg, Engine, Fault, Session};

/// The oldest server, as `server_version_num` has it.
const OLDEST: u32 = 130_000;

/// Something that is in the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Nothing is captured until it is mended. Otherwise only what the sentence names is left out.
    pub stops: bool,
    /// What is wrong, and what to do.
    pub sentence: String,
}

/// A wanted table that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) wanted: WantedTable,
    /// Updates and deletes can be told without making the application's statements fail.
    identity: bool,
}

/// What was found out.
pub(super) struct Survey {
    pub(super) problems: Vec<Problem>,
    pub(super) found: Vec<Found>,
    pub(super) slot: Option<Status>,
}

const FACTS: &str = "
SELECT current_setting('server_version_num'), pg_catalog.pg_is_in_recovery()::text, current_setting('wal_level'),
       current_setting('max_replication_slots'), (SELECT count(*) FROM pg_catalog.pg_replication_slots)::text,
       current_setting('max_wal_senders'), (SELECT count(*) FROM pg_catalog.pg_stat_replication)::text,
       (SELECT r.rolreplication OR r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)::text,
       EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname IN ('rds_replication', 'rds_superuser')
               AND pg_catalog.pg_has_role(r.oid, 'MEMBER'))::text,
       current_user::text";

/// Whether a replica identity is there, is asked of each leaf of a partitioned table; and of its root whether it has a
/// primary key, which partitions to come will have too, while `REPLICA IDENTITY FULL` is not handed on.
const TABLES: &str = "
SELECT w.n::text, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
       (SELECT bool_and(CASE leaf.relreplident
          WHEN 'f' THEN true
          WHEN 'd' THEN EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = leaf.oid AND i.indisprimary
                                AND i.indisvalid AND i.indimmediate)
          WHEN 'i' THEN EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = leaf.oid AND i.indisreplident
                                AND i.indisvalid)
          ELSE false END)
        FROM pg_catalog.pg_class leaf
        WHERE leaf.oid = c.oid AND c.relkind = 'r'
           OR c.relkind = 'p' AND leaf.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) t WHERE t.isleaf)
       )::text,
       EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)::text
FROM json_to_recordset($1::text::json) AS w(n int, schema text, name text)
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = COALESCE(w.schema, current_schema())
LEFT JOIN pg_catalog.pg_class c
  ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY w.n";

impl Found {
    /// Whether the operation is captured of it.
    pub(super) fn takes(&self, operation: Operation) -> bool {
        match operation {
            Operation::Insert => self.wanted.insert,
            Operation::Update => self.wanted.update && self.identity,
            Operation::Delete => self.wanted.delete && self.identity,
            Operation::Truncate => self.wanted.truncate,
        }
    }
}

/// What stands in the way of capturing what is wanted: settings of the server, rights, slots, tables. Changes nothing.
pub async fn check(session: &mut Session, names: &Names, wanted: &Wanted) -> Result<Vec<Problem>, Fault> {
    Ok(survey(session, names, wanted).await?.problems)
}

/// Looks at everything that matters.
pub(super) async fn survey(session: &mut Session, names: &Names, wanted: &Wanted) -> Result<Survey, Fault> {
    names.check()?;
    if session.engine() != Engine::Postgres {
        return Err(Fault::permanent("DB_REFUSED", "only PostgreSQL's log is read"));
    }
    let facts = session.rows(FACTS, &[], 1).await?.rows;
    let facts = facts.first().map(Vec::as_slice).unwrap_or_default();
    let mut problems = Vec::new();
    let mut found = Vec::new();
    let slot = match cell(facts, 0).parse::<u32>().is_ok_and(|version| version >= OLDEST) {
        true => slot::status(session, names).await?,
        false => None,
    };
    problems.extend(of_server(facts, slot.as_ref(), names).map(|sentence| Problem { stops: true, sentence }));
    for (table, row) in wanted.tables.iter().zip(tables(session, wanted).await?) {
        match of_table(table, &row) {
            Ok((one, sentence)) => {
                found.push(one);
                problems.extend(sentence.map(|sentence| Problem { stops: false, sentence }));
            }
            Err(sentence) => problems.push(Problem { stops: false, sentence }),
        }
    }
    Ok(Survey { problems, found, slot })
}

async fn tables(session: &mut Session, wanted: &Wanted) -> Result<Vec<Vec<Arg>>, Fault> {
    let one = |(n, table): (usize, &WantedTable)| serde_json::json!({"n": n, "schema": table.schema.as_deref(), "name": table.name});
    let all: Vec<_> = wanted.tables.iter().enumerate().map(one).collect();
    let asked = Arg::Text(serde_json::Value::Array(all).to_string());
    let rows = session.rows(TABLES, &[asked], wanted.tables.len()).await?.rows;
    if rows.len() == wanted.tables.len() { Ok(rows) } else { Err(Fault::unavailable("the catalog was not told whole")) }
}

/// What the server, the role and the slot lack.
fn of_server(facts: &[Arg], slot: Option<&Status>, names: &Names) -> impl Iterator<Item = String> {
    let text = |index: usize| cell(facts, index);
    let number = |index: usize| text(index).parse::<u64>().unwrap_or(0);
    let is_full = |most: usize, used: usize| number(used) >= number(most);
    let active = slot.is_some_and(|slot| slot.active);
    let role = Engine::Postgres.quoted(text(9));
    let rules = [
        (
            number(0) < u64::from(OLDEST),
            "the server is older than PostgreSQL 13, whose log is not read; upgrade it".into(),
        ),
        (
            text(1) == "true",
            "the server is a standby, where no publication can be made; name the primary in `url`".into(),
        ),
        (
            text(2) != "logical",
            format!(
                "the server's `wal_level` is `{}`: `ALTER SYSTEM SET wal_level = 'logical'` and restart it (managed \
                 services have a setting of their own, like `rds.logical_replication`)",
                text(2)
            ),
        ),
        (
            text(7) != "true" && text(8) != "true",
            format!(
                "the role {role} may not replicate: `ALTER ROLE {role} REPLICATION` (on Amazon RDS `GRANT \
                 rds_replication TO {role}`)"
            ),
        ),
        (
            slot.is_none() && is_full(3, 4),
            format!(
                "all {} replication slots are taken: raise `max_replication_slots` and restart, or drop one that nobody \
                 reads (`SELECT * FROM pg_replication_slots`)",
                text(3)
            ),
        ),
        (
            !active && is_full(5, 6),
            format!("all {} connections for replication are taken: raise `max_wal_senders` and restart", text(5)),
        ),
        (
            slot.is_some_and(|slot| !slot.fits),
            format!("the slot `{}` is another database's, or of another plugin than pgoutput; drop it", names.slot),
        ),
        (
            slot.is_some_and(Status::is_lost),
            format!(
                "the server has removed log that the slot `{}` had not confirmed (`max_slot_wal_keep_size`): changes are \
                 lost. Remove the capture and begin anew, and read the tables afresh where that matters",
                names.slot
            ),
        ),
    ];
    rules.into_iter().filter(|(holds, _)| *holds).map(|(_, sentence)| sentence)
}

/// The table, with what cannot be captured of it; or why nothing can.
fn of_table(wanted: &WantedTable, row: &[Arg]) -> Result<(Found, Option<String>), String> {
    let text = |index: usize| cell(row, index);
    let written = match &wanted.schema {
        Some(schema) => format!("{schema}.{}", wanted.name),
        None => wanted.name.clone(),
    };
    let quoted = format!("{}.{}", Engine::Postgres.quoted(text(1)), Engine::Postgres.quoted(text(2)));
    match (text(3), text(4)) {
        ("", _) => return Err(format!("there is no table `{written}`; make it, or mend the trigger's name of it")),
        ("r" | "p", "p") => {}
        ("r" | "p", _) => {
            return Err(format!("`{written}` is not in the log: `ALTER TABLE {quoted} SET LOGGED`"));
        }
        _ => return Err(format!("`{written}` is a view or a foreign table, which the log has not; name its tables")),
    }
    let partitioned = text(3) == "p";
    let identity = if partitioned { text(6) == "true" && text(5) != "false" } else { text(5) == "true" };
    let wants = match (wanted.update, wanted.delete) {
        (true, true) => "updates and deletes",
        (true, false) => "updates",
        (false, true) => "deletes",
        (false, false) => "",
    };
    let sentence = (!identity && !wants.is_empty()).then(|| {
        let remedy = match partitioned {
            true => "give it a primary key (`REPLICA IDENTITY` is not handed on to partitions)".to_owned(),
            false => format!("give it a primary key, or `ALTER TABLE {quoted} REPLICA IDENTITY FULL`"),
        };
        format!("`{written}` has no replica identity, so that its {wants} are not captured: {remedy}")
    });
    let found = Found { schema: text(1).to_owned(), name: text(2).to_owned(), wanted: wanted.clone(), identity };
    Ok((found, sentence))
}

fn cell(row: &[Arg], index: usize) -> &str {
    row.get(index).and_then(Arg::text).unwrap_or_default()
}
