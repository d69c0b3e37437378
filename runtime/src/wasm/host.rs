//! The host of all guests: one engine, one linker, the compiled components, and the threads that guests run on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use wasmtime::Engine;
use wasmtime::component::{InstancePre, Linker};

use super::bindings::exports::triggerd::runtime::{check, matches, rewrite, run};
use super::cache::CodeCache;
use super::call::Export;
use super::compile::Compiler;
use super::component::{self, Inspected, Refusal, RefusalCode};
use super::cpu::yield_priority;
use super::engine::{self, Ticker};
use super::guest::Guest;
use super::habit::Habit;
use super::imports;
use super::signature;
use super::slots::Slots;

/// What the operator decides for all guests.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Calls at once; more wait.
    pub guests: u32,
    /// Calls of one tenant at once: its slow host calls must not hold every slot.
    pub guests_per_tenant: u32,
    /// Compiled code that is kept in memory, in bytes; what was not called for longest goes first.
    pub code_bytes: u64,
    /// Threads that guests compute on.
    pub threads: usize,
    /// The most memory that any [`super::Limits`] may give a guest.
    pub memory_ceiling: usize,
    /// Whether `wasi:http` may be imported.
    pub wasi_http: bool,
    /// Where compiled code is kept over restarts; `None` compiles again.
    pub code_cache: Option<CodeCacheConfig>,
    /// The longest that one compilation may take.
    pub compile_budget: Duration,
    /// Compilations at once.
    pub compilations: usize,
}

/// Where compiled code is kept, and what proves that it is ours.
#[derive(Clone)]
pub struct CodeCacheConfig {
    /// A folder of its own; made, and closed to others.
    pub dir: PathBuf,
    /// A secret key that stands neither in the folder nor in a database.
    pub key: [u8; 32],
}

impl std::fmt::Debug for CodeCacheConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeCacheConfig").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            guests: 256,
            guests_per_tenant: 64,
            code_bytes: 1 << 30,
            threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            memory_ceiling: 256 << 20,
            wasi_http: false,
            code_cache: None,
            compile_budget: Duration::from_secs(60),
            compilations: 1,
        }
    }
}

/// Runs guests. One per process, shared.
pub struct Host {
    engine: Engine,
    linker: Linker<Guest>,
    compiler: Compiler,
    prepared: moka::future::Cache<String, Arc<Prepared>>,
    pub(super) slots: Slots,
    pub(super) memory_ceiling: usize,
    wasi_http: bool,
    threads: Option<Runtime>,
    _ticker: Ticker,
}

/// A component version, compiled and linked: only to be instantiated.
pub struct Prepared {
    pub(super) pre: InstancePre<Guest>,
    pub(super) run: Option<run::GuestIndices>,
    pub(super) check: Option<check::GuestIndices>,
    pub(super) matches: Option<matches::GuestIndices>,
    pub(super) rewrite: Option<rewrite::GuestIndices>,
    pub(super) habit: Habit,
}

impl Prepared {
    /// What its code takes in memory.
    fn code_bytes(&self) -> u32 {
        let image = self.pre.component().image_range();
        u32::try_from(image.end.addr().saturating_sub(image.start.addr())).unwrap_or(u32::MAX)
    }

    /// Whether the component exports what this would call.
    #[must_use]
    pub fn exports(&self, export: Export) -> bool {
        match export {
            Export::Run => self.run.is_some(),
            Export::Guard => self.check.is_some(),
            Export::Matches => self.matches.is_some(),
            Export::Transform => self.rewrite.is_some(),
        }
    }
}

impl Host {
    /// Starts the engine, its clock and its threads.
    pub fn new(config: HostConfig) -> anyhow::Result<Self> {
        let engine = engine::engine(config.guests, config.memory_ceiling)
            .map_err(|e| anyhow::anyhow!("the Wasm engine: {e:#}"))?;
        let mut linker = Linker::new(&engine);
        imports::link(&mut linker, config.wasi_http).map_err(|e| anyhow::anyhow!("the guests' imports: {e:#}"))?;
        let cache = match &config.code_cache {
            Some(CodeCacheConfig { dir, key }) => Some(
                CodeCache::open(dir, *key, &engine)
                    .map_err(|e| anyhow::anyhow!("the cache of compiled components in {}: {e}", dir.display()))?,
            ),
            None => None,
        };
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("guest")
            // Guests run for up to 10 ms at a time: a new call must not wait for dozens of those, nor a timer.
            .global_queue_interval(2)
            .event_interval(4)
            .enable_time()
            .on_thread_start(|| yield_priority(5))
            .build()?;
        Ok(Self {
            _ticker: Ticker::start(&engine)?,
            compiler: Compiler::new(engine.clone(), cache, config.compile_budget, config.compilations),
            prepared: moka::future::Cache::builder()
                .max_capacity(config.code_bytes)
                .weigher(|_, prepared: &Arc<Prepared>| prepared.code_bytes())
                .build(),
            slots: Slots::new(config.guests, config.guests_per_tenant),
            memory_ceiling: config.memory_ceiling,
            wasi_http: config.wasi_http,
            threads: Some(threads),
            linker,
            engine,
        })
    }

    /// Says what an upload is, having compiled and linked it; or why it is refused.
    pub async fn inspect(&self, upload: Vec<u8>) -> Result<Inspected, Refusal> {
        let inspected = self.look(upload).await?;
        self.keep_prepared(&inspected.digest, || async { Ok(inspected.component_bytes.clone()) }).await?;
        Ok(inspected)
    }

    /// The component with this digest, ready to be called. `bytes` are the upload or the component made of it; they are
    /// compiled only where neither this process nor the cache on disk has the code.
    pub async fn prepare(&self, digest: &str, bytes: &[u8]) -> Result<Arc<Prepared>, Refusal> {
        let look = || async { Ok(self.look(bytes.to_vec()).await?.component_bytes) };
        self.keep_prepared(digest, look).await
    }

    /// The component with this digest, if it is ready to be called.
    pub async fn prepared(&self, digest: &str) -> Option<Arc<Prepared>> {
        self.prepared.get(digest).await
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn threads(&self) -> &Runtime {
        self.threads.as_ref().expect("the threads stay until the host is dropped")
    }

    async fn look(&self, upload: Vec<u8>) -> Result<Inspected, Refusal> {
        let wasi_http = self.wasi_http;
        let looked = tokio::task::spawn_blocking(move || component::inspect(upload, wasi_http)).await;
        looked.unwrap_or_else(|_| Err(Refusal::new(RefusalCode::Invalid, "reading it failed")))
    }

    /// The kept one, or one made of `component`; several callers at once wait for the same one.
    async fn keep_prepared<F, W>(&self, digest: &str, component: F) -> Result<Arc<Prepared>, Refusal>
    where
        F: FnOnce() -> W,
        W: Future<Output = Result<Vec<u8>, Refusal>>,
    {
        let made = self.prepared.try_get_with_by_ref(digest, async { self.make(component().await?).await });
        made.await.map_err(|refusal| Refusal::clone(&refusal))
    }

    async fn make(&self, component: Vec<u8>) -> Result<Arc<Prepared>, Refusal> {
        let component = self.compiler.compile(component).await?;
        signature::check(&self.engine, &component)?;
        let pre = self
            .linker
            .instantiate_pre(&component)
            .map_err(|error| Refusal::new(RefusalCode::UnknownImport, format!("its imports do not fit: {error:#}")))?;
        Ok(Arc::new(Prepared {
            run: run::GuestIndices::new(&pre).ok(),
            check: check::GuestIndices::new(&pre).ok(),
            matches: matches::GuestIndices::new(&pre).ok(),
            rewrite: rewrite::GuestIndices::new(&pre).ok(),
            habit: Habit::default(),
            pre,
        }))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which async code must not do.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}
