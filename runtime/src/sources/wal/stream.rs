//! A slot being read.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::check::{Problem, survey};
use super::decode::{Decoder, Step};
use super::kind::Kind;
use super::line::{Frame, Line, MAX_MESSAGE, Reader, Rows, malformed};
use super::lsn::Lsn;
use super::message::{self, Relation};
use super::publication::{self, Names};
use super::writer::Writer;
use super::{Wanted, cluster, kind, slot};
use crate::connections::sql::{Fault, Pool, Server};
use crate::sources::Captured;

/// What a batch may take in memory, about.
const MAX_BATCH: usize = 8 << 20;
/// Questions before the copy are answered within this.
const ANSWERED: Duration = Duration::from_secs(15);
/// A server that has been asked, and has not said anything for this long, is not there any more.
const SILENCE: Duration = Duration::from_secs(300);
/// From this version on applications' messages are sent.
const WITH_MESSAGES: u32 = 140_000;

/// What the columns of a table hold, once the catalog has said so.
type Answer = AbortOnDropHandle<Result<Vec<Kind>, Fault>>;

/// An open stream of changes. Dropping it closes the connection; nothing is lost by that.
pub struct Stream {
    pool: Pool,
    server: Server,
    reader: Reader,
    writer: Writer,
    decoder: Decoder,
    /// A table whose types have to be known before anything else is read. Asked for by a task, since whoever waits for
    /// [`next`](Self::next) may have less patience than that takes, each time.
    asking: Option<(Relation, Answer)>,
    /// Everything before it has been handed out, or will be with the next batch.
    upto: Lsn,
    confirmed: Lsn,
    heard: Instant,
    is_new: bool,
    problems: Vec<Problem>,
}

/// Changes, in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// The changes; the last transaction's may go on in the next batch.
    pub changes: Vec<Captured>,
    /// Once these changes are safe, this may be confirmed. It also goes on without any changes, by what others write to
    /// the log: confirm it then too, so that the server need not keep that.
    pub upto: Lsn,
    /// What could not be taken, in sentences for the operator: applications' messages that are not understood, rows of
    /// more than 64 MiB.
    pub refused: Vec<String>,
}

impl Stream {
    /// Makes or mends publications and slot, connects, and reads on from where the slot was confirmed.
    ///
    /// Tables that are not there, or whose updates and deletes cannot be captured, are left out, which
    /// [`problems`](Self::problems) tells. Fails with `DB_REFUSED` where nothing can be captured, with sentences that say
    /// what to do; with `CHANGES_LOST` where the slot is lost, which only [`remove`](super::remove) ends; with
    /// `DB_UNAVAILABLE` where another try may help.
    pub async fn open(pool: &Pool, server: &Server, names: &Names, wanted: &Wanted) -> Result<Self, Fault> {
        let mut session = pool.single(server).await?;
        let surveyed = survey(&mut session, names, wanted).await?;
        let stops: Vec<&str> =
            surveyed.problems.iter().filter(|problem| problem.stops).map(|problem| &*problem.sentence).collect();
        if !stops.is_empty() {
            let lost = surveyed.slot.as_ref().is_some_and(slot::Status::is_lost);
            return Err(Fault::permanent(if lost { "CHANGES_LOST" } else { "DB_REFUSED" }, stops.join("; ")));
        }
        // Before the slot: the log is read as of when it was written, and a slot cannot be read past a time without them.
        publication::ensure(&mut session, names, &surveyed.found).await?;
        session.close().await;

        let mut line = Line::open(pool, server).await?;
        let is_new = surveyed.slot.is_none();
        if is_new {
            slot::make(&mut line, names).await?;
        }
        let confirmed = free_slot(&mut line, names).await?;
        let cluster = cluster::ask(&mut line).await?;
        let facts = "SELECT current_setting('server_version_num'), setting FROM pg_catalog.pg_settings \
                     WHERE name = 'wal_sender_timeout'";
        let facts = line.ask(facts, ANSWERED).await?;
        let messages = number(&facts, 0).unwrap_or(0) >= u64::from(WITH_MESSAGES);
        let patience = Duration::from_millis(number(&facts, 1).unwrap_or(0));
        let command = format!(
            "START_REPLICATION SLOT \"{}\" LOGICAL 0/0 (proto_version '1', publication_names '{}'{})",
            names.slot,
            names.option(),
            if messages { ", messages 'true'" } else { "" },
        );
        let (reader, half) = line.start(&command).await?;
        Ok(Self {
            pool: pool.clone(),
            server: server.clone(),
            reader,
            writer: Writer::start(half, confirmed, patience),
            decoder: Decoder::new(cluster, surveyed.found),
            asking: None,
            upto: confirmed,
            confirmed,
            heard: Instant::now(),
            is_new,
            problems: surveyed.problems,
        })
    }

    /// The slot was made just now: what committed before is not captured. Where it was there once, changes are missing.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// What is not captured, and what to do about it; as it was when the stream was opened.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The next changes of committed transactions: at most `most`, and about 8 MiB. Waits for the first one at most
    /// `wait`, and not at all for more than there are. May be dropped before it ends without losing anything. After a
    /// fault the stream is of no use; what was not confirmed comes again from the next one.
    pub async fn next(&mut self, most: usize, wait: Duration) -> Result<Batch, Fault> {
        let until = Instant::now() + wait;
        let mut waited = false;
        loop {
            self.writer.note_reading();
            self.decode(most).await?;
            if self.is_full(most) || waited && self.decoder.changes.is_empty() && Instant::now() >= until {
                break;
            }
            if self.decoder.changes.is_empty() {
                // Looks once whatever `wait` is.
                waited = true;
                match tokio::time::timeout_at(until, self.reader.fill()).await {
                    Ok(filled) => filled?,
                    Err(_) if self.heard.elapsed() > SILENCE => {
                        let message = format!("the server has not said anything for {} s", SILENCE.as_secs());
                        return Err(Fault { gone: true, ..Fault::unavailable(message) });
                    }
                    Err(_) => break,
                }
            } else if !self.reader.fill_now()? {
                break;
            }
            self.heard = Instant::now();
        }
        self.decoder.bytes = 0;
        let changes = std::mem::take(&mut self.decoder.changes);
        Ok(Batch { changes, upto: self.upto, refused: std::mem::take(&mut self.decoder.refused) })
    }

    /// Everything before `lsn`, which a batch gave as its `upto`, is safe: the server may forget it. Comes back once the
    /// server has been told.
    pub async fn confirm(&mut self, lsn: Lsn) -> Result<(), Fault> {
        self.confirmed = self.confirmed.max(lsn.min(self.upto));
        self.writer.note_safe(self.confirmed);
        self.writer.until_said(self.confirmed).await
    }
}

impl Stream {
    fn is_full(&self, most: usize) -> bool {
        self.decoder.changes.len() >= most || self.decoder.bytes >= MAX_BATCH
    }

    /// Decodes what came already, until the batch is full.
    async fn decode(&mut self, most: usize) -> Result<(), Fault> {
        loop {
            if let Some((_, answer)) = &mut self.asking {
                let kinds = answer.await.unwrap_or_else(|_| Err(Fault::unavailable("the catalog was not asked")))?;
                let asked = self.asking.take();
                asked.into_iter().for_each(|(relation, _)| self.decoder.describe(relation, kinds.clone()));
            }
            if self.is_full(most) {
                return Ok(());
            }
            match self.reader.frame()? {
                Some(frame) => self.take(frame)?,
                None => return Ok(()),
            }
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), Fault> {
        match frame {
            Frame::Data { at, data } => {
                let told = message::read(&data).ok_or_else(malformed)?;
                let before = self.decoder.changes.len();
                match self.decoder.take(at, told).ok_or_else(malformed)? {
                    Step::On => {}
                    Step::Committed(end) => self.upto = self.upto.max(end),
                    Step::Ask(relation) => self.ask(relation),
                }
                if self.decoder.changes.len() > before {
                    self.decoder.bytes += data.len();
                }
            }
            Frame::Alive { sent, asks } => {
                self.pass(sent);
                if asks {
                    self.writer.answer();
                }
            }
            Frame::TooLarge(length) => self.decoder.refuse_large(length, MAX_MESSAGE),
        }
        Ok(())
    }

    fn ask(&mut self, relation: Relation) {
        let (pool, server, asked) = (self.pool.clone(), self.server.clone(), relation.clone());
        let answer = tokio::spawn(async move { kind::ask(&pool, &server, &asked).await });
        self.asking = Some((relation, AbortOnDropHandle::new(answer)));
    }

    /// The server has sent all transactions that committed before `sent`. Where none of their changes is still to be
    /// confirmed, that is all there is to say of them: a server that stops waits until it hears so.
    fn pass(&mut self, sent: Lsn) {
        if self.decoder.is_inside() || sent <= self.upto {
            return;
        }
        let nothing_due = self.decoder.changes.is_empty() && self.confirmed >= self.upto;
        self.upto = sent;
        if nothing_due {
            self.confirmed = sent;
            self.writer.note_safe(sent);
        }
    }
}

/// Waits until no other connection reads from the slot; what was confirmed last.
async fn free_slot(line: &mut Line, names: &Names) -> Result<Lsn, Fault> {
    let question = format!(
        "SELECT active::text, confirmed_flush_lsn::text FROM pg_catalog.pg_replication_slots WHERE slot_name = '{}'",
        names.slot
    );
    let until = Instant::now() + slot::HELD;
    loop {
        let rows = line.ask(&question, ANSWERED).await?;
        let text = |index: usize| rows.first().and_then(|row| row.get(index)?.as_deref()).unwrap_or_default();
        // Beginning says who holds it.
        if text(0) != "true" || Instant::now() >= until {
            return Ok(text(1).parse().unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn number(rows: &Rows, column: usize) -> Option<u64> {
    rows.first()?.get(column)?.as_deref()?.parse().ok()
}
