//! Converts the e-mail addresses of contacts and messages to a canonical form. In this form, there are no unnecessary
//! quotation marks and the domain is in ASCII (IDNA). If a contact of the account already has the canonical address, an
//! address with another spelling is not changed.

use sea_orm_migration::sea_orm::{Statement, prelude::Uuid};
use unicode_normalization::UnicodeNormalization as _;

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Number of rows that are read at a time.
const PAGE: usize = 1_000;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let backend = manager.get_database_backend();
        for address in odd_addresses(db, backend, "contact_address", "address").await? {
            let values = [address.canonical.clone().into(), address.id.into()];
            let update = "UPDATE contact_address SET address = $1 WHERE id = $2 AND NOT EXISTS \
                          (SELECT 1 FROM contact_address AS o WHERE o.channel = 'EMAIL' AND o.address = $1 \
                           AND o.account_id = contact_address.account_id)";
            db.execute_raw(Statement::from_sql_and_values(backend, update, values)).await?;
            // Both spellings are searchable, so that a search with either of them finds the contact.
            let line = format!("\n{}", address.canonical.to_lowercase());
            let update = "UPDATE contact SET search_text = search_text || $1 WHERE id = \
                          (SELECT contact_id FROM contact_address WHERE id = $2)";
            let values = [line.into(), address.id.into()];
            db.execute_raw(Statement::from_sql_and_values(backend, update, values)).await?;
        }
        for address in odd_addresses(db, backend, "message", "recipient").await? {
            let update = "UPDATE message SET recipient = $1 WHERE id = $2";
            let values = [address.canonical.into(), address.id.into()];
            db.execute_raw(Statement::from_sql_and_values(backend, update, values)).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        // Nothing has to be reverted, because earlier versions accept the canonical form.
        Ok(())
    }
}

/// An address that is not stored in its canonical form.
struct Odd {
    id: Uuid,
    canonical: String,
}

/// Returns the e-mail addresses in a table that are not in canonical form. Only addresses with quotes or non-ASCII
/// characters are checked. All others are canonical, because domains are stored in lower case.
async fn odd_addresses(
    db: &SchemaManagerConnection<'_>,
    backend: DbBackend,
    table: &str,
    column: &str,
) -> Result<Vec<Odd>, DbErr> {
    let bytes = match backend {
        DbBackend::Postgres => format!("octet_length({column})"),
        _ => format!("length(CAST({column} AS blob))"),
    };
    let page = format!(
        "SELECT id, {column} AS address FROM {table} WHERE id > $1 AND channel = 'EMAIL' \
         AND ({bytes} <> length({column}) OR {column} LIKE '\"%') ORDER BY id LIMIT {PAGE}"
    );
    let (mut odd, mut after) = (Vec::new(), Uuid::nil());
    loop {
        let page = Statement::from_sql_and_values(backend, &page, [after.into()]);
        let rows = db.query_all_raw(page).await?;
        for row in &rows {
            after = row.try_get("", "id")?;
            let address: String = row.try_get("", "address")?;
            if let Some(canonical) = canonical(&address).filter(|form| *form != address) {
                odd.push(Odd { id: after, canonical });
            }
        }
        if rows.len() < PAGE {
            return Ok(odd);
        }
    }
}

/// Returns the canonical form of an address, as defined at the time of this migration. Returns `None` if the domain is
/// not valid.
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
