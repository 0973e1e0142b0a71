//! Phone numbers: the operator's inventory, and the numbers of accounts. Only one account at a time can have a number.
//! The ledger contains at most one fee per number and month, so that no month is charged twice.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The checks on the columns that both tables have.
const CHECKS: [&str; 5] = [
    "number LIKE '+%'",
    "number_type IN ('LOCAL', 'NATIONAL', 'MOBILE', 'TOLL_FREE')",
    "has_sms OR has_whatsapp",
    "upfront_price_micros BETWEEN 0 AND 1000000000000000",
    "monthly_price_micros BETWEEN 0 AND 1000000000000000",
];

/// Text that occurs exactly once in the ledger's CHECK on `kind`. The new kind is inserted before this text.
const REFUND: &str = "OR (kind = 'REFUND'";
const NUMBER_FEE: &str = "OR (kind = 'NUMBER_FEE' AND amount_micros < 0 AND message_id IS NULL \
                          AND account_id IS NOT NULL) ";

const ONCE_PER_MONTH: &str = "ledger_entry_once_per_number_month";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_inventory(manager).await?;
        create_phone_numbers(manager).await?;
        change_ledger_kinds(manager, true).await?;
        // The foreign key does not slow down ledger entries for messages, because the column is NULL in them.
        let mut phone_number_id = column(Uuid, "phone_number_id");
        phone_number_id.extra("REFERENCES phone_number (id)");
        add_column(manager, "ledger_entry", &mut phone_number_id).await?;
        // The CHECK concerns both columns. It is attached to the last column, because `down` drops that column first.
        let both_or_none = Expr::cust(
            "(kind = 'NUMBER_FEE') = (phone_number_id IS NOT NULL) \
             AND (phone_number_id IS NULL) = (phone_number_month IS NULL) \
             AND (phone_number_month IS NULL OR phone_number_month >= 0)",
        );
        let mut month = column(Integer, "phone_number_month");
        add_column(manager, "ledger_entry", month.check(both_or_none)).await?;
        index(ONCE_PER_MONTH, "ledger_entry", &["phone_number_id", "phone_number_month"])
            .unique()
            .only("phone_number_id IS NOT NULL")
            .create(manager)
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager, "ledger_entry", ONCE_PER_MONTH).await?;
        drop_columns(manager, "ledger_entry", &["phone_number_month", "phone_number_id"]).await?;
        // Fees become adjustments, because the older schema has no kind for fees. Balances and totals do not change.
        let (off, on) = match manager.get_database_backend() {
            DbBackend::Postgres => (
                "ALTER TABLE ledger_entry DISABLE TRIGGER ledger_entry_append_only",
                "ALTER TABLE ledger_entry ENABLE TRIGGER ledger_entry_append_only",
            ),
            _ => (
                "DROP TRIGGER ledger_entry_no_update",
                "CREATE TRIGGER ledger_entry_no_update BEFORE UPDATE ON ledger_entry \
                 BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
            ),
        };
        let adjust = "UPDATE ledger_entry SET kind = 'ADJUSTMENT', note = 'The fee of a phone number' \
                      WHERE kind = 'NUMBER_FEE'";
        let forget_usage = "DELETE FROM usage_day WHERE channel = ''";
        run(manager, &[off, adjust, on, forget_usage]).await?;
        change_ledger_kinds(manager, false).await?;
        drop_table(manager, "phone_number").await?;
        drop_table(manager, "inventory_number").await
    }
}

async fn create_inventory(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = table("inventory_number")
        .column(column(Text, "number").not_null().primary_key())
        .required(Text, &["country", "number_type"])
        .required(Boolean, &["has_sms", "has_whatsapp"])
        .required(BigInteger, &["upfront_price_micros", "monthly_price_micros"])
        .required(Boolean, &["is_withdrawn"])
        .optional(Uuid, &["phone_number_id"])
        .required(Timestamp, &["updated_at"]);
    for check in CHECKS {
        table = table.check(check);
    }
    table.create(manager).await?;
    index("inventory_number_available", "inventory_number", &["country", "number"])
        .only("phone_number_id IS NULL AND NOT is_withdrawn")
        .create(manager)
        .await
}

async fn create_phone_numbers(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = table("phone_number")
        .id()
        .required(Uuid, &["team_id", "account_id", "buyer_id"])
        .required(Text, &["number", "country", "number_type"])
        .required(Boolean, &["has_sms", "has_whatsapp"])
        .optional(Text, &["name"])
        .required(Text, &["status"])
        .required(BigInteger, &["upfront_price_micros", "monthly_price_micros"])
        .required(Integer, &["months_paid"])
        .required(Timestamp, &["renews_at"])
        .optional(Timestamp, &["suspended_at", "released_at"])
        .optional(Text, &["idempotency_key"])
        .required(Blob, &["input_hash"])
        .required(Timestamp, &["created_at", "updated_at"])
        .references(&["account_id"], "account", &["id"])
        .references(&["number"], "inventory_number", &["number"])
        .check("status IN ('ACTIVE', 'SUSPENDED', 'RELEASED')")
        .check("(status = 'SUSPENDED') = (suspended_at IS NOT NULL)")
        .check("(status = 'RELEASED') = (released_at IS NOT NULL)")
        .check("months_paid >= 1");
    for check in CHECKS {
        table = table.check(check);
    }
    table.create(manager).await?;
    let held = "status <> 'RELEASED'";
    for index in [
        index("phone_number_held_once", "phone_number", &["number"]).unique().only(held),
        index("phone_number_idempotency_key", "phone_number", &["buyer_id", "idempotency_key"])
            .unique()
            .only("idempotency_key IS NOT NULL"),
        index("phone_number_of_account", "phone_number", &["account_id", "id"]).only(held),
        // The queue of phone numbers to renew, for all accounts.
        index("phone_number_due", "phone_number", &["renews_at", "id"]).only(held),
    ] {
        index.create(manager).await?;
    }
    Ok(())
}

/// Allows or forbids phone number fees in the ledger. The changes to the table that follow make other connections to
/// `SQLite` reload the schema.
async fn change_ledger_kinds(manager: &SchemaManager<'_>, with_fees: bool) -> Result<(), DbErr> {
    let (without, with) = (REFUND.to_owned(), format!("{NUMBER_FEE}{REFUND}"));
    let (from, to) = if with_fees { (&without, &with) } else { (&with, &without) };
    if manager.get_database_backend() == DbBackend::Postgres {
        let fee = if with_fees { NUMBER_FEE } else { "" };
        let statement = format!(
            "ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_check, \
             ADD CONSTRAINT ledger_entry_check CHECK ( \
               (kind = 'TOP_UP' AND amount_micros > 0 AND message_id IS NULL) \
               OR (kind = 'ADJUSTMENT' AND amount_micros <> 0 AND message_id IS NULL) \
               OR (kind = 'CHARGE' AND amount_micros < 0 AND message_id IS NOT NULL \
                   AND account_id IS NOT NULL) \
               {fee}{REFUND} AND amount_micros > 0 AND message_id IS NOT NULL \
                   AND account_id IS NOT NULL))"
        );
        return run(manager, &[statement]).await;
    }
    edit_definition(manager, "ledger_entry", from, to).await
}
