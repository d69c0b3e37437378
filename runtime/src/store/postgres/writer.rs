//! The writers: tasks that commit what is asked for in groups, each on a connection of its own.
//!
//! While a group's commit is on its way the next gathers in the queue; nothing waits for a timer. An answer leaves only after the
//! commit that holds its write. What a group does in the database is in `group.rs`.
//!
//! Failure story: where a row is refused, each operation is tried alone. Where the connection is lost during a commit, what
//! became of the group is unknown: callers are told `Unavailable`, and the runs of the group are looked at when the database
//! answers again. While it does not, every group is refused at once; so is one that is under way when this node's heartbeat
//! has waited for an answer in vain.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::fault;
use super::group::Group;
use super::link::Link;
use super::node::Node;
use super::statement::Texts;
use crate::clock::Clock;
use crate::store::rows::{AppendRow, UpdateRow};
use crate::store::{AppendOutcome, Error};

/// Operations of one group, at most.
const GROUP_OPS: usize = 512;
/// Bytes of one group, about.
const GROUP_BYTES: usize = 4 << 20;
/// How long a group's commit may take before the connection counts as dead.
const COMMIT_LIMIT: Duration = Duration::from_secs(20);

/// To whom an operation's result goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What a writer can be asked for.
pub(super) enum Op {
    Append { rows: Vec<AppendRow>, answer: Answer<Vec<AppendOutcome>> },
    Record { rows: Vec<UpdateRow>, answer: Answer<Vec<bool>> },
}

/// An operation's result.
pub(super) enum Done {
    Appended(Vec<AppendOutcome>),
    Recorded(Vec<bool>),
}

/// Why a group was not kept.
pub(super) enum Trouble {
    /// The database said no: nothing was kept.
    Refused(sqlx::Error),
    /// This node's lease has ended: nothing was kept.
    Fenced,
    /// There is no connection: nothing was kept.
    Unreachable(Error),
    /// The connection was lost: what was kept is unknown.
    Unknown(Error),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        if fault::is_broken(&error) { Self::Unknown(error.into()) } else { Self::Refused(error) }
    }
}

/// One of the writers.
pub(super) struct Writer {
    pub(super) link: Link,
    pub(super) node: Arc<Node>,
    pub(super) texts: Arc<Texts>,
    pub(super) clock: Clock,
}

impl Writer {
    /// Works until `closing`, and then until the queue is empty.
    pub(super) async fn run(mut self, queue: Arc<Mutex<mpsc::Receiver<Op>>>, closing: CancellationToken) {
        loop {
            let group = {
                let mut queue = queue.lock().await;
                tokio::select! {
                    biased;
                    group = gather(&mut queue) => group,
                    () = closing.cancelled() => {
                        queue.close();
                        gather(&mut queue).await
                    }
                }
            };
            let Some(group) = group else { break };
            self.commit(group).await;
        }
        self.link.close().await;
    }

    /// Keeps a group and answers.
    async fn commit(&mut self, group: Vec<Op>) {
        let refs: Vec<&Op> = group.iter().collect();
        let kept = self.keep(&refs).await;
        match kept {
            Ok(done) => group.into_iter().zip(done).for_each(|(op, done)| op.answer(Ok(done))),
            // Rare: somebody's row was refused. Each on its own then, to find out whose.
            Err(Trouble::Refused(error)) if group.len() > 1 && fault::is_of_one_row(&error) => {
                for op in group {
                    let done = match self.keep(&[&op]).await {
                        Ok(mut done) => done.pop().ok_or_else(super::open::closed),
                        Err(trouble) => Err(self.told(trouble)),
                    };
                    op.answer(done);
                }
            }
            Err(Trouble::Fenced) => {
                let why = self.node.fenced();
                for op in group {
                    // Reports of a dead node change nothing; what it wanted to keep may be tried again.
                    match &op {
                        Op::Record { rows, .. } => {
                            let done = Done::Recorded(vec![false; rows.len()]);
                            op.answer(Ok(done));
                        }
                        Op::Append { .. } => op.answer(Err(why.clone())),
                    }
                }
            }
            Err(trouble) => {
                let why = self.told(trouble);
                group.into_iter().for_each(|op| op.answer(Err(why.clone())));
            }
        }
    }

    fn told(&self, trouble: Trouble) -> Error {
        let why = match trouble {
            Trouble::Refused(error) => error.into(),
            Trouble::Fenced => self.node.fenced(),
            Trouble::Unreachable(error) | Trouble::Unknown(error) => error,
        };
        if matches!(why, Error::Unavailable(_)) {
            tracing::warn!(error = %why, "A group of writes was not kept: {why}");
        }
        why
    }

    async fn keep(&mut self, ops: &[&Op]) -> Result<Vec<Done>, Trouble> {
        if self.node.is_silent() {
            // Not even a connection is tried: that would be waited for by everybody in the queue.
            return Err(Trouble::Unreachable(Error::Unavailable("the database does not answer".to_owned())));
        }
        let id = self.node.id();
        let connected = tokio::select! {
            connected = self.link.get() => connected,
            () = self.node.silence() => Err(Error::Unavailable("the database does not answer".to_owned())),
        };
        let conn = match connected {
            Ok(conn) => conn,
            Err(error) => {
                self.node.reached(false);
                return Err(Trouble::Unreachable(error));
            }
        };
        let group = Group::new(ops, &self.node, &self.texts, id, self.clock.now_ms());
        let given_up = |why: String| Err(Trouble::Unknown(Error::Unavailable(why)));
        let result = tokio::select! {
            limited = tokio::time::timeout(COMMIT_LIMIT, group.keep(conn)) => {
                limited.unwrap_or_else(|_| given_up(format!("no answer within {} s", COMMIT_LIMIT.as_secs())))
            }
            () = self.node.silence() => given_up("the database has stopped answering".to_owned()),
        };
        match &result {
            Ok(_) => {}
            Err(Trouble::Refused(_) | Trouble::Fenced | Trouble::Unreachable(_)) => group.forget_new(),
            Err(Trouble::Unknown(_)) => {
                let session = self.link.cut();
                group.doubt(session);
            }
        }
        result
    }
}

/// The next group: what is waiting, at least one. `None`: nobody will ask any more.
async fn gather(queue: &mut mpsc::Receiver<Op>) -> Option<Vec<Op>> {
    let first = queue.recv().await?;
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while group.len() < GROUP_OPS
        && bytes < GROUP_BYTES
        && let Ok(op) = queue.try_recv()
    {
        bytes += op.bytes();
        group.push(op);
    }
    Some(group)
}

impl Op {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { rows, .. } => rows.iter().map(AppendRow::bytes).sum(),
            Self::Record { rows, .. } => rows.iter().map(UpdateRow::bytes).sum(),
        }
    }

    /// Answers; the caller may have gone, its write stays.
    fn answer(self, done: Result<Done, Error>) {
        match (self, done) {
            (Self::Append { answer, .. }, Ok(Done::Appended(outcomes))) => drop(answer.send(Ok(outcomes))),
            (Self::Record { answer, .. }, Ok(Done::Recorded(held))) => drop(answer.send(Ok(held))),
            (Self::Append { answer, .. }, Err(why)) => drop(answer.send(Err(why))),
            (Self::Record { answer, .. }, Err(why)) => drop(answer.send(Err(why))),
            (Self::Append { .. }, Ok(Done::Recorded(_))) | (Self::Record { .. }, Ok(Done::Appended(_))) => {
                unreachable!("answered as what it was asked as")
            }
        }
    }
}
