//! Tollgate's behaviour, through the real router, on SQLite and on PostgreSQL. One binary; a file a
//! feature, named as in `src`. Every test ends with `close`, which delivers what is due and audits
//! the books.

mod access;
mod account;
mod answers;
mod api_key;
mod audit_log;
mod billing;
mod command_line;
mod connections;
mod contact;
mod contact_address;
mod contact_erasure;
mod delivery;
mod example;
mod graphiql;
mod harness;
mod hostile;
mod http;
mod indexes;
mod isolation;
mod layers;
mod ledger;
mod limits;
mod manners;
mod message;
mod migration;
mod opt_out;
mod page;
mod phone_number;
mod phone_number_renewal;
mod quiet_hours;
mod races;
mod rate;
mod room;
mod schedule;
mod schema;
mod sockets;
mod sub_account;
mod team;
mod updates;
mod usage;
mod watch;
mod writer;
