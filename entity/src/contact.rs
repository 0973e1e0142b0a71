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
    /// A BCP 47 tag in its usual capitals.
    #[sea_orm(column_type = "Text", nullable)]
    pub locale: Option<String>,
    /// A name of the IANA time zone database.
    #[sea_orm(column_type = "Text", nullable)]
    pub time_zone: Option<String>,
    /// A JSON object as text, for PostgreSQL's own types would change or refuse its numbers.
    #[sea_orm(column_type = "Text", nullable)]
    pub metadata: Option<String>,
    /// The name and each address in lower case, a line each: what `search` looks in.
    #[sea_orm(column_type = "Text")]
    pub search_text: String,
    /// The other contact of a merge that has begun, or the contact itself once its erasure has begun; `None` otherwise.
    /// Only a repeat of that call changes the contact then.
    pub busy_with: Option<Uuid>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The contacts of one account, in both environments.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }
}
