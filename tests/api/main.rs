//! Tollgate's behaviour, through the real router, on SQLite and on PostgreSQL. One binary; a file a
//! feature, named as in `src`. Every test ends with `close`, which delivers what is due and audits
//! the books.

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
