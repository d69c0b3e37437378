//! Templates in an action's settings: Handlebars, with JSON types kept, compiled once, rendered within bounds.
//!
//! The `handlebars` crate parses; what its parser cannot bound is refused before it by `scan`, and `lower`
//! turns its elements into our own `node`s, with every name checked and bound. `render` walks those nodes
//! straight over the event, because the crate's own renderer wants the event copied into a context, prints
//! objects as `[object]`, rounds large numbers when it compares them and cannot be stopped.
//!
//! What this dialect decides where Handlebars leaves it open:
//!
//! - A string that is one placeholder or one helper call alone keeps the JSON type of its value.
//! - Inside `each` and `with` a bare name is a member of the item, as in Handlebars. `record`, `previousRecord`,
//!   `actions` and `secrets` still mean the event's where the item has no such member; the others are reached
//!   with `../` or `@root.`. `if` and `unless` make no new level.
//! - An empty array, an empty object, an empty string, `0`, `false`, `null` and a missing value are false.
//! - A helper whose value is missing or null gives missing or null; `default`, `json`, `length`, the comparisons
//!   and the conditions of blocks take them as they are, without a warning.
//! - In HTML `{{{x}}}` and `{{&x}}` insert unescaped. In a URL they are encoded like any other value.
//! - Partials, decorators, raw blocks, array and object literals, `log` and scripts do not exist.

mod budget;
mod columns;
mod compiled;
mod config;
mod data;
mod decimal;
mod failure;
mod found;
mod frame;
mod helper;
mod lower;
mod node;
mod output;
mod reference;
mod render;
mod root;
mod scan;
mod scope;
#[cfg(test)]
mod tests;

pub use budget::{MAX_OUTPUT, MAX_STEPS};
pub use compiled::Template;
pub use config::{Rendered, TemplatedConfig};
pub use scan::{MAX_NESTING, MAX_SOURCE};
pub use scope::Scope;
