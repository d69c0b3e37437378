//! triggerd: events in, JSON triggers matched, actions and Wasm components run, nothing lost.
//!
//! Data walks forward: [`api`] hands bodies to [`intake`], which matches and plans (pure calls into `triggerd-core`)
//! and stores event and runs in one group commit of [`store`]; [`dispatch`] walks each run's [`actions`]; [`record`]
//! turns outcomes into the next state; [`sweep`] takes up what was left.

pub mod actions;
pub mod app;
pub mod clock;
pub mod components;
pub mod config;
pub mod definitions;
pub mod dispatch;
pub mod execute;
pub mod feed;
pub mod intake;
pub mod record;
pub mod store;
pub mod sweep;
pub mod trial;
pub mod wasm;
