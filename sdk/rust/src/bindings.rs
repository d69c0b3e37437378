//! The worlds of `wit/`, as Rust. Each world's exports come as a macro, which only a guest that
//! has that kind of function calls: a component exports what it has, and imports what it uses.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

pub use wit_bindgen::rt;

pub mod imports {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "imports",
        generate_unused_types: true,
        pub_export_macro: true,
        export_macro_name: "export_imports",
        runtime_path: "::triggerd_sdk::__private::rt",
    });
}

/// One module per world that exports something; all of them share the types of `imports`.
macro_rules! world {
    ($module:ident, $world:literal, $interface:ident, $path:literal) => {
        pub mod $module {
            pub use exports::triggerd::runtime::$interface as export;

            wit_bindgen::generate!({
                path: "../../wit",
                world: $world,
                with: {
                    "triggerd:runtime/types@0.1.0": crate::bindings::imports::triggerd::runtime::types,
                    "triggerd:runtime/log@0.1.0": crate::bindings::imports::triggerd::runtime::log,
                    "triggerd:runtime/state@0.1.0": crate::bindings::imports::triggerd::runtime::state,
                    "triggerd:runtime/cache@0.1.0": crate::bindings::imports::triggerd::runtime::cache,
                    "triggerd:runtime/broker@0.1.0": crate::bindings::imports::triggerd::runtime::broker,
                    "triggerd:runtime/database@0.1.0": crate::bindings::imports::triggerd::runtime::database,
                    "triggerd:runtime/events@0.1.0": crate::bindings::imports::triggerd::runtime::events,
                    "triggerd:runtime/secrets@0.1.0": crate::bindings::imports::triggerd::runtime::secrets,
                    "triggerd:runtime/http@0.1.0": crate::bindings::imports::triggerd::runtime::http,
                },
                pub_export_macro: true,
                export_macro_name: "export_function",
                default_bindings_module: $path,
                runtime_path: "::triggerd_sdk::__private::rt",
            });
        }
    };
}

world!(action, "action", run, "triggerd_sdk::__private::action");
world!(guard, "guard", check, "triggerd_sdk::__private::guard");
world!(condition, "condition", matches, "triggerd_sdk::__private::condition");
world!(transform, "transform", rewrite, "triggerd_sdk::__private::transform");
