//! Phone numbers: the operator's inventory, and the numbers of accounts. One account at a time has a
//! number. The ledger has one fee per number and month, so that no month is charged twice.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The checks of the columns that both tables have.
const CHECKS: [&str; 5] = [
    "number LIKE '+%'",
    "number_type IN ('LOCAL', 'NATIONAL', 'MOBILE', 'TOLL_FREE')",
    "has_sms OR has_whatsapp",
    "upfront_price_micros BETWEEN 0 AND 1000000000000000",
    "monthly_price_micros BETWEEN 0 AND 1000000000000000",
];

/// A unique part of the ledger's CHECK of its kinds, before which the new kind is inserted.
const REFUND: &str = "OR (kind = 'REFUND'";
const NUMBER_FEE: &str = "OR (kind = 'NUMBER_FEE' AND amount_micros < 0 AND message_id IS NULL \
                          AND account_id IS NOT NULL) ";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_inventory(manager).await?;
        create_phone_numbers(manager).await?;
        change_ledger_kinds(manager, true).await?;
        // The foreign key costs entries of messages nothing, because their value is NULL.
        let mut phone_number_id = ColumnDef::new("phone_number_id");
        phone_number_id.uuid().extra("REFERENCES phone_number (id)");
        add_to_ledger(manager, &mut phone_number_id).await?;
        // The check of both columns belongs to the last one, which `down` drops first.
        let both_or_none = Expr::cust(
            "(kind = 'NUMBER_FEE') = (phone_number_id IS NOT NULL) \
             AND (phone_number_id IS NULL) = (phone_number_month IS NULL) \
             AND (phone_number_month IS NULL OR phone_number_month >= 0)",
        );
        let mut month = ColumnDef::new("phone_number_month");
        month.integer().check(both_or_none);
        add_to_ledger(manager, &mut month).await?;
        manager
            .create_index(
                Index::create()
                    .name("ledger_entry_once_per_number_month")
                    .table("ledger_entry")
                    .col("phone_number_id")
                    .col("phone_number_month")
                    .unique()
                    .and_where(Expr::cust("phone_number_id IS NOT NULL"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = "ledger_entry_once_per_number_month";
        manager.drop_index(Index::drop().name(index).table("ledger_entry").to_owned()).await?;
        drop_from_ledger(manager, "phone_number_month").await?;
        drop_from_ledger(manager, "phone_number_id").await?;
        // The effect of the fees on balances and totals stays; without the kind of fees they become
        // adjustments.
        let connection = manager.get_connection();
        let (off, on): (&[&str], &[&str]) = match manager.get_database_backend() {
            DbBackend::Postgres => (
                &["ALTER TABLE ledger_entry DISABLE TRIGGER ledger_entry_append_only"],
                &["ALTER TABLE ledger_entry ENABLE TRIGGER ledger_entry_append_only"],
            ),
            _ => (
                &["DROP TRIGGER ledger_entry_no_update"],
                &["CREATE TRIGGER ledger_entry_no_update BEFORE UPDATE ON ledger_entry \
                   BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"],
            ),
        };
        for statement in off {
            connection.execute_unprepared(statement).await?;
        }
        connection
            .execute_unprepared(
                "UPDATE ledger_entry SET kind = 'ADJUSTMENT', note = 'The fee of a phone number' \
                 WHERE kind = 'NUMBER_FEE'",
            )
            .await?;
        for statement in on {
            connection.execute_unprepared(statement).await?;
        }
        connection.execute_unprepared("DELETE FROM usage_day WHERE channel = ''").await?;
        change_ledger_kinds(manager, false).await?;
        manager.drop_table(Table::drop().table("phone_number").to_owned()).await?;
        manager.drop_table(Table::drop().table("inventory_number").to_owned()).await
    }
}

async fn create_inventory(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = Table::create();
    table
        .table("inventory_number")
        .col(ColumnDef::new("number").text().not_null().primary_key())
        .col(ColumnDef::new("country").text().not_null())
        .col(ColumnDef::new("number_type").text().not_null())
        .col(ColumnDef::new("has_sms").boolean().not_null())
        .col(ColumnDef::new("has_whatsapp").boolean().not_null())
        .col(ColumnDef::new("upfront_price_micros").big_integer().not_null())
        .col(ColumnDef::new("monthly_price_micros").big_integer().not_null())
        .col(ColumnDef::new("is_withdrawn").boolean().not_null())
        .col(ColumnDef::new("phone_number_id").uuid())
        .col(ColumnDef::new("updated_at").timestamp_with_time_zone().not_null());
    for check in CHECKS {
        table.check(Expr::cust(check));
    }
    manager.create_table(table).await?;
    manager
        .create_index(
            Index::create()
                .name("inventory_number_available")
                .table("inventory_number")
                .col("country")
                .col("number")
                .and_where(Expr::cust("phone_number_id IS NULL AND NOT is_withdrawn"))
                .to_owned(),
        )
        .await
}

async fn create_phone_numbers(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = Table::create();
    table
        .table("phone_number")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("team_id").uuid().not_null())
        .col(ColumnDef::new("account_id").uuid().not_null())
        .col(ColumnDef::new("buyer_id").uuid().not_null())
        .col(ColumnDef::new("number").text().not_null())
        .col(ColumnDef::new("country").text().not_null())
        .col(ColumnDef::new("number_type").text().not_null())
        .col(ColumnDef::new("has_sms").boolean().not_null())
        .col(ColumnDef::new("has_whatsapp").boolean().not_null())
        .col(ColumnDef::new("name").text())
        .col(ColumnDef::new("status").text().not_null())
        .col(ColumnDef::new("upfront_price_micros").big_integer().not_null())
        .col(ColumnDef::new("monthly_price_micros").big_integer().not_null())
        .col(ColumnDef::new("months_paid").integer().not_null())
        .col(ColumnDef::new("renews_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("suspended_at").timestamp_with_time_zone())
        .col(ColumnDef::new("released_at").timestamp_with_time_zone())
        .col(ColumnDef::new("idempotency_key").text())
        .col(ColumnDef::new("input_hash").blob().not_null())
        .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("updated_at").timestamp_with_time_zone().not_null())
        .foreign_key(ForeignKey::create().from("phone_number", "account_id").to("account", "id"))
        .foreign_key(
            ForeignKey::create().from("phone_number", "number").to("inventory_number", "number"),
        )
        .check(Expr::cust("status IN ('ACTIVE', 'SUSPENDED', 'RELEASED')"))
        .check(Expr::cust("(status = 'SUSPENDED') = (suspended_at IS NOT NULL)"))
        .check(Expr::cust("(status = 'RELEASED') = (released_at IS NOT NULL)"))
        .check(Expr::cust("months_paid >= 1"));
    for check in CHECKS {
        table.check(Expr::cust(check));
    }
    manager.create_table(table).await?;
    let held = || Expr::cust("status <> 'RELEASED'");
    let mut indexes = [Index::create(), Index::create(), Index::create(), Index::create()];
    let [held_once, idempotency_key, of_account, due] = &mut indexes;
    held_once.name("phone_number_held_once").col("number").unique().and_where(held());
    idempotency_key
        .name("phone_number_idempotency_key")
        .col("buyer_id")
        .col("idempotency_key")
        .unique()
        .and_where(Expr::cust("idempotency_key IS NOT NULL"));
    of_account.name("phone_number_of_account").col("account_id").col("id").and_where(held());
    // The queue of renewals, for all accounts.
    due.name("phone_number_due").col("renews_at").col("id").and_where(held());
    for mut index in indexes {
        manager.create_index(index.table("phone_number").to_owned()).await?;
    }
    Ok(())
}

async fn add_to_ledger(manager: &SchemaManager<'_>, column: &mut ColumnDef) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table("ledger_entry").add_column(column).to_owned()).await
}

async fn drop_from_ledger(manager: &SchemaManager<'_>, column: &'static str) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table("ledger_entry").drop_column(column).to_owned()).await
}

/// Allows or forbids fees of numbers in the ledger. On `SQLite` this edits `sqlite_schema` like the
/// migration of schedules; the next changes of the table make other connections reload the schema.
async fn change_ledger_kinds(manager: &SchemaManager<'_>, with_fees: bool) -> Result<(), DbErr> {
    let connection = manager.get_connection();
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
        connection.execute_unprepared(&statement).await?;
        return Ok(());
    }
    let quoted = |text: &str| text.replace('\'', "''");
    let (from, to) = (quoted(from), quoted(to));
    let edit = format!(
        "UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') \
         WHERE type = 'table' AND name = 'ledger_entry' AND instr(sql, '{from}') > 0"
    );
    connection.execute_unprepared("PRAGMA writable_schema = ON").await?;
    let edited = connection.execute_unprepared(&edit).await?.rows_affected();
    connection.execute_unprepared("PRAGMA writable_schema = RESET").await?;
    if edited == 1 {
        Ok(())
    } else {
        Err(DbErr::Migration("the ledger has no CHECK of its kinds".to_owned()))
    }
}
