//! Turning components into code: one at a time, off the request path, behind everything else that wants the CPU.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, oneshot};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::CodeCache;
use super::component::{Refusal, RefusalCode};
use super::cpu::yield_priority;

/// Compiles for one engine.
pub(super) struct Compiler {
    engine: Engine,
    cache: Option<Arc<CodeCache>>,
    budget: Duration,
    slots: Arc<Semaphore>,
}

impl Compiler {
    pub(super) fn new(engine: Engine, cache: Option<CodeCache>, budget: Duration, at_once: usize) -> Self {
        Self { engine, cache: cache.map(Arc::new), budget, slots: Arc::new(Semaphore::new(at_once.max(1))) }
    }

    /// The code of a component: from the cache on disk, else compiled and kept there.
    pub(super) async fn compile(&self, bytes: Vec<u8>) -> Result<Component, Refusal> {
        let over = || {
            let message = format!("it could not be compiled within {} s", self.budget.as_secs());
            Refusal::new(RefusalCode::CompileBudget, message)
        };
        let waited = tokio::time::timeout(self.budget, Arc::clone(&self.slots).acquire_owned()).await;
        let slot = waited
            .map_err(|_| Refusal::new(RefusalCode::Busy, "other components are being compiled; try again in a minute"))?
            .map_err(|_| Refusal::new(RefusalCode::Busy, "the host is shutting down"))?;
        let (engine, cache) = (self.engine.clone(), self.cache.clone());
        let (done, result) = oneshot::channel();
        // A thread of its own: its low priority reaches the compiler's helpers, which it starts. A compilation cannot be
        // cancelled; one over its budget is refused at once, but keeps the slot until it ends, so that bombs do not pile up.
        let thread = std::thread::Builder::new().name("compile-guest".into()).spawn(move || {
            yield_priority(10);
            let compiled =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| code_of(&engine, cache.as_deref(), &bytes)));
            let failed = |_| Err(Refusal::new(RefusalCode::Internal, "the compiler failed on this component"));
            drop(slot);
            // Nobody waits any more where the budget was over.
            let _ = done.send(compiled.unwrap_or_else(failed));
        });
        thread.map_err(|error| Refusal::new(RefusalCode::Internal, format!("no thread to compile on: {error}")))?;
        match tokio::time::timeout(self.budget, result).await {
            Ok(Ok(compiled)) => compiled,
            Ok(Err(_)) => Err(Refusal::new(RefusalCode::Internal, "the compiler stopped without an answer")),
            Err(_) => Err(over()),
        }
    }
}

fn code_of(engine: &Engine, cache: Option<&CodeCache>, bytes: &[u8]) -> Result<Component, Refusal> {
    let invalid = |error: wasmtime::Error| Refusal::new(RefusalCode::Invalid, format!("it cannot run here: {error:#}"));
    let Some(cache) = cache else {
        return Component::from_binary(engine, bytes).map_err(invalid);
    };
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    if let Some(kept) = cache.load(engine, &digest) {
        return Ok(kept);
    }
    let component = Component::from_binary(engine, bytes).map_err(invalid)?;
    let kept = component
        .serialize()
        .map_err(|error| error.to_string())
        .and_then(|code| cache.store(&digest, &code).map_err(|error| error.to_string()));
    if let Err(error) = kept {
        tracing::warn!(%error, "Compiled code could not be kept; it will be compiled again after a restart");
    }
    Ok(component)
}
