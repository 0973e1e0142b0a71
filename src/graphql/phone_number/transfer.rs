//! Moving phone numbers between the accounts of a team, by its main account.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::{audit_entry::AuditAction, phone_number};

use super::PhoneNumber;
use crate::{
    domain::{audit_log::refused_call::Target, phone_number::transfer as domain},
    graphql::{
        access::{self, ContextExt},
        audit_log::audited,
        input::{AccountRef, parse_id},
        payload::payload,
    },
};

/// Where a phone number goes.
#[derive(InputObject)]
pub struct TransferPhoneNumberInput {
    /// The account of the team that gets it; the main account's id for itself.
    to: AccountRef,
    /// Whether its account loses it also while it is in use: its sender has it no more then, and
    /// messages that wait to go out from it go out without a sender. False if left out: then a
    /// number in use stays where it is.
    detach: Option<bool>,
}

payload! {
    /// The answer to transferPhoneNumber.
    TransferPhoneNumberPayload, domain::TransferPhoneNumberRefusal,
    phone_number::Model as number => {
        /// The number as it is now, without the name that a sub-account gave it; null if refused.
        phone_number: Option<PhoneNumber> = Some(PhoneNumber(number)),
    }
}

#[derive(Default)]
pub struct PhoneNumberTransferMutation;

#[Object]
impl PhoneNumberTransferMutation {
    /// Moves a phone number from one account of the team to another. No money moves: the months
    /// from renewsAt on are charged to the account that has it then. Its name does not go along.
    /// The ids of sub-accounts' numbers stand in the ledger. Main-account keys only.
    #[graphql(visible = "access::main")]
    async fn transfer_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The phone number's id.")] id: ID,
        #[graphql(desc = "Where it goes.")] input: TransferPhoneNumberInput,
    ) -> Result<Option<TransferPhoneNumberPayload>> {
        let id = parse_id(&id);
        let (to, is_detached) = (input.to.into(), input.detach.unwrap_or(false));
        let done = audited(ctx, AuditAction::TransferPhoneNumber, Target::Id(id), async {
            domain::transfer(ctx.app()?, &ctx.live_main()?, id, &to, is_detached).await
        });
        TransferPhoneNumberPayload::of(done.await)
    }
}
