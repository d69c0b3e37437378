//! How this node's changes of definitions are kept: those that wait while others are committed are committed together.
//!
//! A change goes `queued → committed → in the index → answered`. The commit and what follows run on a task of their own, so
//! that a caller who goes away leaves no stored definition out of the index. Of two changes of one trigger the second waits for
//! the next commit: what it meets is decided by what the first left.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::{MutexGuard, oneshot};
use triggerd_core::definition::Trigger;
use triggerd_core::index::Index;

use super::in_force::InForce;
use crate::store::{Error, PutOutcome, Store, TriggerChange};
use crate::turns::Turns;

/// The most changes of one commit: nodes that share a store wait for each other's.
const MOST: usize = 128;

/// Changes on their way.
pub struct Queue {
    store: Store,
    /// A turn lasts from before the store is read or written until the index says the same.
    turns: Turns<Waiting>,
}

struct Waiting {
    change: TriggerChange,
    /// The definition compiled, yet without its version.
    draft: Option<Trigger>,
    answer: oneshot::Sender<Result<PutOutcome, Error>>,
}

impl Queue {
    /// Nothing is on its way.
    pub fn new(store: Store) -> Self {
        Self { store, turns: Turns::default() }
    }

    /// Keeps changes out for as long as the guard lives.
    pub async fn pause(&self) -> MutexGuard<'_, ()> {
        self.turns.take().await
    }

    /// Keeps a change and puts it in force.
    pub async fn make(
        self: &Arc<Self>,
        in_force: &Arc<InForce>,
        change: TriggerChange,
        draft: Option<Trigger>,
    ) -> Result<PutOutcome, Error> {
        let (answer, done) = oneshot::channel();
        self.turns.ask(Waiting { change, draft, answer });
        let (queue, in_force) = (Arc::clone(self), Arc::clone(in_force));
        tokio::spawn(async move {
            let _turn = queue.pause().await;
            let group = queue.next();
            if !group.is_empty() {
                queue.commit(&in_force, group).await;
            }
        });
        done.await.unwrap_or_else(|_| Err(Error::Unavailable("the server is ending".to_owned())))
    }

    /// What is committed together: changes of different triggers.
    fn next(&self) -> Vec<Waiting> {
        let mut named = HashSet::new();
        self.turns.next(MOST, |waiting| named.insert((waiting.change.tenant.clone(), waiting.change.tag.clone())))
    }

    async fn commit(&self, in_force: &InForce, mut group: Vec<Waiting>) {
        let changes: Vec<_> = group.iter().map(|waiting| waiting.change.clone()).collect();
        match self.store.change_triggers(changes).await {
            Ok(outcomes) => settle(in_force, group, outcomes),
            // One of them may be what the database refuses: it fails alone.
            Err(Error::Conflict(_) | Error::Damaged(_)) if group.len() > 1 => {
                for one in group {
                    Box::pin(self.commit(in_force, vec![one])).await;
                }
            }
            Err(error) => group.drain(..).for_each(|waiting| drop(waiting.answer.send(Err(error.clone())))),
        }
    }
}

/// Puts a group in force, all at once, and answers.
fn settle(in_force: &InForce, mut group: Vec<Waiting>, outcomes: Vec<PutOutcome>) {
    // A new index makes others look at it: none is made for what changes nothing.
    if outcomes.iter().any(changes_something) {
        in_force.publish(|index| {
            for (waiting, outcome) in group.iter_mut().zip(&outcomes) {
                put(in_force, index, waiting, outcome);
            }
        });
    }
    for (waiting, outcome) in group.into_iter().zip(outcomes) {
        // The caller may have gone; the change stays.
        let _ = waiting.answer.send(Ok(outcome));
    }
}

fn changes_something(outcome: &PutOutcome) -> bool {
    matches!(outcome, PutOutcome::Created(_) | PutOutcome::Replaced(_) | PutOutcome::Deleted)
}

fn put(in_force: &InForce, index: &mut Index, waiting: &mut Waiting, outcome: &PutOutcome) {
    let TriggerChange { tenant, tag, .. } = &waiting.change;
    match (outcome, waiting.draft.take()) {
        (PutOutcome::Created(stored) | PutOutcome::Replaced(stored), Some(draft)) => {
            in_force.retire(tenant, tag);
            index.put(tenant, Arc::new(Trigger { version: stored.version, ..draft }));
        }
        (PutOutcome::Deleted, _) => {
            in_force.retire(tenant, tag);
            index.remove(tenant, tag);
        }
        _ => {}
    }
}
