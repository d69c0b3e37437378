//! WASI 0.2: clocks, chance and standard streams; everything else is present and empty, so that ordinary toolchains link.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::wasi_http::Hooks;
use crate::wasm::guest::Guest;
use crate::wasm::logs::Stream;

/// Handles that a guest may hold at once.
const HANDLES: usize = 1_000;

/// The WASI side of one call.
pub(in crate::wasm) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    pub(super) hooks: Hooks,
}

impl Guest {
    fn wasi(&mut self) -> &mut Wasi {
        let (log, reach, limits) = (&self.log, &self.reach, &self.limits);
        self.wasi.get_or_insert_with(|| {
            // The builder grants no environment, arguments, directories or addresses; sockets go altogether.
            let context = WasiCtxBuilder::new()
                .stdout(log.stream(Stream::Out))
                .stderr(log.stream(Stream::Err))
                .max_random_size(64 << 10)
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .build();
            let mut table = ResourceTable::new();
            table.set_max_capacity(HANDLES);
            Box::new(Wasi { context, table, http: WasiHttpCtx::new(), hooks: Hooks::new(reach.clone(), limits) })
        })
    }

    /// What the guest did through `wasi:http` that is not granted: it saw an error, and the call ends with this one.
    pub(in crate::wasm) fn forbidden_request(&mut self) -> Option<crate::wasm::guest::Forbidden> {
        self.wasi.as_mut().and_then(|wasi| wasi.hooks.take_forbidden())
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = self.wasi();
        WasiHttpCtxView { hooks: &mut wasi.hooks, table: &mut wasi.table, ctx: &mut wasi.http }
    }
}
