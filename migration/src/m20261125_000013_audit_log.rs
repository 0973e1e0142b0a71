//! The audit log. Triggers make it append-only. The action has no CHECK, so that a new action needs no
//! migration.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("audit_entry")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    // No foreign keys: on PostgreSQL an insert would wait for the lock of the team.
                    .col(ColumnDef::new("team_id").uuid())
                    .col(ColumnDef::new("account_id").uuid())
                    .col(ColumnDef::new("is_private").boolean().not_null())
                    .col(ColumnDef::new("actor").text().not_null())
                    .col(ColumnDef::new("key_id").uuid())
                    .col(ColumnDef::new("action").text().not_null())
                    .col(ColumnDef::new("outcome").text().not_null())
                    .col(ColumnDef::new("code").text())
                    .col(ColumnDef::new("target_id").uuid())
                    .col(ColumnDef::new("before").text())
                    .col(ColumnDef::new("after").text())
                    .col(ColumnDef::new("request_id").text())
                    .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                    .check(Expr::cust(
                        "actor IN ('COMMAND_LINE', 'OPERATOR', 'MAIN_ACCOUNT', 'SUB_ACCOUNT')",
                    ))
                    .check(Expr::cust("(actor = 'COMMAND_LINE') = (key_id IS NULL)"))
                    .check(Expr::cust(
                        "actor NOT IN ('MAIN_ACCOUNT', 'SUB_ACCOUNT') OR team_id IS NOT NULL",
                    ))
                    .check(Expr::cust("outcome IN ('DONE', 'REPLAYED', 'REFUSED')"))
                    .check(Expr::cust("(outcome = 'REFUSED') = (code IS NOT NULL)"))
                    .check(Expr::cust("account_id IS NULL OR team_id IS NOT NULL"))
                    .check(Expr::cust("NOT is_private OR account_id IS NOT NULL"))
                    .to_owned(),
            )
            .await?;
        for (name, columns) in [
            ("audit_entry_of_team", &["team_id", "id"][..]),
            ("audit_entry_seen_by_team", &["team_id", "is_private", "id"]),
            ("audit_entry_of_account", &["account_id", "id"]),
        ] {
            let mut index = Index::create();
            index.name(name).table("audit_entry");
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        let append_only: &[&str] = match manager.get_database_backend() {
            DbBackend::Postgres => &[
                "CREATE FUNCTION audit_entry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
                "CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE \
                 ON audit_entry EXECUTE FUNCTION audit_entry_is_append_only()",
            ],
            _ => &[
                "CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry \
                 BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
                "CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry \
                 BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
            ],
        };
        for statement in append_only {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite deletes a table's rows before it drops the table, which the trigger would refuse.
        if manager.get_database_backend() == DbBackend::Sqlite {
            let connection = manager.get_connection();
            connection.execute_unprepared("DROP TRIGGER audit_entry_no_update").await?;
            connection.execute_unprepared("DROP TRIGGER audit_entry_no_delete").await?;
        }
        manager.drop_table(Table::drop().table("audit_entry").to_owned()).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            manager
                .get_connection()
                .execute_unprepared("DROP FUNCTION audit_entry_is_append_only()")
                .await?;
        }
        Ok(())
    }
}
