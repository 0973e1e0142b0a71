//! Deleting a contact, which erases the person's data.

use async_graphql::{Context, ID, Object, Result};
use entity::audit_entry::AuditAction;

use crate::{
    domain::{audit_log::refused_call::Target, contact::erasure as domain},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        audit_log::audited,
        input::parse_id,
        payload::payload,
    },
};

payload! {
    /// Result of deleteContact.
    DeleteContactPayload, domain::DeleteContactRefusal, domain::Erased as erased => {
        /// Id of the contact that was deleted; null if the mutation was refused.
        contact_id: Option<ID> = Some(erased.contact_id.into()),
        /// Number of messages from which the recipient and the content were erased; null if the
        /// mutation was refused.
        messages_erased: Option<i32> = Some(i32::try_from(erased.messages).unwrap_or(i32::MAX)),
    }
}

#[derive(Default)]
pub struct ContactErasureMutation;

#[Object]
impl ContactErasureMutation {
    /// Deletes a contact permanently and erases the person's data. The contact and its addresses
    /// are deleted. In every LIVE and TEST message of the account that was sent to the contact or
    /// to one of its addresses, the recipient, contact, subject, text, HTML and errorMessage become
    /// null. The message's other data is kept, including its status, cost, metadata and
    /// idempotencyKey. Opt-outs of the addresses are kept, because they protect the person. The
    /// deletion is refused while a message to the contact is waiting to be sent. If a deletion is
    /// interrupted, repeat it; until then, the contact cannot be changed and nothing is sent to it.
    /// Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn delete_contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the contact.")] id: ID,
    ) -> Result<Option<DeleteContactPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::DeleteContact, Target::Id(id), async {
            domain::delete(ctx.app()?, &ctx.live_account()?, id).await
        });
        DeleteContactPayload::of(done.await)
    }
}
