//! Transfers of phone numbers between the accounts of a team.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};

use super::PhoneNumber;
use crate::{
    domain::phone_number::transfer as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        errors::{UserError, outcome},
        team::sub_account::{AccountRef, parse_id},
    },
};

/// Destination of the transfer and its options.
#[derive(InputObject)]
pub struct TransferPhoneNumberInput {
    /// Account of the team that receives the number. To transfer it to the main account, use the id
    /// of that account.
    to: AccountRef,
    /// Whether to transfer the number even if it is in use (default false). It is then removed from
    /// its sender, and messages that wait to be sent from it are sent without a sender. If false,
    /// the transfer of a number in use is refused.
    detach: Option<bool>,
}

/// Why a phone number was not transferred.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::TransferPhoneNumberRefusal")]
pub enum TransferPhoneNumberErrorCode {
    /// No account of the team has such a phone number.
    NotFound,
    /// The team has no such account.
    AccountNotFound,
    /// The account is INACTIVE; reactivate it first.
    AccountInactive,
    /// The account has 1,000 numbers.
    TooManyNumbers,
    /// Its account uses it; detach it.
    NumberInUse,
}

/// The answer to transferPhoneNumber.
#[derive(SimpleObject)]
pub struct TransferPhoneNumberPayload {
    /// The number as it is now, without the name that a sub-account gave it; null if refused.
    phone_number: Option<PhoneNumber>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<TransferPhoneNumberErrorCode>>,
}

#[derive(Default)]
pub struct PhoneNumberTransferMutation;

#[Object]
impl PhoneNumberTransferMutation {
    /// Transfers a phone number between two accounts of the team. No money is moved; from renewsAt
    /// on, each month is charged to the account that has the number then. The name of the number is
    /// removed. The ledger shows the ids of sub-accounts' numbers. Requires a LIVE key of the main
    /// account.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn transfer_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the phone number.")] id: ID,
        #[graphql(desc = "Destination of the transfer and its options.")]
        input: TransferPhoneNumberInput,
    ) -> Result<Option<TransferPhoneNumberPayload>> {
        let main = ctx.caller()?.main()?.live()?;
        let (to, is_detached) = (input.to.into(), input.detach.unwrap_or(false));
        let done = domain::transfer(ctx.app()?, &main, parse_id(&id), &to, is_detached).await;
        Ok(Some(match outcome(done)? {
            Ok(number) => TransferPhoneNumberPayload {
                phone_number: Some(PhoneNumber(number)),
                errors: vec![],
            },
            Err(errors) => TransferPhoneNumberPayload { phone_number: None, errors },
        }))
    }
}
