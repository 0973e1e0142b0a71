//! The database migrations for `SQLite` and `PostgreSQL`. A migration never changes after its release. Migrations
//! therefore do not depend on the other crates of this repository.

pub use sea_orm_migration::MigratorTrait;

use prelude::*;

mod m20261123_000001_teams_and_accounts;
mod m20261123_000002_api_keys;
mod m20261123_000003_messages;
mod m20261123_000004_ledger;
mod m20261123_000005_prices;
mod m20261123_000006_usage;
mod m20261124_000007_contacts;
mod m20261124_000008_opt_outs;
mod m20261124_000009_schedules;
mod m20261125_000010_phone_numbers;
mod m20261125_000011_senders;
mod m20261125_000012_templates;
mod m20261125_000013_audit_log;
mod m20261126_000014_ledger_idempotency;
mod m20261130_000015_test_storage;
mod m20261130_000016_turns;
mod m20261130_000017_filters;
mod m20261130_000018_hardening;
mod m20261130_000019_retired_keys;
mod m20261201_000020_key_generations;
mod m20261201_000021_busy_contacts;
mod m20261201_000022_sub_account_counts;
mod m20261201_000023_canonical_addresses;
mod prelude;

/// All migrations, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_teams_and_accounts::Migration),
            Box::new(m20261123_000002_api_keys::Migration),
            Box::new(m20261123_000003_messages::Migration),
            Box::new(m20261123_000004_ledger::Migration),
            Box::new(m20261123_000005_prices::Migration),
            Box::new(m20261123_000006_usage::Migration),
            Box::new(m20261124_000007_contacts::Migration),
            Box::new(m20261124_000008_opt_outs::Migration),
            Box::new(m20261124_000009_schedules::Migration),
            Box::new(m20261125_000010_phone_numbers::Migration),
            Box::new(m20261125_000011_senders::Migration),
            Box::new(m20261125_000012_templates::Migration),
            Box::new(m20261125_000013_audit_log::Migration),
            Box::new(m20261126_000014_ledger_idempotency::Migration),
            Box::new(m20261130_000015_test_storage::Migration),
            Box::new(m20261130_000016_turns::Migration),
            Box::new(m20261130_000017_filters::Migration),
            Box::new(m20261130_000018_hardening::Migration),
            Box::new(m20261130_000019_retired_keys::Migration),
            Box::new(m20261201_000020_key_generations::Migration),
            Box::new(m20261201_000021_busy_contacts::Migration),
            Box::new(m20261201_000022_sub_account_counts::Migration),
            Box::new(m20261201_000023_canonical_addresses::Migration),
        ]
    }
}
