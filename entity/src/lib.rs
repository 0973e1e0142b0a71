//! Tollgate's tables. Each file defines the row of one table, and the filters by account or team
//! with which queries begin. Columns whose name ends in `_micros` contain amounts in micro-units (1
//! cent is 10,000 micro-units). Times are in UTC with millisecond precision. Ids are `UUIDv7`.

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
