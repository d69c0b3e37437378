//! What triggerd promises, asked of the real binary from outside: one file per promise.
//!
//! Most tests share one server and have a tenant of their own in it; those that end or starve a server start their
//! own. Servers that the actions talk to (Redis, SMTP, HTTP receivers) are real.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that failed")]

mod harness;

mod access_log;
mod actions_broker;
mod actions_cache;
mod actions_database;
mod actions_email;
mod actions_emit;
mod actions_notifications;
mod actions_storage;
mod alerts;
mod audit;
mod backfill;
mod batches;
mod bodies;
mod breaker;
mod canary;
mod capture;
mod capture_chaos;
mod capture_faults;
mod capture_types;
mod chaos;
mod cli;
mod cloudevents;
mod crash;
mod dead_letters;
mod delivery;
mod egress;
mod encodings;
mod erasure;
mod event_detail;
mod execute;
mod fairness;
mod flow;
mod front;
mod full_disk;
mod hasura;
mod hooks;
mod idempotency;
mod inbox;
mod keys;
mod layout;
mod lifecycle;
mod nodes;
mod ordering;
mod overload;
mod pooled;
mod quotas;
mod rates;
mod records;
mod replay_preview;
mod resources_in_use;
mod retention;
mod retries;
mod rotation;
mod routes;
mod schemathesis;
mod secrets;
mod spans;
mod subscriptions;
mod sync;
mod sync_docs;
mod sync_example;
mod sync_random;
mod sync_truncate;
mod sync_upkeep;
mod sync_verify;
mod test_customer;
mod tls;
mod traces;
mod trigger_trial;
mod triggers;
mod wasm_guests;
mod wasm_hostile;
mod wasm_uploads;
