//! The effective configuration: defaults, then `triggerd.toml`, then `TRIGGERD_…` of the environment, then flags.

/// The effective configuration.
#[derive(Clone, Debug)]
pub struct Config {}
