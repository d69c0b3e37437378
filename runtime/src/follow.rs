//! Following what other nodes change: definitions, components, resources, tenants, keys and backfills.
//!
//! Every node keeps these in memory, and reads anew what the store's log of changes names: some milliseconds after the change
//! where nodes wake each other, within half a second where they do not. A change that could not be read is not forgotten:
//! everything is read anew then. [`Freshness`] tells whether this node is behind.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use triggerd_core::id::TenantId;

use crate::app::App;
use crate::clock::Clock;
use crate::dispatch::Told;
use crate::installed;
use crate::store::{self, Change, ChangeKind, Changes};

/// A node that has not looked for so long is behind.
const STALE: Duration = Duration::from_secs(1);
/// How long the store may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// When this node last knew that it had seen every change.
pub struct Freshness {
    at: AtomicI64,
    /// Tells what this process has told from what others have.
    origin: String,
}

impl Freshness {
    /// A node that has just read everything.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self { at: AtomicI64::new(clock.now_ms()), origin: hex::encode(clock.id_bits()) }
    }

    /// Names this process among those that share the store.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How long ago that was, where it is longer than it should be.
    #[must_use]
    pub fn behind(&self, app: &App) -> Option<Duration> {
        if !app.store.is_shared() {
            return None;
        }
        let ago = app.clock.now_ms() - self.at.load(Ordering::Relaxed);
        let ago = Duration::from_millis(u64::try_from(ago).unwrap_or(0));
        (ago > STALE).then_some(ago)
    }
}

/// Follows until `stop`.
pub async fn follow(app: Arc<App>, stop: CancellationToken) {
    let mut all = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.store.changed_elsewhere() => {}
        }
        let caught_up = tokio::time::timeout(ANSWER, catch_up(&app, all)).await;
        match caught_up.unwrap_or_else(|_| Err(store::Error::Unavailable("no answer".to_owned()))) {
            Ok(()) => {
                all = false;
                app.freshness.at.store(app.clock.now_ms(), Ordering::Relaxed);
            }
            Err(error) => {
                all = true;
                tracing::warn!(%error, "What other nodes have changed could not be read, trying again: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn catch_up(app: &Arc<App>, all: bool) -> Result<(), store::Error> {
    let Changes::Some(changes) = app.store.changes().await? else { return reload(app).await };
    let (questions, changes): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|change| change.kind == ChangeKind::Capture);
    if all {
        reload(app).await?
    } else {
        read_anew(app, &changes).await?
    }
    // Each is about what was changed before it, which is in force by now.
    questions.iter().for_each(|Change { tenant, key, .. }| app.sources.hear(app, tenant, key));
    Ok(())
}

async fn read_anew(app: &Arc<App>, changes: &[Change]) -> Result<(), store::Error> {
    // What was changed twice is read once.
    let mut done: HashSet<&Change> = HashSet::new();
    let mut triggers = Vec::new();
    for change in changes.iter().filter(|change| done.insert(change)) {
        if change.kind == ChangeKind::Trigger {
            triggers.push((change.tenant.clone(), change.key.clone()));
        } else {
            apply(app, change).await?;
        }
    }
    // Together and last: there may be many, and what they use is there then.
    app.definitions.refresh_all(&triggers).await
}

/// Reads anew what a trigger stands for, before it is taken for gone.
pub async fn catch_up_with(app: &App, tenant: &TenantId, trigger: &str) -> Result<(), store::Error> {
    let Some((kind, tag)) = installed::resource_of(trigger) else {
        return app.definitions.refresh(tenant, trigger).await;
    };
    app.services.resources.refresh(tenant, kind, tag).await?;
    installed::install(&app.definitions, &app.services.resources, tenant, kind, tag).await;
    Ok(())
}

async fn apply(app: &Arc<App>, change: &Change) -> Result<(), store::Error> {
    let Change { kind, tenant, key } = change;
    match kind {
        // Read with all others, and heard once they are read.
        ChangeKind::Trigger | ChangeKind::Capture => Ok(()),
        ChangeKind::Component => {
            app.components.forget(tenant, key);
            Ok(())
        }
        ChangeKind::Tenant => app.access.refresh_tenant(tenant).await,
        ChangeKind::Destination => {
            if let Some(told) = heard(app, tenant, key) {
                app.dispatch.destinations.hear(&told);
            }
            Ok(())
        }
        ChangeKind::Listener => {
            app.feed.heard(tenant, key);
            Ok(())
        }
        ChangeKind::Source => app.sources.refresh(app, tenant, key).await,
        ChangeKind::Key => app.access.refresh_key(tenant, key).await,
        ChangeKind::Resource => {
            let Some((kind, tag)) = key.split_once('/') else { return Ok(()) };
            if kind == crate::components::SETTINGS {
                app.components.forget(tenant, tag);
            }
            app.services.resources.refresh(tenant, kind, tag).await?;
            installed::install(&app.definitions, &app.services.resources, tenant, kind, tag).await;
            Ok(())
        }
    }
}

/// Tells other nodes which destinations are left alone, and which answer again, until `stop`.
pub async fn tell(app: Arc<App>, stop: CancellationToken) {
    let mut told = app.dispatch.destinations.listen();
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return,
            told = told.recv() => told,
        };
        let Some(told) = told else { return };
        let open_for = told.open_for.map_or(0, |wait| wait.as_millis());
        let key = format!("{} {open_for} {}", app.freshness.origin(), told.destination);
        if let Err(error) = app.store.tell_others(ChangeKind::Destination, &told.tenant, &key).await {
            // They find out by themselves.
            tracing::debug!(%error, "Other nodes were not told of {}: {error}", told.destination);
        }
    }
}

/// What was told, unless this process did.
fn heard(app: &App, tenant: &TenantId, key: &str) -> Option<Told> {
    let mut parts = key.splitn(3, ' ');
    let (origin, open_for, destination) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    let open_for = (open_for > 0).then(|| Duration::from_millis(open_for));
    let told = Told { tenant: tenant.clone(), destination: destination.to_owned(), open_for };
    (origin != app.freshness.origin()).then_some(told)
}

async fn reload(app: &App) -> Result<(), store::Error> {
    app.access.reload().await?;
    app.components.forget_all();
    app.services.resources.reload().await?;
    app.definitions.reload().await?;
    app.sources.backfills.load(app).await?;
    installed::install_all(&app.definitions, &app.services.resources).await;
    Ok(())
}
