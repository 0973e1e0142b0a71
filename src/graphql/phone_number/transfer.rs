//! Transfers of phone numbers between the accounts of a team.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::{audit_entry::AuditAction, phone_number};

use super::PhoneNumber;
use crate::{
    domain::{audit_log::refused_call::Target, phone_number::transfer as domain},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        audit_log::audited,
        input::{AccountRef, parse_id},
        payload::payload,
    },
};

/// Destination of the transfer and its options.
#[derive(InputObject)]
pub struct TransferPhoneNumberInput {
    /// Account of the team that receives the number. To transfer the number to the main account,
    /// use the id of that account.
    to: AccountRef,
    /// Whether to transfer the number even if it is in use (default false). It is then removed from
    /// its sender, and messages that are waiting to be sent from it are sent without a sender. If
    /// false, the transfer of a number that is in use is refused.
    detach: Option<bool>,
}

payload! {
    /// Result of transferPhoneNumber.
    TransferPhoneNumberPayload, domain::TransferPhoneNumberRefusal,
    phone_number::Model as number => {
        /// The phone number after the transfer, without the name that the previous account gave it;
        /// null if the mutation was refused.
        phone_number: Option<PhoneNumber> = Some(PhoneNumber(number)),
    }
}

#[derive(Default)]
pub struct PhoneNumberTransferMutation;

#[Object]
impl PhoneNumberTransferMutation {
    /// Transfers a phone number between two accounts of the team. Nothing is charged or refunded.
    /// From renewsAt on, each month is charged to the account that has the number at that time. The
    /// name of the number is removed. To find the id of a sub-account's number, use the
    /// phoneNumberId of its fees in the ledger. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn transfer_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the phone number.")] id: ID,
        #[graphql(desc = "Destination of the transfer and its options.")]
        input: TransferPhoneNumberInput,
    ) -> Result<Option<TransferPhoneNumberPayload>> {
        let id = parse_id(&id);
        let (to, is_detached) = (input.to.into(), input.detach.unwrap_or(false));
        let done = audited(ctx, AuditAction::TransferPhoneNumber, Target::Id(id), async {
            domain::transfer(ctx.app()?, &ctx.live_main()?, id, &to, is_detached).await
        });
        TransferPhoneNumberPayload::of(done.await)
    }
}
