//! Rust types and host traits generated from the WIT package.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "triggerd:runtime/all",
    imports: {
        "triggerd:runtime/log.write": trappable,
        default: async | trappable,
    },
    exports: { default: async },
});
