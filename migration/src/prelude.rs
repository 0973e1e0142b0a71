//! Helpers that all migrations share. Changes to this file must not affect the SQL of released migrations.

use std::iter::repeat;

pub use sea_orm_migration::{
    prelude::{
        ColumnType::{
            BigInteger, Blob, Boolean, Date, Integer, Text, TimestampWithTimeZone as Timestamp,
            Uuid,
        },
        *,
    },
    sea_orm::DbBackend,
};

/// A table to create: `table("team").id().required(Text, &["name"]).create(manager)`.
pub struct NewTable {
    name: &'static str,
    statement: TableCreateStatement,
}

/// Begins the definition of a table.
pub fn table(name: &'static str) -> NewTable {
    NewTable { name, statement: Table::create().table(name).to_owned() }
}

impl NewTable {
    /// Adds the primary key `id`.
    pub fn id(self) -> Self {
        self.column(column(Uuid, "id").not_null().primary_key())
    }

    /// Adds columns that are not null.
    pub fn required(self, of_type: ColumnType, names: &[&'static str]) -> Self {
        let columns = names.iter().zip(repeat(of_type));
        columns.fold(self, |table, (name, of_type)| table.column(column(of_type, name).not_null()))
    }

    /// Adds columns that may be null.
    pub fn optional(self, of_type: ColumnType, names: &[&'static str]) -> Self {
        let columns = names.iter().zip(repeat(of_type));
        columns.fold(self, |table, (name, of_type)| table.column(&mut column(of_type, name)))
    }

    /// Adds a column.
    pub fn column(mut self, column: &mut ColumnDef) -> Self {
        self.statement.col(column);
        self
    }

    /// Sets a primary key that consists of several columns.
    pub fn primary_key(mut self, columns: &[&'static str]) -> Self {
        self.statement.primary_key(&mut with_columns(Index::create(), columns));
        self
    }

    /// Adds a foreign key.
    pub fn references(
        mut self,
        columns: &[&'static str],
        table: &'static str,
        keys: &[&'static str],
    ) -> Self {
        let mut key = ForeignKey::create().from_tbl(self.name).to_tbl(table).to_owned();
        for (column, of_table) in columns.iter().zip(keys) {
            key.from_col(*column).to_col(*of_table);
        }
        self.statement.foreign_key(&mut key);
        self
    }

    /// Adds a CHECK.
    pub fn check(mut self, condition: &'static str) -> Self {
        self.statement.check(Expr::cust(condition));
        self
    }

    pub async fn create(self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        manager.create_table(self.statement).await
    }
}

/// An index to create: `index("name", "table", &["column"]).unique().only("condition").create(manager)`.
pub struct NewIndex(IndexCreateStatement);

/// Begins the definition of an index.
pub fn index(name: &'static str, table: &'static str, columns: &[&'static str]) -> NewIndex {
    NewIndex(with_columns(Index::create().name(name).table(table).to_owned(), columns))
}

impl NewIndex {
    pub fn unique(mut self) -> Self {
        self.0.unique();
        self
    }

    /// Restricts the index to rows that meet a condition.
    pub fn only(mut self, condition: &'static str) -> Self {
        self.0.and_where(Expr::cust(condition));
        self
    }

    pub async fn create(self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        manager.create_index(self.0).await
    }
}

fn with_columns(mut index: IndexCreateStatement, columns: &[&'static str]) -> IndexCreateStatement {
    for column in columns {
        index.col(*column);
    }
    index
}

/// Defines a column that may be null.
pub fn column(of_type: ColumnType, name: &'static str) -> ColumnDef {
    ColumnDef::new_with_type(name, of_type)
}

pub async fn add_column(
    manager: &SchemaManager<'_>,
    table: &'static str,
    column: &mut ColumnDef,
) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await
}

/// Drops columns of a table one after the other.
pub async fn drop_columns(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: &[&'static str],
) -> Result<(), DbErr> {
    for column in columns {
        manager.alter_table(Table::alter().table(table).drop_column(*column).to_owned()).await?;
    }
    Ok(())
}

pub async fn drop_table(manager: &SchemaManager<'_>, name: &'static str) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(name).to_owned()).await
}

pub async fn drop_index(
    manager: &SchemaManager<'_>,
    table: &'static str,
    name: &'static str,
) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name(name).table(table).to_owned()).await
}

/// Runs SQL statements one after the other.
pub async fn run(manager: &SchemaManager<'_>, statements: &[impl AsRef<str>]) -> Result<(), DbErr> {
    for statement in statements {
        manager.get_connection().execute_unprepared(statement.as_ref()).await?;
    }
    Ok(())
}

/// Creates triggers that refuse changes and deletions of a table's rows.
pub async fn make_append_only(
    manager: &SchemaManager<'_>,
    table: &str,
    title: &str,
) -> Result<(), DbErr> {
    let statements = match manager.get_database_backend() {
        DbBackend::Postgres => [
            format!(
                "CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION '{title} is append-only'; END $$"
            ),
            format!(
                "CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE \
                 ON {table} EXECUTE FUNCTION {table}_is_append_only()"
            ),
        ],
        _ => ["update", "delete"].map(|change| {
            format!(
                "CREATE TRIGGER {table}_no_{change} BEFORE {} ON {table} \
                 BEGIN SELECT RAISE(ABORT, '{title} is append-only'); END",
                change.to_uppercase()
            )
        }),
    };
    run(manager, &statements).await
}

/// Drops a table that was made append-only.
pub async fn drop_append_only(
    manager: &SchemaManager<'_>,
    table: &'static str,
) -> Result<(), DbErr> {
    // SQLite deletes a table's rows before it drops the table. The trigger would refuse this.
    if manager.get_database_backend() == DbBackend::Sqlite {
        let triggers =
            ["update", "delete"].map(|change| format!("DROP TRIGGER {table}_no_{change}"));
        run(manager, &triggers).await?;
    }
    drop_table(manager, table).await?;
    if manager.get_database_backend() == DbBackend::Postgres {
        run(manager, &[format!("DROP FUNCTION {table}_is_append_only()")]).await?;
    }
    Ok(())
}

/// Replaces a part of a table's definition on `SQLite`.
///
/// `SQLite` cannot alter a CHECK. A table that others refer to cannot be rebuilt either, because foreign keys cannot be
/// disabled inside a transaction. The definition is therefore edited in `sqlite_schema`, as `SQLite`'s manual describes
/// for changes that keep the rows valid (`lang_altertable`, section 7). Other connections reload the schema only after
/// another schema change, such as recreating an index.
pub async fn edit_definition(
    manager: &SchemaManager<'_>,
    table: &str,
    from: &str,
    to: &str,
) -> Result<(), DbErr> {
    let (old, new) = (from.replace('\'', "''"), to.replace('\'', "''"));
    let edit = format!(
        "UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') \
         WHERE type = 'table' AND name = '{table}' AND instr(sql, '{old}') > 0"
    );
    let connection = manager.get_connection();
    connection.execute_unprepared("PRAGMA writable_schema = ON").await?;
    let edited = connection.execute_unprepared(&edit).await?.rows_affected();
    connection.execute_unprepared("PRAGMA writable_schema = RESET").await?;
    if edited == 1 {
        Ok(())
    } else {
        Err(DbErr::Migration(format!("the definition of {table} does not contain: {from}")))
    }
}
