//! References to accounts in the arguments of a call.

use entity::account;
use sea_orm::{ColumnTrait, ConnectionTrait, QueryFilter};
use uuid::Uuid;

use crate::domain::{
    Fault,
    validate::{self, EXTERNAL_ID_CHARS_MAX},
};

/// A reference to an account of the caller's team: by id, or by external id for a sub-account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountRef {
    Id(Uuid),
    ExternalId(String),
    /// A malformed id. It is treated like an id that does not exist.
    Unknown,
}

impl AccountRef {
    /// Finds the account in the team. The account may be the team's main account.
    pub async fn find_in<C: ConnectionTrait>(
        &self,
        team_id: Uuid,
        db: &C,
    ) -> Result<Option<account::Model>, Fault> {
        let filter = match self {
            Self::Id(id) => account::Column::Id.eq(*id),
            Self::ExternalId(external_id) if can_be_external_id(external_id) => {
                account::Column::ExternalId.eq(external_id)
            }
            Self::ExternalId(_) | Self::Unknown => return Ok(None),
        };
        Ok(account::Entity::of_team(team_id).filter(filter).one(db).await?)
    }
}

/// Returns whether a sub-account can have this external id. If not, no query is needed.
fn can_be_external_id(text: &str) -> bool {
    validate::is_within(text, EXTERNAL_ID_CHARS_MAX) && validate::may_be_stored(text)
}
