//! One change of rows: one transaction, made once.

use serde_json::{Value, json};
use triggerd_core::event::Operation;

use super::super::outbox_entry::{self, Author, Entry};
use super::super::write::begin;
use super::step::{self, Step, Wanted};
use super::{Found, Lookup, Records, ended, ledger, rows};
use crate::connections::sql::{Fault, Session};

/// The longest answer that is kept for a key: less than what is read of a row at once.
const MAX_KEPT: usize = 3 << 20;

/// What to do with the rows that are there under lock; `None` where they are not those that were meant.
pub type Steps<'a> = &'a (dyn Fn(&[Option<Found>]) -> Option<Vec<Step>> + Send + Sync);

/// A change of rows.
pub struct Change<'a> {
    /// The rows that it is about.
    pub lookup: Option<&'a Lookup>,
    /// What to do with them.
    pub steps: Steps<'a>,
    /// Who makes it.
    pub author: &'a Author,
    /// The operations that somebody wants to be told of.
    pub told: &'a [Operation],
    /// Whether the rows are to be shown.
    pub show: bool,
    /// What makes it the same change, where it is tried again.
    pub delivery: Option<&'a Delivery>,
}

/// A change that takes effect once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Its name in the ledger.
    pub id: String,
    /// What was asked under that name.
    pub fingerprint: String,
}

/// What a change did.
#[derive(Clone, PartialEq, Debug)]
pub struct Done {
    /// How many rows.
    pub count: u64,
    /// How many of them are new.
    pub inserted: u64,
    /// The rows, where they were to be shown.
    pub rows: Vec<Value>,
    /// It had taken effect before.
    pub replayed: bool,
}

/// How a change ended.
#[derive(Debug)]
pub enum Outcome {
    /// It is committed.
    Done(Done),
    /// The rows are not those that were meant, or the table has come to be told of otherwise: nothing was done.
    Moved,
    /// The delivery's name was used for another change.
    Other,
}

impl Records {
    /// What a delivery did when it took effect.
    pub async fn kept(&self, delivery: &Delivery) -> Result<Option<Outcome>, Fault> {
        let mut session = self.ready(true, false).await?;
        let found = ledger::find(&mut session, &delivery.id).await;
        Ok(ended(session, found).await?.map(|kept| first(delivery, &kept)))
    }

    /// Makes the change, if it was not made before.
    pub async fn change(&self, change: &Change<'_>) -> Result<Outcome, Fault> {
        let mut session = self.ready(change.delivery.is_some(), !change.told.is_empty()).await?;
        let made = self.in_transaction(&mut session, change).await;
        match made {
            Ok(outcome @ Outcome::Done(Done { replayed: false, .. })) => {
                outbox_entry::retract(&mut session, change.author).await?;
                session.control("COMMIT").await.map_err(|fault| unknown(fault, change))?;
                #[cfg(debug_assertions)]
                super::super::write::fault::after_commit().await;
                let state = &self.opened.known.ledger;
                if change.delivery.is_none() || ledger::clean(&mut session, state).await {
                    session.release();
                }
                Ok(outcome)
            }
            Err(fault) if fault.retryable => self.checked(Err(fault)),
            undone => {
                // A failed statement may have ended the transaction, not what was said on the connection.
                if session.control("ROLLBACK").await.is_ok()
                    && outbox_entry::retract(&mut session, change.author).await.is_ok()
                {
                    session.release();
                }
                self.checked(undone)
            }
        }
    }

    /// A session with its transaction begun, and ledger and outbox there where they are needed.
    async fn ready(&self, ledger: bool, outbox: bool) -> Result<Session, Fault> {
        let (opened, known) = (&self.opened, &self.opened.known);
        let begin = begin(opened.engine()?);
        let mut session = self.pool.begin(&opened.resolved.identity, &opened.server, begin).await?;
        let ledger = ledger && !known.ledger.is_there();
        let outbox = outbox && !known.outbox.is_there();
        if ledger || outbox {
            // Making a table is no part of a transaction everywhere.
            session.control("ROLLBACK").await?;
            if ledger {
                ledger::ensure(&mut session).await?;
                known.ledger.found(true);
            }
            if outbox {
                outbox_entry::ensure(&mut session, self.outbox()).await?;
                known.outbox.found(true);
            }
            session.control(begin).await?;
        }
        Ok(session)
    }

    async fn in_transaction(&self, session: &mut Session, change: &Change<'_>) -> Result<Outcome, Fault> {
        if let Some(delivery) = change.delivery
            && let Some(kept) = self.enter(session, delivery).await?
        {
            return Ok(first(delivery, &kept));
        }
        let table = self.opened.table(session, &self.written).await?;
        outbox_entry::announce(session, change.author).await?;
        let found = match change.lookup {
            Some(lookup) => rows::look_up(session, &table, lookup, true).await?,
            None => Vec::new(),
        };
        let Some(steps) = (change.steps)(&found) else { return Ok(Outcome::Moved) };
        let wanted = Wanted { rows: change.show, entries: !change.told.is_empty() };
        let made = step::make(session, &table, &steps, wanted).await?;
        let mut untold = Vec::new();
        for operation in change.told {
            let (is_done, is_told) = told_by(&steps, *operation);
            let by_triggers =
                !change.author.alone && is_done && outbox_entry::is_captured(session, &table, *operation).await?;
            if !is_done || by_triggers {
                continue;
            }
            if !is_told {
                return Ok(Outcome::Moved);
            }
            untold.extend(of_operation(&made.entries, *operation));
        }
        if let Err(fault) = outbox_entry::enter(session, self.outbox(), &table, &untold, change.author).await {
            // It may be gone: the next try looks.
            self.opened.known.outbox.found(false);
            return Err(if fault.code == "DB_UNKNOWN_TABLE" {
                Fault::unavailable(format!("the outbox: {fault}"))
            } else {
                fault
            });
        }
        let inserted = of_operation(&made.entries, Operation::Insert).len() as u64;
        let only_inserts = steps.iter().all(|step| step.operation() == Operation::Insert);
        let done = Done {
            count: made.count,
            inserted: if only_inserts { made.count } else { inserted },
            rows: if change.show { made.rows } else { Vec::new() },
            replayed: false,
        };
        if let Some(delivery) = change.delivery {
            let kept = json!({"fingerprint": delivery.fingerprint, "count": done.count, "inserted": done.inserted, "rows": done.rows});
            if kept.to_string().len() > MAX_KEPT {
                let message = "the rows are too large to be kept for the key; ask without `return=representation`";
                return Err(Fault::permanent("DB_RESULT_TOO_LARGE", message));
            }
            ledger::note(session, &delivery.id, &kept).await?;
        }
        Ok(Outcome::Done(done))
    }

    async fn enter(&self, session: &mut Session, delivery: &Delivery) -> Result<Option<Value>, Fault> {
        ledger::enter(session, &delivery.id).await.map_err(|fault| {
            // It may be gone: the next try looks.
            self.opened.known.ledger.found(false);
            let gone = matches!(fault.code, "DB_UNKNOWN_TABLE" | "DB_REFUSED");
            if gone { Fault::unavailable(format!("the delivery ledger: {fault}")) } else { fault }
        })
    }
}

/// Whether any step does the operation, and whether all that do tell of each row.
fn told_by(steps: &[Step], operation: Operation) -> (bool, bool) {
    let mut of_operation = steps.iter().filter(|step| step.operation() == operation).peekable();
    (of_operation.peek().is_some(), of_operation.all(Step::is_told))
}

fn of_operation(entries: &[Entry], operation: Operation) -> Vec<&Entry> {
    entries.iter().filter(|entry| entry.operation == operation).collect()
}

/// The answer of the first time; another one's where something else was asked.
fn first(delivery: &Delivery, kept: &Value) -> Outcome {
    if kept["fingerprint"] != delivery.fingerprint.as_str() {
        return Outcome::Other;
    }
    let number = |name: &str| kept[name].as_u64().unwrap_or_default();
    let rows = kept["rows"].as_array().cloned().unwrap_or_default();
    Outcome::Done(Done { count: number("count"), inserted: number("inserted"), rows, replayed: true })
}

/// A commit that was not answered may have been made.
fn unknown(fault: Fault, change: &Change<'_>) -> Fault {
    if !fault.retryable {
        return fault;
    }
    let next = match change.delivery {
        Some(_) => "the same request again is done once",
        None => "look before you write again, or send an `Idempotency-Key` next time",
    };
    Fault { message: format!("whether the change was committed is unknown ({}): {next}", fault.message), ..fault }
}
