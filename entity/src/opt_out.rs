//! An opt-out: an address to which an account must not send messages on a channel.

use sea_orm::entity::prelude::*;

use crate::message::Channel;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "opt_out")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub team_id: Uuid,
    pub account_id: Uuid,
    pub channel: Channel,
    /// The address, normalized like the recipient of a message.
    #[sea_orm(column_type = "Text")]
    pub address: String,
    pub source: OptOutSource,
    #[sea_orm(column_type = "Text", nullable)]
    pub reason: Option<String>,
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

crate::api_enum! {
    /// How an opt-out was created.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum OptOutSource {
        /// The mutation addOptOut.
        Api,
        /// The mutation importOptOuts.
        Import,
        /// A reply from the recipient: STOP or a word with the same meaning.
        Inbound,
    }
}

impl Entity {
    /// Selects the opt-outs of one account. They apply to both environments.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }
}
