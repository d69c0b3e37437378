//! Writes that applications make through triggerd: before-triggers, then the rows and what tells of them in one
//! transaction, then after-triggers by way of the outbox.
//!
//! While a before-trigger runs nothing is locked. What it decided holds for the rows that it saw: the transaction locks
//! them, and where one has changed meanwhile, everything is done again with what is there now.

mod candidate;
mod intent;

use std::sync::Arc;

use serde_json::{Map, Value};
use triggerd_core::event::{Change as RowChange, Event, Moment, Operation};
use triggerd_core::id::TenantId;
use triggerd_core::mistake::Mistake;
use triggerd_core::trace::TraceContext;

use candidate::Candidate;
pub use intent::{Intent, Row};

use crate::app::App;
use crate::connections::sql::Fault;
use crate::databases::{Author, Change, Delivery, Done, Found, Lookup, Name, Outcome, Records, Step, Table};
use crate::execute::Rejection;
use crate::failed::Failed;
use crate::intake;
use crate::sources::{Place, place_of};

/// How often a write is begun again because its rows have changed meanwhile.
const MAX_TRIES: usize = 8;

/// Who writes, and where.
pub struct Asked {
    /// Whose database.
    pub tenant: TenantId,
    /// The database's tag.
    pub database: String,
    /// The environment: of the database's settings, and of the events.
    pub env: String,
    /// The table as it was written.
    pub table: String,
    /// Who writes, for the events.
    pub user: Value,
    /// What of the request's trace context is valid.
    pub trace: TraceContext,
    /// The rows are to be shown.
    pub show: bool,
    /// What makes it the same write, where it is tried again.
    pub delivery: Option<Delivery>,
}

/// Why nothing was written.
#[derive(Debug)]
pub enum Error {
    /// The database cannot be had.
    Failed(Failed),
    /// It did not do it.
    Fault(Fault),
    /// The request is wrong.
    Invalid(Vec<Mistake>),
    /// A trigger refused it.
    Rejected {
        /// Which, and why.
        rejection: Rejection,
        /// The row's place in the request; empty for the whole.
        pointer: String,
    },
    /// Others changed the same rows, again and again.
    Contended,
    /// The key was used for another request.
    OtherRequest,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A write under way.
pub(crate) struct Write<'a> {
    app: &'a Arc<App>,
    asked: &'a Asked,
    records: Records,
    table: Arc<Table>,
    author: Author,
}

/// Makes the write, or leaves everything as it was.
pub async fn write(app: &Arc<App>, asked: &Asked, intent: &Intent) -> Result<Done, Error> {
    let records = app.services.databases.records(asked.name(), &asked.table).await?;
    if let Some(delivery) = &asked.delivery {
        if !records.has_ledger() {
            let message = "an `Idempotency-Key` needs the delivery ledger, which this database's settings switch off";
            return Err(Fault::permanent("CONFIG_INVALID", message).into());
        }
        // Looked at before triggers run: they may see it differently the second time, and what is done is done.
        if let Some(outcome) = records.kept(delivery).await? {
            return done(outcome)?.ok_or(Error::Contended);
        }
    }
    let table = records.table().await?;
    let author = Author { user: asked.user.clone(), context: Map::new(), alone: false };
    let mut write = Write { app, asked, records, table, author };
    write.author.alone = write.tells_strangers(intent);
    let done = write.run(intent).await?;
    if !done.replayed
        && done.count > 0
        && let Some(place) = asked.place(app)
    {
        app.captured(&place);
    }
    Ok(done)
}

impl Asked {
    /// The database, as the registry of resources wants it.
    #[must_use]
    pub fn name(&self) -> Name<'_> {
        Name { tenant: &self.tenant, env: &self.env, tag: &self.database }
    }

    /// Where it is captured.
    fn place(&self, app: &App) -> Option<Place> {
        place_of(&app.services.resources, &self.tenant, &self.database, &self.env)
    }
}

impl Write<'_> {
    async fn run(&self, intent: &Intent) -> Result<Done, Error> {
        let intent = intent.of_table(&self.table)?;
        let told = if self.records.is_told_by_log() { Vec::new() } else { self.covered(&intent, Moment::After) };
        if !told.is_empty()
            && let Some(place) = self.asked.place(self.app)
        {
            let unknown = |error: crate::store::Error| Fault::unavailable(error.to_string());
            self.app.sources.read(self.app, &place).await.map_err(unknown)?;
        }
        if !self.covered(&intent, Moment::Before).is_empty() {
            return self.guarded(&intent, &told).await;
        }
        if let Some(whole) = self.whole(&intent, &told).await?
            && let Some(done) = done(self.change(None, &*whatever(vec![whole]), &told).await?)?
        {
            return Ok(done);
        }
        self.told(&intent, &told).await
    }

    /// The one statement that does it all, where nobody has to know each row.
    async fn whole(&self, intent: &Intent, told: &[Operation]) -> Result<Option<Step>, Error> {
        let Some(whole) = intent.whole() else { return Ok(None) };
        if self.asked.show && !self.records.has_returning()? {
            return Ok(None);
        }
        for operation in told {
            if self.author.alone || !self.records.is_captured(*operation).await? {
                return Ok(None);
            }
        }
        Ok(Some(whole))
    }

    /// Each row by itself, without before-triggers: read under the lock that it is written under.
    async fn told(&self, intent: &Intent, told: &[Operation]) -> Result<Done, Error> {
        let lookup = intent.lookup();
        let mut refused: Option<Fault> = None;
        for _ in 0..MAX_TRIES {
            match self.change(lookup.as_ref(), &*unguarded(intent), told).await {
                // The row that an upsert did not find may be there now.
                Err(fault) if intent.may_meet(&fault) && refused.as_ref() != Some(&fault) => refused = Some(fault),
                Err(fault) => return Err(fault.into()),
                Ok(outcome) => {
                    if let Some(done) = done(outcome)? {
                        return Ok(done);
                    }
                }
            }
        }
        Err(refused.map_or(Error::Contended, Error::Fault))
    }

    /// Each row by itself, as the before-triggers leave it.
    async fn guarded(&self, intent: &Intent, told: &[Operation]) -> Result<Done, Error> {
        let lookup = intent.lookup();
        let mut turn = None;
        let mut refused: Option<(Fault, Vec<Option<Found>>)> = None;
        for _ in 0..MAX_TRIES {
            let seen = self.records.rows(lookup.as_ref()).await?;
            if let Some((fault, then)) = refused.take()
                && then == seen
            {
                return Err(fault.into());
            }
            let mut decided = Vec::new();
            for mut candidate in intent.candidates(&seen) {
                candidate.ask(self).await?;
                decided.push(candidate.into_step());
            }
            match self.change(lookup.as_ref(), &*decided_for(seen.clone(), decided), told).await {
                Err(fault) if intent.may_meet(&fault) => refused = Some((fault, seen)),
                Err(fault) => return Err(fault.into()),
                Ok(outcome) => {
                    if let Some(done) = done(outcome)? {
                        return Ok(done);
                    }
                }
            }
            if turn.is_none() {
                turn = Some(self.records.turn().await?);
            }
        }
        Err(Error::Contended)
    }

    async fn change(&self, lookup: Option<&Lookup>, steps: &Steps<'_>, told: &[Operation]) -> Result<Outcome, Fault> {
        let change = Change {
            lookup,
            steps,
            author: &self.author,
            told,
            show: self.asked.show,
            delivery: self.asked.delivery.as_ref(),
        };
        match self.records.change(&change).await {
            // The table may have got the column since it was looked up; it has been forgotten.
            Err(fault) if fault.code == "DB_UNKNOWN_COLUMN" => self.records.change(&change).await,
            done => done,
        }
    }

    /// Those of the intent's operations that an enabled trigger is about, on this table.
    /// Whether a trigger is to be told that does not name the database: no capture is made for it.
    fn tells_strangers(&self, intent: &Intent) -> bool {
        let index = self.app.definitions.index();
        let event = |operation| self.event(operation, Moment::After, Value::Null, Value::Null);
        let mut operations = intent.operations().iter();
        operations.any(|operation| index.in_scope(&event(*operation)).iter().any(|trigger| trigger.database.is_none()))
    }

    fn covered(&self, intent: &Intent, moment: Moment) -> Vec<Operation> {
        let index = self.app.definitions.index();
        let event = |operation| self.event(operation, moment, Value::Null, Value::Null);
        let operations = intent.operations().iter().copied();
        operations.filter(|operation| !index.in_scope(&event(*operation)).is_empty()).collect()
    }

    fn event(&self, operation: Operation, moment: Moment, record: Value, previous_record: Value) -> Event {
        let Asked { tenant, database, env, table: written, user, trace, .. } = self.asked;
        // A name alone is of the connection's own schema, which goes without saying.
        let schema = self.table.schema.clone().filter(|_| *written != self.table.name);
        let table = self.table.name.clone();
        let change = RowChange { operation, moment, database: Some(database.clone()), schema, table };
        let now = self.app.clock.now();
        Event {
            id: intake::new_event_id(self.app),
            tenant: tenant.clone(),
            event_type: change.event_type(),
            source: Some(format!("databases/{database}")),
            change: Some(change),
            record,
            previous_record,
            env: env.clone(),
            user: user.clone(),
            metadata: Map::new(),
            attributes: Map::new(),
            timestamp: now,
            accepted_at: now,
            traceparent: trace.traceparent.clone(),
            tracestate: trace.tracestate.clone(),
            causation: Vec::new(),
            erased_at: None,
        }
    }
}

/// What is to be done with the rows under lock; `None` where they are not those that it was decided for.
type Steps<'a> = dyn Fn(&[Option<Found>]) -> Option<Vec<Step>> + Send + Sync + 'a;

/// Whichever rows there are.
fn whatever<'a>(steps: Vec<Step>) -> Box<Steps<'a>> {
    Box::new(move |_| Some(steps.clone()))
}

/// What the intent comes to, without triggers.
fn unguarded(intent: &Intent) -> Box<Steps<'_>> {
    Box::new(|found| Some(intent.candidates(found).into_iter().map(Candidate::into_step).collect()))
}

/// What was decided, for the rows that it was decided on.
fn decided_for<'a>(seen: Vec<Option<Found>>, steps: Vec<Step>) -> Box<Steps<'a>> {
    Box::new(move |found| (found == seen).then(|| steps.clone()))
}

/// What a change did; `None` where it has to be begun again.
fn done(outcome: Outcome) -> Result<Option<Done>, Error> {
    match outcome {
        Outcome::Done(done) => Ok(Some(done)),
        Outcome::Moved => Ok(None),
        Outcome::Other => Err(Error::OtherRequest),
    }
}
