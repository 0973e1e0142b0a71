//! A contact of an account: a person with addresses (`contact_address`) and tags (`contact_tag`).

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contact")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub team_id: Uuid,
    pub account_id: Uuid,
    #[sea_orm(column_type = "Text", nullable)]
    pub display_name: Option<String>,
    /// The language as a BCP 47 tag in canonical case.
    #[sea_orm(column_type = "Text", nullable)]
    pub locale: Option<String>,
    /// A name in the IANA time zone database.
    #[sea_orm(column_type = "Text", nullable)]
    pub time_zone: Option<String>,
    /// A JSON object as text, because PostgreSQL's JSON types would change or refuse some numbers.
    #[sea_orm(column_type = "Text", nullable)]
    pub metadata: Option<String>,
    /// The text that the `search` filter searches: the name and each address in lower case, one per
    /// line.
    #[sea_orm(column_type = "Text")]
    pub search_text: String,
    /// Set while an erasure or a merge is in progress. It is the contact's own id during an
    /// erasure, and the id of the other contact during a merge. Until the erasure or merge is
    /// complete, only a repeated call of it may change the contact.
    pub busy_with: Option<Uuid>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Selects the contacts of one account. Both environments share the contacts.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }
}
