//! Tollgate's tables, one file each: the row, and the tenant filters with which queries begin. Amounts
//! are `i64` micro-units (1 cent = 10,000) in columns whose name ends in `_micros`; times are UTC with
//! millisecond precision; ids are `UUIDv7`.

pub mod account;
pub mod api_enum;
pub mod api_key;
pub mod audit_entry;
pub mod contact;
pub mod contact_address;
pub mod contact_tag;
pub mod inventory_number;
pub mod ledger_entry;
pub mod message;
pub mod opt_out;
pub mod phone_number;
pub mod price;
pub mod sender;
pub mod team;
pub mod template;
pub mod usage_day;
