//! How a caller names an account of its team.

use entity::account;
use sea_orm::{ColumnTrait, ConnectionTrait, QueryFilter};
use uuid::Uuid;

use crate::domain::{
    Fault,
    validate::{self, EXTERNAL_ID_CHARS_MAX},
};

/// How a caller names an account: by id, or a sub-account by the team's own id for it (R5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountRef {
    Id(Uuid),
    ExternalId(String),
    /// A malformed id: answers like one that never existed.
    Unknown,
}

impl AccountRef {
    /// The account of the team that is meant, the main account too.
    pub async fn find_in<C: ConnectionTrait>(
        &self,
        team_id: Uuid,
        db: &C,
    ) -> Result<Option<account::Model>, Fault> {
        let filter = match self {
            Self::Id(id) => account::Column::Id.eq(*id),
            Self::ExternalId(external_id) if may_be_external_id(external_id) => {
                account::Column::ExternalId.eq(external_id)
            }
            Self::ExternalId(_) | Self::Unknown => return Ok(None),
        };
        Ok(account::Entity::of_team(team_id).filter(filter).one(db).await?)
    }
}

/// Whether any sub-account can have this external id.
fn may_be_external_id(text: &str) -> bool {
    validate::is_within(text, EXTERNAL_ID_CHARS_MAX) && validate::may_be_stored(text)
}
