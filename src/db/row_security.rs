//! Row security (PostgreSQL): a second check of which rows a caller may read, in addition to the filters in the
//! statements. The login owns the tables and migrates them. The role [`SYSTEM`] does the server's own work and sees all
//! rows. The role [`SERVER`] reads for a caller and sees only the rows of the caller's [`Scope`]. The policies are
//! forced, so they also apply to the owner of the tables.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, QueryResult, Statement, TransactionTrait as _,
};
use uuid::Uuid;

use super::migrations::MIGRATION_LOCK;

/// The role that does the server's own work. It sees all rows.
pub const SYSTEM: &str = "tollgate_system";
/// The role that reads for a caller. It sees only the rows of the caller's scope.
pub const SERVER: &str = "tollgate_server";

/// Tables whose rows are visible only to the account that owns them. The rows of every other table with a
/// `team_id` are visible to the whole team.
pub const OF_ACCOUNTS: [&str; 8] = [
    "contact",
    "contact_address",
    "contact_tag",
    "message",
    "opt_out",
    "phone_number",
    "sender",
    "template",
];

/// Whether PostgreSQL restricts the rows that a caller can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowSecurity {
    #[default]
    Off,
    /// Row security has been set up with [`set_up`].
    On,
}

impl RowSecurity {
    /// Returns additional session settings for connections that write or that read all rows.
    pub(super) fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Off => &[],
            Self::On => &[("role", SYSTEM)],
        }
    }
}

/// The rows that a session can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All rows, for the server's own work and for operators.
    All,
    /// The rows that the team shares and those that the account owns.
    Account { team_id: Uuid, account_id: Uuid },
}

/// Sets the scope of a session. The scope applies until another one is set.
pub(super) const SET_SCOPE: &str = "SELECT set_config('role', $1, false), \
     set_config('app.team_id', $2, false), set_config('app.account_id', $3, false)";

impl Scope {
    /// Returns the parameters of [`SET_SCOPE`].
    pub(super) fn settings(self) -> [String; 3] {
        match self {
            Self::All => [SYSTEM.to_owned(), String::new(), String::new()],
            Self::Account { team_id, account_id } => {
                [SERVER.to_owned(), team_id.to_string(), account_id.to_string()]
            }
        }
    }
}

/// Creates the roles and grants them to the login.
///
/// Two processes may run this statement concurrently, even for different databases, because all databases of a server
/// share their roles. On PostgreSQL 16, the creator of a role is its member, but does not inherit from the role and may
/// not `SET ROLE` to it.
const ROLES: &str = "DO $$ DECLARE name text; is_granted boolean; BEGIN \
     FOREACH name IN ARRAY ARRAY['tollgate_system', 'tollgate_server'] LOOP \
       BEGIN \
         IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN \
           EXECUTE format('CREATE ROLE %I NOLOGIN', name); \
         END IF; \
       EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; \
       END; \
       is_granted := pg_has_role(name, 'MEMBER') AND pg_has_role(name, 'USAGE'); \
       IF is_granted AND current_setting('server_version_num')::int >= 160000 THEN \
         is_granted := pg_has_role(name, 'SET'); \
       END IF; \
       IF NOT is_granted THEN EXECUTE format('GRANT %I TO CURRENT_USER', name); END IF; \
       IF NOT pg_has_role(name, 'USAGE') THEN \
         RAISE EXCEPTION 'the login must inherit the privileges of the role %', name; \
       END IF; \
       EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), name); \
     END LOOP; \
     EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO tollgate_server', current_schema()); \
     EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I \
                     TO tollgate_system', current_schema()); \
     END $$";

/// Fails if the login may not `SET ROLE` to both roles.
const TRY_ROLES: &str =
    "SET LOCAL ROLE tollgate_system; SET LOCAL ROLE tollgate_server; SET LOCAL ROLE NONE";

/// Selects the following for every table: its name, whether its rows belong to teams, whether both roles have their
/// privileges, whether row security is forced, and its policies ordered by name.
const TABLES: &str = "SELECT c.relname::text, \
       c.relname = 'team' OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid \
         AND a.attname = 'team_id' AND NOT a.attisdropped), \
       (SELECT count(*) = 2 FROM pg_roles r \
         WHERE r.rolname IN ('tollgate_system', 'tollgate_server') \
         AND has_table_privilege(r.oid, c.oid, 'SELECT') \
         AND (r.rolname <> 'tollgate_system' \
           OR has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE'))), \
       c.relrowsecurity AND c.relforcerowsecurity, \
       (SELECT COALESCE(string_agg(concat_ws(' ', p.polname, p.polcmd, \
           (SELECT string_agg(r.rolname, ',') FROM pg_roles r WHERE r.oid = ANY (p.polroles)), \
           pg_get_expr(p.polqual, p.polrelid)), ';' ORDER BY p.polname), '') \
         FROM pg_policy p WHERE p.polrelid = c.oid) \
     FROM pg_class c \
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' ORDER BY 1";

/// Selects whether row security is forced on the tables and no policy applies to this login.
const HIDES_ALL_ROWS: &str = "SELECT EXISTS (SELECT FROM pg_class c \
       WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = 'team' \
         AND c.relrowsecurity AND c.relforcerowsecurity \
         AND NOT EXISTS (SELECT FROM pg_policy p JOIN pg_roles r ON r.oid = ANY (p.polroles) \
           WHERE p.polrelid = c.oid AND p.polname = 'of_system' AND pg_has_role(r.oid, 'USAGE'))) \
     AND NOT (SELECT r.rolsuper OR r.rolbypassrls FROM pg_roles r WHERE r.rolname = current_user)";

/// Selects whether the tables are in the login's own schema (`"$user"`). `SET ROLE` changes `$user`, so the two roles
/// would not find the tables in that schema.
const IS_IN_SCHEMA_OF_LOGIN: &str =
    "SELECT current_schema() = session_user AND current_setting('search_path') LIKE '%$user%'";

/// Creates the roles. Sets up row security on every table that contains rows of teams and on which it has not been set
/// up. The login must own the tables. It also needs the privilege to create roles if the roles do not exist.
pub async fn set_up(db: &DatabaseConnection) -> Result<(), DbErr> {
    let txn = db.begin().await?;
    txn.execute_unprepared(
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL ROLE NONE",
    )
    .await?;
    txn.execute_unprepared(MIGRATION_LOCK).await?;
    txn.execute_unprepared(ROLES).await?;
    txn.execute_unprepared(TRY_ROLES).await?;
    let tables =
        tables(&txn).await?.into_iter().filter(|table| table.is_of_teams && !table.is_set_up);
    let tables: Vec<String> = tables.map(|table| table.name).collect();
    if !tables.is_empty() {
        // `team` is locked first, because charges also lock it before rows of other tables. Using the same order avoids
        // deadlocks.
        txn.execute_unprepared("LOCK TABLE team").await?;
    }
    for table in tables {
        let (column, setting) = owner_column_and_setting(&table);
        // Because of the subquery, the setting is read once per statement instead of once per row. CASE hides the
        // condition from the planner. Otherwise the planner would assume that policy and filter are independent, expect
        // too few rows, and choose a plan that reads and sorts all of them.
        let statements = format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; \
             ALTER TABLE {table} FORCE ROW LEVEL SECURITY; \
             DROP POLICY IF EXISTS of_system ON {table}; \
             CREATE POLICY of_system ON {table} TO {SYSTEM} USING (true) WITH CHECK (true); \
             DROP POLICY IF EXISTS of_server ON {table}; \
             CREATE POLICY of_server ON {table} FOR SELECT TO {SERVER} \
             USING (CASE WHEN {column} = (SELECT NULLIF(current_setting('{setting}', true), '')::uuid) \
             THEN true ELSE false END)"
        );
        txn.execute_unprepared(&statements).await?;
    }
    txn.commit().await
}

/// Returns the tables on which row security has not been set up.
pub async fn missing<C: ConnectionTrait>(db: &C) -> Result<Vec<String>, DbErr> {
    let tables = tables(db).await?;
    Ok(tables.into_iter().filter(|table| !table.is_set_up).map(|table| table.name).collect())
}

/// Returns whether row security hides all rows from this login, because the login is not a member of the roles. Such a
/// database must not be mistaken for an empty one.
pub async fn hides_everything<C: ConnectionTrait>(db: &C) -> Result<bool, DbErr> {
    let row =
        db.query_one_raw(Statement::from_string(db.get_database_backend(), HIDES_ALL_ROWS)).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

/// Returns the name of a table that this login may not read or may not change, or `None` if the login may do both with
/// all tables. Used for databases without row security.
pub async fn unwritable<C: ConnectionTrait>(db: &C) -> Result<Option<String>, DbErr> {
    let names = OF_ACCOUNTS
        .iter()
        .chain(&["team", "account", "ledger_entry"])
        .map(|name| format!("'{name}'"));
    let rights = ["SELECT", "INSERT", "UPDATE", "DELETE"]
        .map(|right| format!("has_table_privilege(c.oid, '{right}')"))
        .join(" AND ");
    let sql = format!(
        "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace \
         AND c.relname IN ({}) AND NOT ({rights}) ORDER BY 1 LIMIT 1",
        names.collect::<Vec<_>>().join(", ")
    );
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    row.map(|row| row.try_get_by_index(0)).transpose()
}

/// Returns the column that contains the owner of a row, and the session setting that contains the id of the caller.
fn owner_column_and_setting(table: &str) -> (&'static str, &'static str) {
    match table {
        "team" => ("id", "app.team_id"),
        table if OF_ACCOUNTS.contains(&table) => ("account_id", "app.account_id"),
        _ => ("team_id", "app.team_id"),
    }
}

struct Table {
    name: String,
    is_of_teams: bool,
    is_set_up: bool,
}

/// Returns whether a table has exactly the two policies of this module. Different versions of PostgreSQL may format the
/// expression differently, so only parts of it are compared.
fn are_our_policies(policies: &str, table: &str) -> bool {
    let (column, setting) = owner_column_and_setting(table);
    let policies = policies.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((of_server, of_system)) = policies.split_once(';') else { return false };
    of_system == "of_system * tollgate_system true"
        && of_server.starts_with("of_server r tollgate_server CASE")
        && of_server.contains(&format!("WHEN ({column} = "))
        && of_server.contains(&format!("current_setting('{setting}'"))
        && of_server.ends_with("END")
}

async fn tables<C: ConnectionTrait>(db: &C) -> Result<Vec<Table>, DbErr> {
    let statement = |sql| Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement(IS_IN_SCHEMA_OF_LOGIN)).await?;
    if row.map_or(Ok(false), |row| row.try_get_by_index(0))? {
        let message = "the tables are in the schema that has the login's name, which other roles do not find; \
                       move them to another schema, or name this one in search_path";
        return Err(DbErr::Custom(message.to_owned()));
    }
    let rows = db.query_all_raw(statement(TABLES)).await?;
    let table = |row: &QueryResult| {
        let name: String = row.try_get_by_index(0)?;
        let is = |index| row.try_get_by_index::<bool>(index);
        let (is_of_teams, is_granted, is_forced) = (is(1)?, is(2)?, is(3)?);
        let policies: String = row.try_get_by_index(4)?;
        let has_policies = is_forced && are_our_policies(&policies, &name);
        Ok(Table { is_set_up: is_granted && (!is_of_teams || has_policies), is_of_teams, name })
    };
    rows.iter().map(table).collect()
}
