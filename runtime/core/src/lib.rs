//! The pure core of triggerd: what a trigger definition means, decided without I/O, clock or chance.
//!
//! Data walks forward through these modules: an [`event::Event`] comes in, [`index`] finds the compiled
//! triggers it matches, [`plan`] says which runs that makes, [`template`] renders their actions' settings,
//! and [`retry`] decides what follows an attempt's [`outcome::Outcome`]. `now` and jitter are arguments.

pub mod breaker;
pub mod capture;
pub mod catalog;
pub mod compile;
pub mod condition;
pub mod definition;
pub mod event;
pub mod event_pattern;
pub mod explain;
pub mod id;
pub mod index;
pub mod intake_body;
pub mod json;
pub mod mistake;
pub mod outcome;
pub mod path;
pub mod plan;
pub mod retry;
pub mod run;
pub mod schema;
pub mod subject;
pub mod sync;
pub mod template;
pub mod trace;
