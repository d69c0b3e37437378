//! PostgreSQL: a write and its entry in the ledger as one statement, which is a transaction by itself: one exchange with
//! the server in place of five.
//!
//! A delivery that took effect before meets its own entry: the statement fails as a whole, and the first result is read.

use serde_json::Value;

use super::write::{self, Write};
use super::{Opened, ledger, returning, run};
use crate::connections::sql::{Arg, DELIVERED, Fault, Session};

/// What became of it.
pub(super) enum Once {
    /// The result, of this try or of one before.
    Done(Value),
    /// The ledger or a column is not there, or nothing may be read back: for the longer way.
    Otherwise,
}

/// Writes in a session without a transaction; `shown` is told the statement.
pub(super) async fn write(
    opened: &Opened,
    session: &mut Session,
    write: &Write,
    delivery: &str,
    shown: &mut (impl FnMut(&str, usize) + Send),
) -> Result<Once, Fault> {
    let table = opened.table(session, &write.table).await?;
    let planned = match write::plan(session.engine(), &table, write) {
        Ok(planned) => planned,
        Err(fault) if fault.code == "DB_UNKNOWN_COLUMN" => return Ok(Once::Otherwise),
        Err(fault) => return Err(fault),
    };
    let columns = returning::readable(&table);
    if columns.is_empty() {
        return Ok(Once::Otherwise);
    }
    shown(&planned.sql.text, planned.sql.args.len());
    let mut args = planned.sql.args.clone();
    args.push(Arg::Text(delivery.to_owned()));
    let text = returning::entered(&planned.sql, &columns, args.len());
    match session.rows(&text, &args, 1).await {
        Ok(answer) => {
            let result = answer.text().and_then(|text| serde_json::from_str(text).ok());
            result.map(Once::Done).ok_or_else(|| Fault::permanent("DB_REFUSED", "the server counted no rows"))
        }
        Err(fault) if fault.code == "DB_UNKNOWN_TABLE" => {
            opened.known.ledger.found(false);
            Ok(Once::Otherwise)
        }
        Err(fault) if fault.retryable => Err(fault),
        Err(fault) => match ledger::find(session, delivery).await? {
            // What an earlier try wrote is what this one met, before it met the ledger.
            Some(first) => Ok(Once::Done(first)),
            None if fault.code == DELIVERED => {
                Err(Fault::unavailable(format!("the ledger's entry of delivery {delivery} cannot be read")))
            }
            None if fault.code == "DB_VALUE" => Err(run::name_column(session, &planned, fault).await),
            None => Err(fault),
        },
    }
}
