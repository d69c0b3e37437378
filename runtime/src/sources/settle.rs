//! Waiting until what definitions and resources say is carried out in the captured databases, by whichever node reads them.
//!
//! A node that does not read asks the one that does through the store's log of changes. What is asked comes after the changes that
//! it is about, and whoever follows the log has taken them up by then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use triggerd_core::id::TenantId;

use super::{Sources, told};
use crate::app::App;
use crate::store::ChangeKind;

/// How long the node that reads tries to carry out what another asked for; whoever asked gives up before.
const MOST: Duration = Duration::from_secs(30);

/// What this node has asked, and waits to be told of, by number.
#[derive(Default)]
pub(super) struct Questions {
    open: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    next: AtomicU64,
}

/// A question, forgotten with its asker.
struct Question<'q> {
    questions: &'q Questions,
    number: u64,
    answer: oneshot::Receiver<()>,
}

impl Questions {
    fn ask(&self) -> Question<'_> {
        let (sender, answer) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(number, sender);
        Question { questions: self, number, answer }
    }

    fn answered(&self, number: u64) {
        if let Some(asker) = self.open.lock().remove(&number) {
            // One who waits no longer needs no answer.
            let _ = asker.send(());
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.questions.open.lock().remove(&self.number);
    }
}

impl Sources {
    /// Waits until what definitions and resources say by now is carried out in the tenant's databases, or cannot be; no
    /// longer than `most`, whether it was. What is installed in the database `anew` is compared with what should be in any case.
    pub async fn settle(&self, app: &App, tenant: &TenantId, anew: Option<&str>, most: Duration) -> bool {
        let settled = async {
            if self.knows_whether_it_reads().await {
                if let Some(database) = anew {
                    self.look_again(tenant, database);
                }
                self.settle_here(tenant).await;
                return true;
            }
            let mut question = self.questions.ask();
            let key = format!("ask {} {} {}", app.freshness.origin(), question.number, anew.unwrap_or_default());
            if let Err(error) = app.store.tell_others(ChangeKind::Capture, tenant, &key).await {
                tracing::debug!(%error, "The node that captures could not be asked: {error}");
                return false;
            }
            (&mut question.answer).await.is_ok()
        };
        // Who waits longer than that goes on without: the work goes on too.
        tokio::time::timeout(most, settled).await.unwrap_or(false)
    }

    /// Hears what another node asks or answers.
    pub fn hear(&self, app: &Arc<App>, tenant: &TenantId, key: &str) {
        let mut parts = key.splitn(4, ' ');
        let (Some(what), Some(origin), Some(number)) = (parts.next(), parts.next(), parts.next()) else { return };
        let Ok(number) = number.parse() else { return };
        match what {
            "done" if origin == app.freshness.origin() => self.questions.answered(number),
            "ask" if self.reads() => {
                let anew = parts.next().filter(|database| !database.is_empty()).map(str::to_owned);
                tokio::spawn(carry_out(app.clone(), tenant.clone(), anew, format!("done {origin} {number}")));
            }
            _ => {}
        }
    }
}

/// Answers once it is carried out, and once what is wrong can be read by whoever asked.
async fn carry_out(app: Arc<App>, tenant: TenantId, anew: Option<String>, answer: String) {
    if let Some(database) = &anew {
        app.sources.look_again(&tenant, database);
    }
    if tokio::time::timeout(MOST, app.sources.settle_here(&tenant)).await.is_err() {
        return;
    }
    let told = async {
        told::keep_of(&app, &tenant).await?;
        app.store.tell_others(ChangeKind::Capture, &tenant, &answer).await
    };
    if let Err(error) = told.await {
        tracing::debug!(%error, "Another node waits in vain for a capture: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_is_answered_and_who_has_gone_is_forgotten() {
        let questions = Questions::default();
        let (mut first, second) = (questions.ask(), questions.ask());
        let gone = second.number;
        drop(second);
        questions.answered(gone);
        questions.answered(first.number);
        assert!((&mut first.answer).await.is_ok());
        drop(first);
        assert!(questions.open.lock().is_empty());
    }
}
