//! Row security (PostgreSQL): a second wall behind the filters of the statements. Three roles: the login
//! owns the tables and migrates; [`SYSTEM`] judges, writes, delivers, audits and looks keys up, and sees
//! all rows; [`SERVER`] reads for a caller, and sees what its [`Scope`] lets through, whatever a statement
//! asks for. Policies of owners are forced, so that nobody passes by owning a table.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, QueryResult, Statement, TransactionTrait as _,
};
use uuid::Uuid;

/// Whoever works for all: every policy lets it through.
pub const SYSTEM: &str = "tollgate_system";
/// Whoever reads for one caller.
pub const SERVER: &str = "tollgate_server";

/// Tables whose rows only the account itself sees (R3). Every other table with a `team_id` is its team's.
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

/// Whose rows a statement may see, besides what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's: the server's own work, and operators.
    All,
    /// What the team shares, and what the account owns.
    Account { team_id: Uuid, account_id: Uuid },
}

/// Makes a session's scope another one; it lasts until the next.
pub(super) const SET_SCOPE: &str = "SELECT set_config('role', $1, false), \
     set_config('app.team_id', $2, false), set_config('app.account_id', $3, false)";

impl Scope {
    /// The values of [`SET_SCOPE`].
    pub(super) fn settings(self) -> [String; 3] {
        match self {
            Self::All => [SYSTEM.to_owned(), String::new(), String::new()],
            Self::Account { team_id, account_id } => {
                [SERVER.to_owned(), team_id.to_string(), account_id.to_string()]
            }
        }
    }
}

/// Two processes may do this at once, for two databases of one server that share their roles. Who makes a role
/// on PostgreSQL 16 is its member without inheriting from it or being allowed to become it.
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
         RAISE EXCEPTION 'the login must inherit what % may do', name; \
       END IF; \
       EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), name); \
     END LOOP; \
     EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO tollgate_server', current_schema()); \
     EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I \
                     TO tollgate_system', current_schema()); \
     END $$";

/// Fails where the login may not become what it must.
const TRY_ROLES: &str =
    "SET LOCAL ROLE tollgate_system; SET LOCAL ROLE tollgate_server; SET LOCAL ROLE NONE";

/// Every table, whether it has rows of teams, whether both roles may use it, and what row security it has:
/// whether that is forced, and the policies in the order of their names.
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

const HIDDEN: &str = "SELECT EXISTS (SELECT FROM pg_class c \
       WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = 'team' \
         AND c.relrowsecurity AND c.relforcerowsecurity \
         AND NOT EXISTS (SELECT FROM pg_policy p JOIN pg_roles r ON r.oid = ANY (p.polroles) \
           WHERE p.polrelid = c.oid AND p.polname = 'of_system' AND pg_has_role(r.oid, 'USAGE'))) \
     AND NOT (SELECT r.rolsuper OR r.rolbypassrls FROM pg_roles r WHERE r.rolname = current_user)";

/// The roles go by the same path to the tables as the login only if the path does not begin with its name.
const IS_IN_SCHEMA_OF_LOGIN: &str =
    "SELECT current_schema() = session_user AND current_setting('search_path') LIKE '%$user%'";

/// Makes the roles, and sets row security up on every table with a team's rows that lacks it. The login must
/// own the tables, and may have to be allowed to create roles.
pub async fn set_up(db: &DatabaseConnection) -> Result<(), DbErr> {
    let txn = db.begin().await?;
    txn.execute_unprepared(
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL ROLE NONE",
    )
    .await?;
    txn.execute_unprepared(super::MIGRATION_LOCK).await?;
    txn.execute_unprepared(ROLES).await?;
    txn.execute_unprepared(TRY_ROLES).await?;
    let tables =
        tables(&txn).await?.into_iter().filter(|table| table.is_of_teams && !table.is_set_up);
    let tables: Vec<String> = tables.map(|table| table.name).collect();
    if !tables.is_empty() {
        // Whoever charges locks the team first, and then what is its.
        txn.execute_unprepared("LOCK TABLE team").await?;
    }
    for table in tables {
        let (column, setting) = whose(&table);
        // As a subquery the setting is read once a statement, and not for each row. Within CASE the planner
        // makes nothing of the policy: the statement's own filter finds the rows, and with the two of them, taken
        // for independent, it would expect so few that it reads them all and sorts.
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

/// Tables on which row security is not set up: all, if it never was.
pub async fn missing<C: ConnectionTrait>(db: &C) -> Result<Vec<String>, DbErr> {
    let tables = tables(db).await?;
    Ok(tables.into_iter().filter(|table| !table.is_set_up).map(|table| table.name).collect())
}

/// Whether row security is forced here and hides all rows from this login, which then must not be taken for
/// an empty database: only the policies' roles and their members see any.
pub async fn hides_everything<C: ConnectionTrait>(db: &C) -> Result<bool, DbErr> {
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), HIDDEN)).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

/// A table of accounts or teams whose rows this login may not read and change, without row security; `None` if there is none.
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

/// The column that says whose a row of a table is, and the setting that says who asks.
fn whose(table: &str) -> (&'static str, &'static str) {
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

/// Whether these are the two policies of a table, and no other. PostgreSQL's versions may write an expression
/// differently, so it is looked at in parts.
fn is_wall(policies: &str, table: &str) -> bool {
    let (column, setting) = whose(table);
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
        let message = "the tables are in the schema of the login's own name, which other roles do not find; \
                       put them into another, or name it in search_path";
        return Err(DbErr::Custom(message.to_owned()));
    }
    let rows = db.query_all_raw(statement(TABLES)).await?;
    let table = |row: &QueryResult| {
        let name: String = row.try_get_by_index(0)?;
        let is = |index| row.try_get_by_index::<bool>(index);
        let (is_of_teams, is_granted, is_forced) = (is(1)?, is(2)?, is(3)?);
        let policies: String = row.try_get_by_index(4)?;
        let has_wall = is_forced && is_wall(&policies, &name);
        Ok(Table { is_set_up: is_granted && (!is_of_teams || has_wall), is_of_teams, name })
    };
    rows.iter().map(table).collect()
}
