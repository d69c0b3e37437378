//! triggerd: events in, JSON triggers matched, actions and Wasm components run, nothing lost.
//!
//! Data walks forward: [`api`] hands bodies to [`intake`], which matches and plans (pure calls into `triggerd-core`)
//! and stores event and runs in one group commit of [`store`]; [`dispatch`] walks each run's [`actions`]; [`record`]
//! turns outcomes into the next state; [`sweep`] takes up what was left.

#![allow(clippy::duplicate_mod, reason = "`store/tables` is compiled once for each store")]

pub mod access;
pub mod actions;
pub mod api;
pub mod app;
pub mod audit;
pub mod brokers;
pub mod caches;
pub mod carried_on;
pub mod cli;
pub mod clock;
pub mod components;
pub mod config;
pub mod connections;
pub mod databases;
pub mod definitions;
pub mod dispatch;
pub mod egress;
pub mod erasure;
pub mod execute;
pub mod failed;
pub mod feed;
pub mod follow;
pub mod glob;
pub mod hooks;
pub mod installed;
pub mod intake;
pub mod mail;
pub mod nodes;
pub mod not_matched;
pub mod quotas;
pub mod record;
pub mod redact;
pub mod replay;
pub mod resources;
pub mod retention;
pub mod secrets;
pub mod seeded;
pub mod signals;
pub mod sources;
mod spans;
pub mod storages;
pub mod store;
pub mod subscriptions;
pub mod sweep;
pub mod syncs;
pub mod telemetry;
pub mod timeline;
pub mod trial;
pub mod turns;
pub mod usage;
pub mod wasm;
pub mod write_through;
