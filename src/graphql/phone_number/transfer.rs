//! Moving phone numbers between the accounts of a team, by its main account.

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
    /// Moves a phone number from one account of the team to another. No money moves: the months
    /// from renewsAt on are charged to the account that has it then. Its name does not go along.
    /// The ids of sub-accounts' numbers stand in the ledger. Main-account keys only.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn transfer_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The phone number's id.")] id: ID,
        #[graphql(desc = "Where it goes.")] input: TransferPhoneNumberInput,
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
