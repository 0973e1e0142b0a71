//! Four changes:
//!
//! - An audit log entry represents all refused calls that have the same key, action and code and are made
//!   within one minute. The `count` of an entry may grow, but nothing else in an entry changes. A new index contains
//!   the entries that a main account may see for one account.
//! - A phone number records when its last month was charged. The next charge follows at least one day later.
//! - An opt-out for an e-mail address is stored in a form that is the same for all spellings of the mailbox. If a
//!   mailbox has several opt-outs, only one is kept. If they differ only in case, it is the oldest.
//! - Messages whose recipient was erased lose the hash of their input, because the hash could reveal the recipient.

use sea_orm_migration::sea_orm::{Statement, prelude::Uuid};
use unicode_normalization::UnicodeNormalization as _;

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The columns of an audit log entry that never change. These are all columns except `count`.
const FIXED: [&str; 14] = [
    "id",
    "team_id",
    "account_id",
    "is_private",
    "actor",
    "key_id",
    "action",
    "outcome",
    "code",
    "target_id",
    "before",
    "after",
    "request_id",
    "created_at",
];

/// Number of opt-outs that are read at a time.
const PAGE: usize = 1_000;

const INDEX: &str = "audit_entry_seen_of_account";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let backend = manager.get_database_backend();
        db.execute_unprepared(
            "ALTER TABLE audit_entry ADD COLUMN count integer NOT NULL DEFAULT 1 \
             CHECK (count = 1 OR (count > 1 AND outcome = 'REFUSED'))",
        )
        .await?;
        index(INDEX, "audit_entry", &["account_id", "is_private", "id"]).create(manager).await?;
        let row = |row: &str| FIXED.map(|column| format!("{row}.\"{column}\"")).join(", ");
        let same = match backend {
            DbBackend::Postgres => "IS NOT DISTINCT FROM",
            _ => "IS",
        };
        let is_count =
            format!("NEW.count > OLD.count AND ({}) {same} ({})", row("NEW"), row("OLD"));
        let triggers = match backend {
            DbBackend::Postgres => vec![
                "DROP TRIGGER audit_entry_append_only ON audit_entry".to_owned(),
                "CREATE TRIGGER audit_entry_append_only BEFORE DELETE OR TRUNCATE \
                 ON audit_entry EXECUTE FUNCTION audit_entry_is_append_only()"
                    .to_owned(),
                format!(
                    "CREATE TRIGGER audit_entry_only_counts BEFORE UPDATE ON audit_entry FOR EACH ROW \
                     WHEN (NOT ({is_count})) EXECUTE FUNCTION audit_entry_is_append_only()"
                ),
            ],
            _ => vec![
                "DROP TRIGGER audit_entry_no_update".to_owned(),
                format!(
                    "CREATE TRIGGER audit_entry_only_counts BEFORE UPDATE ON audit_entry \
                     WHEN NOT ({is_count}) \
                     BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
                ),
            ],
        };
        run(manager, &triggers).await?;
        let mut charged_at = column(Timestamp, "charged_at");
        charged_at.not_null().default("1970-01-01T00:00:00+00:00");
        add_column(manager, "phone_number", &mut charged_at).await?;
        let nothing = match backend {
            DbBackend::Postgres => "''",
            _ => "x''",
        };
        let erased = format!("UPDATE message SET input_hash = {nothing} WHERE recipient = ''");
        db.execute_unprepared(&erased).await?;
        fold_opt_outs(db, backend).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let triggers: &[&str] = match manager.get_database_backend() {
            DbBackend::Postgres => &[
                "DROP TRIGGER audit_entry_only_counts ON audit_entry",
                "DROP TRIGGER audit_entry_append_only ON audit_entry",
                "CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE \
                 ON audit_entry EXECUTE FUNCTION audit_entry_is_append_only()",
            ],
            _ => &[
                "DROP TRIGGER audit_entry_only_counts",
                "CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry \
                 BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
            ],
        };
        run(manager, triggers).await?;
        drop_index(manager, "audit_entry", INDEX).await?;
        let columns = [
            "ALTER TABLE audit_entry DROP COLUMN count",
            "ALTER TABLE phone_number DROP COLUMN charged_at",
        ];
        run(manager, &columns).await
    }
}

/// Normalizes the addresses with quotes or non-ASCII characters one by one, and then the case of all addresses with two
/// statements.
async fn fold_opt_outs(db: &SchemaManagerConnection<'_>, backend: DbBackend) -> Result<(), DbErr> {
    let bytes = match backend {
        DbBackend::Postgres => "octet_length(address)",
        _ => "length(CAST(address AS blob))",
    };
    let odd = format!(
        "SELECT id, account_id, address FROM opt_out WHERE id > $1 AND channel = 'EMAIL' \
         AND ({bytes} <> length(address) OR address LIKE '\"%') ORDER BY id LIMIT {PAGE}"
    );
    let mut after = Uuid::nil();
    loop {
        let page = Statement::from_sql_and_values(backend, &odd, [after.into()]);
        let rows = db.query_all_raw(page).await?;
        for row in &rows {
            after = row.try_get("", "id")?;
            let address: String = row.try_get("", "address")?;
            fold(db, backend, (after, row.try_get("", "account_id")?), &address).await?;
        }
        if rows.len() < PAGE {
            break;
        }
    }
    db.execute_unprepared(
        "DELETE FROM opt_out WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER \
         (PARTITION BY account_id, lower(address) ORDER BY id) AS place \
         FROM opt_out WHERE channel = 'EMAIL') AS spelled WHERE place > 1)",
    )
    .await?;
    db.execute_unprepared(
        "UPDATE opt_out SET address = lower(address) \
         WHERE channel = 'EMAIL' AND address <> lower(address)",
    )
    .await?;
    Ok(())
}

/// Stores an opt-out in the form that is the same for all spellings of its mailbox. If an opt-out in that form already
/// exists, deletes this one.
async fn fold(
    db: &SchemaManagerConnection<'_>,
    backend: DbBackend,
    (id, account_id): (Uuid, Uuid),
    address: &str,
) -> Result<(), DbErr> {
    let identity = identity(address);
    if identity == address {
        return Ok(());
    }
    let values = [identity.into(), id.into(), account_id.into()];
    let update = "UPDATE opt_out SET address = $1 WHERE id = $2 AND NOT EXISTS \
                  (SELECT 1 FROM opt_out AS o WHERE o.account_id = $3 AND o.channel = 'EMAIL' \
                   AND o.address = $1)";
    let updated = db.execute_raw(Statement::from_sql_and_values(backend, update, values)).await?;
    if updated.rows_affected() == 0 {
        let delete = "DELETE FROM opt_out WHERE id = $1";
        db.execute_raw(Statement::from_sql_and_values(backend, delete, [id.into()])).await?;
    }
    Ok(())
}

/// Returns the form that is the same for all spellings of a mailbox, as defined at the time of this migration.
fn identity(address: &str) -> String {
    let Some((local, domain)) = address.rsplit_once('@') else { return address.to_owned() };
    let quoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let local = quoted.map_or_else(
        || local.to_owned(),
        |quoted| {
            let mut text = String::with_capacity(quoted.len());
            let mut chars = quoted.chars();
            while let Some(char) = chars.next() {
                text.push(if char == '\\' { chars.next().unwrap_or(char) } else { char });
            }
            text
        },
    );
    let local = local.nfc().collect::<String>().to_lowercase();
    let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase());
    format!("{local}@{domain}")
}
