//! Tests Tollgate's behavior through the real router, on SQLite and on PostgreSQL. The tests are one binary with one
//! folder per feature, and each folder has the same name as in `src`. After each test, `harness::run_test` delivers the
//! messages that are due and checks balances and totals.

mod account;
mod api_key;
mod audit_log;
mod billing;
mod cli;
mod clock_watch;
mod contact;
mod db;
mod example;
mod execution;
mod harness;
mod http;
mod isolation;
mod layers;
mod list;
mod message;
mod opt_out;
mod page;
mod patch;
mod phone_number;
mod reference;
mod schema;
mod sender;
mod subscriptions;
mod team;
mod template;
