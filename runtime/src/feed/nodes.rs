//! What happens on other nodes: they are told that somebody listens here, and hand over what they see of that tenant.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;
use triggerd_core::id::TenantId;

use super::{Feed, FeedItem, lock};
use crate::app::App;
use crate::store::{self, ChangeKind, FeedCursor};

/// How often items are handed over and fetched.
const EXCHANGE: Duration = Duration::from_millis(200);
/// How often a node without others looks whether anybody still listens.
const LOOK: Duration = Duration::from_secs(5);
/// How often a node says again that somebody listens to it, and how long that holds.
const SAY: Duration = Duration::from_secs(5);
const HOLDS: SignedDuration = SignedDuration::from_secs(20);
/// Items that are handed over at once.
const AT_ONCE: usize = 500;

impl Feed {
    /// Another node's clients listen to a tenant.
    pub fn heard(&self, tenant: &TenantId, origin: &str) {
        let inner = &self.0;
        if origin == inner.origin {
            return;
        }
        lock(&inner.listened).elsewhere.insert(tenant.clone(), inner.clock.now() + HOLDS);
        let kept = lock(&inner.kept);
        if !inner.is_on.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let mut kept = kept;
            kept.entries.clear();
            kept.since = inner.clock.now();
        }
    }

    fn listened_here(&self) -> Vec<TenantId> {
        lock(&self.0.listened).here.keys().cloned().collect()
    }

    /// What is to be handed over.
    async fn outgoing(&self) -> Vec<FeedItem> {
        let mut to_send = self.0.to_send.lock().await;
        let mut items = Vec::new();
        while items.len() < AT_ONCE
            && let Ok(item) = to_send.try_recv()
        {
            items.push(item);
        }
        items
    }
}

/// Keeps the feed in step with who listens, here and on other nodes, until `stop`.
pub async fn tend(app: Arc<App>, stop: CancellationToken) {
    let mut exchange = Exchange { said: None, cursor: None };
    let mut ticks = tokio::time::interval(if app.store.is_shared() { EXCHANGE } else { LOOK });
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.feed.0.began.notified() => exchange.said = None,
            _ = ticks.tick() => {}
        }
        app.feed.rest();
        if app.store.is_shared()
            && let Err(error) = exchange.step(&app).await
        {
            tracing::debug!(%error, "Other nodes' items are not here yet: {error}");
        }
    }
}

/// How far the exchange with other nodes has come.
struct Exchange {
    said: Option<tokio::time::Instant>,
    /// Up to where others' items have been fetched; none while nobody listens here.
    cursor: Option<FeedCursor>,
}

impl Exchange {
    async fn step(&mut self, app: &App) -> Result<(), store::Error> {
        let origin = app.freshness.origin();
        let items = app.feed.outgoing().await;
        if !items.is_empty() {
            let text = serde_json::to_string(&items).expect("texts and ids always serialise");
            app.store.feed_put(origin, &text).await?;
        }
        let listened = app.feed.listened_here();
        if listened.is_empty() {
            self.cursor = None;
            return Ok(());
        }
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            // Before others are told: what they hand over from then on is not to be missed.
            None => self.cursor.insert(app.store.feed_end().await?),
        };
        if self.said.is_none_or(|said| said.elapsed() >= SAY) {
            for tenant in &listened {
                app.store.tell_others(ChangeKind::Listener, tenant, origin).await?;
            }
            self.said = Some(tokio::time::Instant::now());
        }
        for text in app.store.feed_get(origin, cursor).await? {
            // A newer node may have put what this one cannot read.
            let Ok(items) = serde_json::from_str::<Vec<FeedItem>>(&text) else { continue };
            items.into_iter().filter(|item| listened.contains(&item.tenant)).for_each(|item| app.feed.pass_on(item));
        }
        Ok(())
    }
}
