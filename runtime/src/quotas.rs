//! Keeps the counts of tenants' quotas right: acceptance and the engine look at memory alone, and what is there comes from the store
//! and from other nodes a while later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use triggerd_core::id::TenantId;

use crate::access::Tenant;
use crate::app::App;
use crate::store;

/// How often what changed is looked at, and nodes tell each other.
const TICK: Duration = Duration::from_secs(1);
/// How often events are counted at most; more seldom where counting takes long.
const COUNT: Duration = Duration::from_secs(5);
/// Counting takes one part in so many of the time.
const COUNTING: u32 = 10;
/// What CPU time is counted under.
const WASM_CPU: &str = "wasm-cpu";

/// Looks after concurrency and CPU time until `stop`.
pub async fn keep(app: Arc<App>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let tenants = app.access.tenants_with_quotas();
        let cpu = |tenant: &Arc<Tenant>| {
            let quota = tenant.quotas().wasm_cpu_per_minute?;
            Some((tenant.id.clone(), Duration::from_millis(quota)))
        };
        let cpu: Vec<_> = tenants.iter().filter_map(cpu).collect();
        app.components.cpu.set(&cpu);
        if let Err(error) = share(&app, &tenants).await {
            // What this node knows holds meanwhile.
            tracing::debug!(%error, "Quotas are not shared just now: {error}");
        }
    }
}

/// Takes this node's part of what nodes have in common.
async fn share(app: &App, tenants: &[Arc<Tenant>]) -> Result<(), store::Error> {
    let own: Vec<(TenantId, u64)> =
        tenants.iter().filter_map(|tenant| Some((tenant.id.clone(), tenant.quotas().max_concurrency?))).collect();
    let nodes = if own.is_empty() { 1 } else { app.store.node_count().await?.max(1) };
    let part = |most: u64| usize::try_from(most.div_ceil(nodes)).unwrap_or(usize::MAX);
    let caps: HashMap<TenantId, usize> = own.into_iter().map(|(tenant, most)| (tenant, part(most))).collect();
    app.dispatch.destinations.cap(&caps);
    if !app.store.is_shared() {
        return Ok(());
    }
    for untold in app.components.cpu.untold() {
        let start = Timestamp::from_second(untold.minute * 60).unwrap_or(Timestamp::UNIX_EPOCH);
        let end = start + Duration::from_secs(120);
        let used = u64::try_from(untold.used.as_micros()).unwrap_or(u64::MAX);
        match app.store.quota_add(&untold.tenant, WASM_CPU, start, used, end).await {
            Ok(total) => app.components.cpu.told(&untold, Duration::from_micros(total)),
            Err(error) => {
                app.components.cpu.not_told(&untold);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Counts stored events of tenants that may have so many and no more, until `stop`.
pub async fn count_events(app: Arc<App>, stop: CancellationToken) {
    loop {
        let began = Instant::now();
        for tenant in app.access.tenants_with_quotas() {
            let Some(most) = tenant.events.most() else { continue };
            let mark = tenant.events.mark();
            match app.store.count_events(&tenant.id, most.saturating_add(1)).await {
                Ok(counted) => tenant.events.correct(mark, counted),
                // What is known is gone on from.
                Err(error) => tracing::debug!(%error, "Events of {} were not counted: {error}", tenant.id),
            }
        }
        let pause = TICK.max(began.elapsed() * COUNTING);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.max(COUNT)) => {}
        }
    }
}
