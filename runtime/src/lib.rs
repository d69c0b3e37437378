//! triggerd: events in, JSON triggers matched, actions and Wasm components run, nothing lost.
//!
//! Data walks forward: [`api`] and [`sources`] hand bodies to [`intake`], which normalises, matches and plans
//! (pure calls into `triggerd-core`) and stores event and runs in one group commit of [`store`]; [`dispatch`]
//! walks each run's [`actions`]; [`record`] turns outcomes into the next state; [`sweep`] takes up what was left.

pub mod actions;
pub mod brokers;
pub mod caches;
pub mod clock;
pub mod config;
pub mod connections;
pub mod egress;
pub mod failed;
pub mod glob;
pub mod mail;
pub mod redact;
pub mod resources;
pub mod secrets;
pub mod store;
