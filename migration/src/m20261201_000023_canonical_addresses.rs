//! E-mail addresses of contacts are in the one form of their mailbox: without quotation marks that they do not need, and
//! with the domain as the DNS has it. Where a contact of the account has that form already, the other spelling stays.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{DbBackend, Statement, prelude::Uuid},
};
use unicode_normalization::UnicodeNormalization as _;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Addresses that are read at once.
const PAGE: usize = 1_000;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let backend = manager.get_database_backend();
        let bytes = match backend {
            DbBackend::Postgres => "octet_length(address)",
            _ => "length(CAST(address AS blob))",
        };
        // Others are in that form: their domain is in lower case.
        let odd = format!(
            "SELECT id, account_id, address FROM contact_address WHERE id > $1 AND channel = 'EMAIL' \
             AND ({bytes} <> length(address) OR address LIKE '\"%') ORDER BY id LIMIT {PAGE}"
        );
        let update = "UPDATE contact_address SET address = $1 WHERE id = $2 AND NOT EXISTS \
                      (SELECT 1 FROM contact_address AS o WHERE o.account_id = $3 \
                       AND o.channel = 'EMAIL' AND o.address = $1)";
        let mut after = Uuid::nil();
        loop {
            let page = Statement::from_sql_and_values(backend, &odd, [after.into()]);
            let rows = db.query_all_raw(page).await?;
            for row in &rows {
                after = row.try_get("", "id")?;
                let account_id: Uuid = row.try_get("", "account_id")?;
                let address: String = row.try_get("", "address")?;
                if let Some(canonical) = canonical(&address).filter(|form| *form != address) {
                    let values = [canonical.into(), after.into(), account_id.into()];
                    db.execute_raw(Statement::from_sql_and_values(backend, update, values)).await?;
                }
            }
            if rows.len() < PAGE {
                return Ok(());
            }
        }
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        // Each form is one that earlier versions take.
        Ok(())
    }
}

/// The one form of an address, as of this migration; `None` if its domain has none.
fn canonical(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    let domain = idna::domain_to_ascii(domain).ok()?;
    let quoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut text = String::with_capacity(local.len());
    let mut chars = quoted.unwrap_or(local).chars();
    while let Some(char) = chars.next() {
        let is_escape = quoted.is_some() && char == '\\';
        text.push(if is_escape { chars.next().unwrap_or(char) } else { char });
    }
    let text: String = text.nfc().collect();
    let is_of_atom = |char: char| {
        char.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(char) || !char.is_ascii()
    };
    if text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_of_atom)) {
        return Some(format!("{text}@{domain}"));
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    Some(format!("\"{escaped}\"@{domain}"))
}
