//! What uses a phone number, so that nobody gives it away by mistake. The one place that knows:
//! whatever comes to refer to numbers says so here.

use entity::phone_number;
use sea_orm::DatabaseTransaction;

use super::Fault;

/// Whether anything of its account uses the number. Asked under the lock of the team.
pub(super) async fn is_in_use(
    _txn: &DatabaseTransaction,
    _number: &phone_number::Model,
) -> Result<bool, Fault> {
    // SENDERS: a sender of `number.account_id` has the number.
    Ok(false)
}

/// Takes the number away from whatever uses it, under the lock of the team: it goes to another
/// account, or back to the inventory because its month was not paid.
pub(super) async fn detach(
    _txn: &DatabaseTransaction,
    _number: &phone_number::Model,
) -> Result<(), Fault> {
    // SENDERS: the sender of `number.account_id` loses the number.
    Ok(())
}
